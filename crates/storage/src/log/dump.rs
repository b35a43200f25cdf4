//! Entries in readable form, for inspecting the log of a stopped member.

use super::disk::LogDisk;
use super::rocks::RocksLog;
use crate::codec;
use crate::proposal::Segment;
use crate::types::{Membership, Payload};
use std::io;
use std::sync::Arc;

/// One entry. An entry that cannot be decoded is reported, not skipped.
#[derive(Debug)]
pub struct DumpedEntry {
    pub index: u64,
    pub bytes: usize,
    /// Checksum of the whole record, which contains term and index: members that agree have the
    /// same one.
    pub crc32c: u32,
    pub content: Result<DumpedContent, String>,
}

#[derive(Debug)]
pub struct DumpedContent {
    pub term: u64,
    pub payload: DumpedPayload,
}

#[derive(Debug)]
pub enum DumpedPayload {
    Blank,
    Membership(Membership),
    Segments(Vec<Segment>),
}

fn content(index: u64, record: &bytes::Bytes) -> Result<DumpedContent, String> {
    let entry = codec::decode_entry(record).map_err(|e| e.to_string())?;
    if entry.log_id.index != index {
        return Err(format!("the record says it is entry {}", entry.log_id.index));
    }
    let payload = match entry.payload {
        Payload::Blank => DumpedPayload::Blank,
        Payload::Membership(m) => DumpedPayload::Membership(m),
        Payload::Normal(pack) => {
            let segments: Result<_, _> = pack.segments().collect();
            DumpedPayload::Segments(segments.map_err(|e| e.to_string())?)
        }
    };
    Ok(DumpedContent { term: entry.log_id.leader_id.term, payload })
}

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// All entries from index `from` on. The iterator reads lazily and ends after an error.
pub(crate) fn entries(disk: Arc<RocksLog>, from: u64) -> impl Iterator<Item = io::Result<DumpedEntry>> {
    let (mut next, mut failed) = (from, false);
    let pieces = std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let read = disk.read(next, u64::MAX, PIECE);
        failed = read.is_err();
        match read {
            Ok(rows) => {
                next = rows.last()?.0 + 1;
                Some(rows.into_iter().map(|(index, record)| Ok(dumped(index, &record))).collect())
            }
            Err(e) => Some(vec![Err(e)]),
        }
    });
    pieces.flatten()
}

fn dumped(index: u64, record: &bytes::Bytes) -> DumpedEntry {
    DumpedEntry { index, bytes: record.len(), crc32c: crc32c::crc32c(record), content: content(index, record) }
}
