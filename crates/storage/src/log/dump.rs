//! Looking at a log from outside: for the operator's tools.

use super::disk::LogDisk;
use super::rocks::RocksLog;
use super::store::Found;
use crate::codec;
use crate::error::OpenError;
use crate::proposal::Segment;
use crate::types::{Membership, Payload};
use std::fmt;
use std::path::Path;

/// One entry in readable form. What cannot be decoded is told, not skipped.
#[derive(Debug)]
pub struct DumpedEntry {
    pub index: u64,
    pub bytes: usize,
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

impl fmt::Display for DumpedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} ", self.index)?;
        let content = match &self.content {
            Ok(content) => content,
            Err(reason) => return write!(f, "unreadable ({} bytes): {reason}", self.bytes),
        };
        write!(f, "term {} ({} bytes) ", content.term, self.bytes)?;
        match &content.payload {
            DumpedPayload::Blank => write!(f, "blank"),
            DumpedPayload::Membership(m) => write!(f, "membership {m}"),
            DumpedPayload::Segments(segments) => {
                for segment in segments {
                    write!(f, "\n    segment {:016x}/{}:", segment.origin, segment.seq)?;
                    segment.commands.iter().try_for_each(|c| write!(f, "\n        {c:?}"))?;
                }
                Ok(())
            }
        }
    }
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

/// At most `limit` entries from index `from` on, of a node that need not be stopped. Reads as the iterator is drawn.
pub fn dump_log(
    data_dir: &Path,
    from: u64,
    limit: usize,
) -> Result<impl Iterator<Item = Result<DumpedEntry, OpenError>> + use<>, OpenError> {
    let dir = crate::open::log_dir(data_dir);
    let disk = RocksLog::open_read_only(&dir)?;
    let found = Found::on(&disk).map_err(OpenError::io("read", dir.clone()))?;
    let mut next = from.max(found.first.unwrap_or(u64::MAX));
    let mut left = limit;
    Ok(std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        match disk.read(next, u64::MAX, 1) {
            Ok(rows) => {
                let (index, record) = rows.into_iter().next()?;
                next = index + 1;
                Some(Ok(DumpedEntry { index, bytes: record.len(), content: content(index, &record) }))
            }
            Err(e) => {
                left = 0;
                Some(Err(OpenError::io("read", dir.clone())(e)))
            }
        }
    }))
}
