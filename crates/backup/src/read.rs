//! Reads a snapshot, of Conclave or of etcd.

use crate::schema::{self, Revision, Version};
use conclave_bolt::{ReadError, Reader, Source};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io;
use thiserror::Error;

/// The hash behind the file. The file itself is a multiple of a sector, by which its presence is
/// known.
const HASH: u64 = 32;
const SECTOR: u64 = 512;

/// What is read at once for the hash.
const BUFFER: usize = 256 << 10;

#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the snapshot is damaged: its SHA-256 is {found}, and it should be {expected}")]
    Hash { expected: String, found: String },
    /// What it says cannot be a state.
    #[error("{0}")]
    Contents(String),
}

impl From<io::Error> for SnapshotError {
    fn from(e: io::Error) -> SnapshotError {
        SnapshotError::Read(e.into())
    }
}

/// Whether a snapshot can be told from a damaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sound,
    /// There is none: the file was copied from a data directory.
    Missing,
}

/// What `etcdutl snapshot status` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C of all buckets.
    pub hash: u32,
    pub revision: i64,
    /// Living keys.
    pub total_key: usize,
    /// Of the file without its hash.
    pub total_size: u64,
    /// Empty before etcd 3.6.
    pub version: String,
}

/// An open snapshot.
pub struct Snapshot<S> {
    source: S,
}

impl<S: Source> Snapshot<S> {
    pub fn new(source: S) -> Snapshot<S> {
        Snapshot { source }
    }

    /// Compares the file with the hash behind it. Reads all of it.
    pub fn check_hash(&self) -> Result<Hash, SnapshotError> {
        let size = self.source.size()?;
        if size % SECTOR != HASH {
            return Ok(Hash::Missing);
        }
        let end = size - HASH;
        let mut expected = [0; HASH as usize];
        self.source.read_at(&mut expected, end)?;
        let found = self.sum(end)?;
        if found == expected {
            return Ok(Hash::Sound);
        }
        let hex = |bytes: [u8; HASH as usize]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(SnapshotError::Hash { expected: hex(expected), found: hex(found) })
    }

    /// The SHA-256 of the file without the hash behind it, whether there is one or not. Reads all
    /// of it.
    pub fn contents_hash(&self) -> Result<[u8; 32], SnapshotError> {
        let size = self.source.size()?;
        self.sum(if size % SECTOR == HASH { size - HASH } else { size })
    }

    fn sum(&self, end: u64) -> Result<[u8; HASH as usize], SnapshotError> {
        let (mut sum, mut buffer, mut at) = (Sha256::new(), vec![0; BUFFER], 0);
        while at < end {
            let some = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            self.source.read_at(&mut buffer[..some], at)?;
            sum.update(&buffer[..some]);
            at += some as u64;
        }
        Ok(sum.finalize().into())
    }

    pub(crate) fn reader(&self) -> Result<Reader<&S>, SnapshotError> {
        Ok(Reader::open(&self.source)?)
    }

    /// Reads everything. Remembers a few bytes for each living key.
    pub fn status(&self) -> Result<Status, SnapshotError> {
        let reader = self.reader()?;
        let mut status = Status { total_size: reader.size(), ..Status::default() };
        let mut living = HashSet::new();
        reader.everything(&mut |bucket, pair| {
            let Some((key, value)) = pair else {
                status.hash = crc32c::crc32c_append(status.hash, bucket);
                return Ok(());
            };
            status.hash = crc32c::crc32c_append(status.hash, key);
            status.hash = crc32c::crc32c_append(status.hash, value);
            if bucket == schema::KEY {
                let (revision, version) = decode(key, value)?;
                status.revision = revision.main;
                let key = fingerprint(&version.key);
                if revision.deleted {
                    living.remove(&key)
                } else {
                    living.insert(key)
                };
            } else if (bucket, key) == (schema::META, schema::STORAGE) {
                status.version = String::from_utf8_lossy(value).into_owned();
            }
            Ok::<_, SnapshotError>(())
        })?;
        status.total_key = living.len();
        Ok(status)
    }
}

/// A pair of the bucket `key`.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<(Revision, Version), SnapshotError> {
    let revision = Revision::decode(key)
        .ok_or_else(|| SnapshotError::Contents(format!("{key:02x?} in the bucket key is not a revision")))?;
    let version = Version::decode(value).map_err(|e| {
        SnapshotError::Contents(format!("the version of revision {} cannot be decoded: {e}", revision.main))
    })?;
    Ok((revision, version))
}

/// In place of a key, which may be long.
pub(crate) fn fingerprint(key: &[u8]) -> [u8; 16] {
    let sum: [u8; 32] = Sha256::digest(key).into();
    *sum.first_chunk().expect("it is longer")
}
