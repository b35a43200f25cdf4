//! What a log's disk holds: its entries one by one, and the whole of it at a start.

use super::disk::{LogDisk, Slot};
use crate::codec;
use crate::types::{Entry, LogId, Vote};
use std::io;

/// The contents of a log's disk, with the checks that do not need all entries.
pub(crate) struct Found {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) vote: Option<Vote>,
    /// Size of the entries.
    pub(crate) bytes: u64,
}

impl Found {
    pub(crate) fn on(disk: &dyn LogDisk) -> io::Result<Found> {
        let id = |slot| disk.slot(slot)?.map(|r| codec::decode_log_id(&r)).transpose().map_err(io::Error::from);
        let purged: Option<LogId> = id(Slot::Purged)?;
        let start = purged.map_or(0, |p| p.index + 1);
        let ends = disk.ends(start)?;
        let last = ends.map(|(_, last)| entry_at(disk, last)).transpose()?.map(|e| e.log_id);
        let vote = disk.slot(Slot::Vote)?.map(|r| codec::decode_vote(&r)).transpose()?;
        let committed = id(Slot::Committed)?;
        // Purged entries were committed. A stored commit index beyond them counts only if the log
        // has that very entry: another entry at its index may never have been committed. A value
        // that is too small only shortens the replay.
        let there = |id: &LogId| -> io::Result<bool> {
            let within = ends.is_some_and(|(first, last)| (first..=last).contains(&id.index));
            Ok(within && entry_at(disk, id.index)?.log_id == *id)
        };
        let committed = match committed {
            Some(id) if there(&id)? => Some(id),
            _ => purged,
        };
        let bytes = ends.map_or(Ok(0), |(first, last)| disk.bytes(first, last + 1))?;
        let (first, last) = (ends.map(|(first, _)| first), last.max(purged));
        Ok(Found { first, last, purged, committed, vote, bytes })
    }
}

/// The entry at an index that is known to exist.
pub(crate) fn entry_at(disk: &dyn LogDisk, index: u64) -> io::Result<Entry> {
    let mut rows = disk.read(index, index + 1, 1)?;
    let (_, record) = rows.pop().ok_or_else(|| corrupt(format!("entry {index} is missing")))?;
    decode(index, &record)
}

pub(super) fn decode(index: u64, record: &bytes::Bytes) -> io::Result<Entry> {
    let entry = codec::decode_entry(record).map_err(|e| corrupt(format!("entry {index}: {e}")))?;
    if entry.log_id.index != index {
        return Err(corrupt(format!("the entry at {index} says it is {}", entry.log_id.index)));
    }
    Ok(entry)
}

pub(super) fn corrupt(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
