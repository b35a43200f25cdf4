//! RocksDB's journals (write-ahead logs and manifests), looked at before RocksDB reads them.
//!
//! Its reader believes the head of a record before it has checked it, and three kinds of damage lead it astray. It never comes back from a
//! record of a *recycled* journal in the middle of one that is not (facebook/rocksdb#13333). It takes such a record at the beginning for
//! proof that the whole journal is an old one, and ends there without a word. And a length that leads past the end of the journal is a write
//! that power cut short, whatever else stands behind it. The last two lose what was acknowledged.
//!
//! A journal is a row of blocks of 32 KiB, a block a row of records, a record its checksum (of what follows the length), length and kind in
//! seven bytes, and the content.
//!
//! 1. What RocksDB itself notices is left to it. Here a journal is refused only for what it would not notice.
//! 2. A write that was cut short is no damage: nothing whole follows it.

use crate::error::OpenError;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;

/// Refuses a database directory whose journals would be misread. One without journals, or that is not there, is fine.
pub(crate) fn check(what: &'static str, dir: &Path) -> Result<(), OpenError> {
    let journals = journals(dir).map_err(OpenError::io("listing the journals in", dir))?;
    for path in journals {
        let damage = File::open(&path).and_then(damage);
        let damage = match damage {
            // Somebody else has the directory open; opening it will say so.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(OpenError::io("reading a journal,", &path))?,
        };
        if let Some((at, reason)) = damage {
            let name = path.file_name().unwrap_or_default().display();
            return Err(OpenError::Corrupt {
                path: dir.into(),
                what,
                reason: format!("{name} at byte {at}: {reason}"),
            });
        }
    }
    Ok(())
}

/// The write-ahead logs, and the manifest that is in use.
fn journals(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = |e: io::Error| if e.kind() == ErrorKind::NotFound { Ok(Vec::new()) } else { Err(e) };
    let mut found: Vec<PathBuf> = match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?,
        Err(e) => return missing(e),
    };
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found.sort();
    match std::fs::read_to_string(dir.join("CURRENT")) {
        Ok(name) => found.push(dir.join(name.trim_end())),
        // What is wrong with it, RocksDB will say.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {}
        Err(e) => return Err(e),
    }
    Ok(found)
}

type Damage = (u64, &'static str);

fn damage(mut journal: impl Read) -> io::Result<Option<Damage>> {
    let (mut block, mut next) = (Vec::new(), Vec::new());
    let mut start = 0;
    fill(&mut journal, &mut block)?;
    while !block.is_empty() {
        fill(&mut journal, &mut next)?;
        if let Some((at, reason)) = block_damage(&block, next.is_empty()) {
            return Ok(Some((start + at as u64, reason)));
        }
        start += block.len() as u64;
        std::mem::swap(&mut block, &mut next);
    }
    Ok(None)
}

fn fill(journal: &mut impl Read, block: &mut Vec<u8>) -> io::Result<()> {
    block.clear();
    journal.by_ref().take(BLOCK as u64).read_to_end(block).map(drop)
}

struct Head {
    checksum: u32,
    length: usize,
    kind: u8,
}

impl Head {
    fn at(block: &[u8], at: usize) -> Option<Head> {
        let [c0, c1, c2, c3, l0, l1, kind] = *block.get(at..)?.first_chunk::<HEAD>()?;
        let masked = u32::from_le_bytes([c0, c1, c2, c3]);
        let checksum = masked.wrapping_sub(0xa282_ead8).rotate_left(15);
        Some(Head { checksum, length: u16::from_le_bytes([l0, l1]).into(), kind })
    }

    /// Written only where journals are recycled, which they are not in this program.
    fn is_recycled(&self) -> bool {
        matches!(self.kind, 5..=8 | 11 | 131)
    }

    /// What ends a block early.
    fn is_padding(&self) -> bool {
        self.kind == 0 && self.length == 0
    }

    /// Where the next record begins, unless that is past the block.
    fn end(&self, block: &[u8], at: usize) -> Option<usize> {
        let end = at + HEAD + self.length;
        (end <= block.len()).then_some(end)
    }

    fn is_sound(&self, block: &[u8], at: usize, end: usize) -> bool {
        crc32c::crc32c(&block[at + HEAD - 1..end]) == self.checksum
    }
}

fn block_damage(block: &[u8], last: bool) -> Option<(usize, &'static str)> {
    let mut at = 0;
    while let Some(head) = Head::at(block, at) {
        if head.is_recycled() {
            return Some((at, "a record of a kind that is never written here"));
        }
        let Some(end) = head.end(block, at) else {
            let cut = last && whole_record_after(block, at + 1);
            return cut.then_some((at, "a record's length is wrong: whole records stand where its content should"));
        };
        if head.is_padding() || !head.is_sound(block, at, end) {
            return None;
        }
        at = end;
    }
    None
}

/// Whether a record begins anywhere from here on that is whole and sound.
fn whole_record_after(block: &[u8], from: usize) -> bool {
    (from..block.len()).any(|at| {
        let head = Head::at(block, at).filter(|head| matches!(head.kind, 1..=4) && head.length > 0);
        head.is_some_and(|head| head.end(block, at).is_some_and(|end| head.is_sound(block, at, end)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let checked = [&[kind], content].concat();
        let checksum = crc32c::crc32c(&checked).rotate_right(15).wrapping_add(0xa282_ead8);
        let length = u16::try_from(content.len()).unwrap();
        [&checksum.to_le_bytes()[..], &length.to_le_bytes(), &checked].concat()
    }

    fn journal() -> Vec<u8> {
        (0..300_u16).flat_map(|n| record(1, &[n.to_le_bytes()[0]; 200])).take(BLOCK).chain(record(1, b"a")).collect()
    }

    fn found(journal: &[u8]) -> Option<u64> {
        damage(journal).unwrap().map(|(at, _)| at)
    }

    #[test]
    fn sound_journals_and_torn_ends_are_left_alone() {
        assert_eq!(found(b""), None);
        let whole: Vec<u8> = (0..40).flat_map(|_| record(1, b"some content")).collect();
        for cut in 0..whole.len() {
            assert_eq!(found(&whole[..cut]), None, "{cut}");
        }
        let zeros = [&whole[..], &[0; 500]].concat();
        assert_eq!(found(&zeros), None);
        assert_eq!(found(&journal()), None, "the last record of the first block does not fit, which RocksDB reports");
    }

    #[test]
    fn records_of_recycled_journals_are_damage() {
        for kind in [5, 6, 7, 8, 11, 131] {
            let mut journal = journal();
            journal[6] = kind;
            assert_eq!(found(&journal), Some(0));
            let mut journal = self::journal();
            journal[207 * 3 + 6] = kind;
            assert_eq!(found(&journal), Some(207 * 3));
            let mut journal = self::journal();
            journal[BLOCK + 6] = kind;
            assert_eq!(found(&journal), Some(BLOCK as u64));
        }
    }

    #[test]
    fn a_length_that_swallows_whole_records_is_damage() {
        let whole: Vec<u8> = (0..40).flat_map(|_| record(1, b"some content")).collect();
        let size = HEAD + 12;
        for n in 0..40 {
            let mut damaged = whole.clone();
            damaged[n * size + 5] ^= 0x40;
            // The last one swallows nothing: it might have been cut short.
            assert_eq!(found(&damaged), (n < 39).then_some((n * size) as u64));
        }
    }
}
