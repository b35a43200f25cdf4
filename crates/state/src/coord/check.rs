//! Whether bytes from outside, of a backup, can be a row of the table coord.

use super::field::{Field, decode, unreadable};
use super::row::{Candidate, ClaimHead, ClaimWaiter, ElectionHead, LockHead, LockRequest, PinRow, TimerRow};
use super::{Kind, Limits, dedupe, keys};
use crate::attempt::Attempts;
use crate::view::Fault;
use bytes::Bytes;

/// Refuses a row that cannot be read. Whether rows belong together is not looked at.
pub fn check_row(key: &[u8], row: &[u8]) -> Result<(), Fault> {
    let kind = key.get(1).copied();
    match (key.first(), kind) {
        (Some(b'h'), ELECTION) => is::<ElectionHead>(row),
        (Some(b'h'), LOCK) => is::<LockHead>(row),
        (Some(b'h'), CLAIM) => is::<ClaimHead>(row),
        (Some(b'l'), ELECTION) => is::<String>(row),
        (Some(b'l'), LOCK) | (Some(b'g' | b'i'), _) => is::<()>(row),
        (Some(b'l'), CLAIM) => is::<ClaimWaiter>(row),
        (Some(b'c'), _) => is::<Candidate>(row),
        (Some(b'r'), _) => is::<LockRequest>(row),
        (Some(b'p'), _) => is::<PinRow>(row),
        (Some(b'n'), _) => is::<Limits>(row),
        (Some(b't'), _) => is::<TimerRow>(row),
        (Some(b'w' | b'b' | b'x'), _) => is::<u64>(row),
        (Some(b's'), _) => check_session(key, row),
        _ => Err(unreadable()),
    }
}

const ELECTION: Option<u8> = Some(Kind::Election as u8);
const LOCK: Option<u8> = Some(Kind::Lock as u8);
const CLAIM: Option<u8> = Some(Kind::Claim as u8);

fn check_session(key: &[u8], row: &[u8]) -> Result<(), Fault> {
    match keys::split_session(key) {
        Some((keys::DEPENDENT, _)) => Attempts::decode(row).map(|_| ()),
        Some((keys::ATTEMPT, _)) => is::<i64>(row),
        Some((keys::MEMO, _)) => is::<dedupe::Memo>(row),
        Some((keys::MEMO_SLOT, _)) => is::<Bytes>(row),
        Some((keys::MEMO_NEXT, _)) => is::<u64>(row),
        _ => Err(unreadable()),
    }
}

fn is<T: Field>(row: &[u8]) -> Result<(), Fault> {
    decode::<T>(row).map(|_| ())
}
