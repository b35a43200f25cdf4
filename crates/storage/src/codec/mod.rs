//! Encodes and decodes all values that are stored on disk or sent to peers.
//!
//! A record is `format byte · CRC-32C (4 bytes, little endian) · kind byte · body`; the checksum
//! covers format, kind and body. The body is bincode (its standard configuration, variable-length
//! integers, with a size limit), so that a corrupt length can neither allocate without bound nor
//! read past the end. An entry's body ends with the pack unchanged: its commands were encoded when
//! they were proposed and are not decoded until `apply`.
//!
//! bincode is no longer maintained. This module is its only user: another codec is another format
//! byte, decided here.
//!
//! 1. Decoding never panics, and refuses a record with a wrong checksum, format or kind, or with
//!    bytes left over.
//! 2. Encodings are append-only: golden bytes of every kind and every command are kept in
//!    `tests/golden.rs`.

mod records;

pub use records::FirstStart;
pub(crate) use records::{AcknowledgedRecord, LocationRecord, Registration, SweepProgress};
pub use records::{
    decode_entry, decode_log_id, decode_membership, decode_snapshot_meta, decode_vote, encode_entry, encode_log_id,
    encode_membership, encode_snapshot_meta, encode_vote,
};

use crate::versions::{self, FORMAT};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use conclave_state::{Caller, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// No record and no command may be larger.
pub const MAX_RECORD: usize = 64 << 20;

const HEAD: usize = 6;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    #[error("a record of {0} bytes is too short")]
    Short(usize),
    #[error("a record of {0} bytes is over the limit of {MAX_RECORD}")]
    TooLarge(usize),
    #[error("unknown record format {0}")]
    Format(u8),
    #[error("record of kind {found}, expected {expected}")]
    Kind { expected: u8, found: u8 },
    #[error("checksum mismatch: stored {stored:08x}, computed {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("malformed {what}: {reason}")]
    Malformed { what: &'static str, reason: String },
}

/// A type that can be sealed. Each has its own kind byte, so that no record is taken for another.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const KIND: u8;
    const NAME: &'static str;
}

fn config() -> Configuration<LittleEndian, Varint, Limit<MAX_RECORD>> {
    bincode::config::standard().with_limit::<MAX_RECORD>()
}

/// Appends the encoding of a value to `out`.
fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
        .expect("plain data encodes, and a Vec takes any number of bytes");
}

/// Decodes a value at the front of `bytes`; returns it and the number of bytes used.
fn take<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, config())
        .map_err(|e| CodecError::Malformed { what, reason: e.to_string() })
}

/// Starts a record in `out`; `close` completes it.
fn open_frame(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[FORMAT, 0, 0, 0, 0, kind]);
    start
}

fn close_frame(out: &mut [u8], start: usize) {
    let sum = checksum(&out[start + 5..]);
    out[start + 1..start + 5].copy_from_slice(&sum.to_le_bytes());
}

/// Over the format byte, the kind byte and the body.
fn checksum(kind_and_body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[FORMAT]), kind_and_body)
}

/// The body of a record of this kind, after all checks.
fn body_of(record: &[u8], kind: u8) -> Result<&[u8], CodecError> {
    if record.len() < HEAD {
        return Err(CodecError::Short(record.len()));
    }
    if record.len() > MAX_RECORD {
        return Err(CodecError::TooLarge(record.len()));
    }
    if record[0] != FORMAT {
        return Err(CodecError::Format(record[0]));
    }
    let stored = u32::from_le_bytes([record[1], record[2], record[3], record[4]]);
    let computed = checksum(&record[5..]);
    if stored != computed {
        return Err(CodecError::Checksum { stored, computed });
    }
    if record[5] != kind {
        return Err(CodecError::Kind { expected: kind, found: record[5] });
    }
    Ok(&record[HEAD..])
}

pub(crate) fn seal<R: Record>(value: &R) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let start = open_frame(&mut out, R::KIND);
    put(value, &mut out);
    close_frame(&mut out, start);
    out
}

pub(crate) fn unseal<R: Record>(record: &[u8]) -> Result<R, CodecError> {
    let body = body_of(record, R::KIND)?;
    let (value, used) = take(body, R::NAME)?;
    if used != body.len() {
        return Err(CodecError::Malformed { what: R::NAME, reason: format!("{} bytes left over", body.len() - used) });
    }
    Ok(value)
}

/// The form of a command without a caller.
const PLAIN: u8 = 0;
/// The form of a command with its caller before it.
const CALLED: u8 = 1;

/// Appends one command in the form that every version reads. Returns its size.
pub fn encode_command(command: &Command, out: &mut Vec<u8>) -> usize {
    encode_command_as(versions::FORM_OF_FIRST, command, out)
}

/// Appends one command: a byte that says its form, then the command, without a frame (the entry
/// that carries it has one). `highest` is the highest form that every member of the cluster reads.
/// Returns its size.
pub fn encode_command_as(highest: u8, command: &Command, out: &mut Vec<u8>) -> usize {
    let before = out.len();
    if highest >= versions::FORM_OF_TESTS {
        out.push(versions::FORM_OF_TESTS);
    }
    match command.parts() {
        (None, command) => {
            out.push(PLAIN);
            put(command, out);
        }
        (Some(caller), command) => {
            out.push(CALLED);
            put(caller, out);
            put(command, out);
        }
    }
    out.len() - before
}

/// The command at the front of `bytes`, and its size.
pub fn decode_command(bytes: &[u8]) -> Result<(Command, usize), CodecError> {
    match bytes.split_first() {
        Some((&versions::FORM_OF_TESTS, rest)) if versions::reads(versions::FORM_OF_TESTS) => {
            decode_known(rest).map(|(command, used)| (command, used + 1))
        }
        _ => decode_known(bytes),
    }
}

fn decode_known(bytes: &[u8]) -> Result<(Command, usize), CodecError> {
    let malformed = |reason: String| CodecError::Malformed { what: "command", reason };
    match bytes.split_first() {
        Some((&PLAIN, rest)) => take(rest, "command").map(|(command, used)| (command, used + 1)),
        Some((&CALLED, rest)) => {
            let (caller, head): (Caller, usize) = take(rest, "caller")?;
            let (command, used): (Command, usize) = take(&rest[head..], "command")?;
            Ok((command.by(caller), head + used + 1))
        }
        Some((form, _)) => Err(malformed(format!("its form {form} is unknown to this version"))),
        None => Err(malformed("it is empty".into())),
    }
}
