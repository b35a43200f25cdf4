//! Reads a journal record by record and classifies its end.
//!
//! A journal is a sequence of 32 KiB blocks. A block is a sequence of fragments. A fragment has a
//! head of seven bytes (checksum of kind and content, length, kind) and the content. A record is
//! one fragment (`FULL`), or `FIRST`, any number of `MIDDLE`, and `LAST`.
//!
//! A power cut leaves each sector of an unsynced write either written or as it was before, which is
//! zero because a journal only grows. It can also leave a file that is too short. So the end of a
//! journal is *torn* if
//!
//! 1. a record is incomplete,
//! 2. a sector of it is zero, or the file ends before the record does, and
//! 3. nothing follows it that could be another record (if something does, that is reported).
//!
//! Everything else is damage.

use std::io::{self, Read};

const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;
/// The unit that a disk writes atomically.
const SECTOR: usize = 512;

const FULL: u8 = 1;
const FIRST: u8 = 2;
#[cfg(test)]
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The record that begins at `from` is incomplete.
    Torn {
        from: u64,
        followed: bool,
    },
    Damaged(u64, &'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) end: End,
    /// Sequence number of the last whole record, if the records are batches of writes.
    pub(super) last_sequence: Option<u64>,
    pub(super) length: u64,
}

pub(super) fn read(journal: impl Read) -> io::Result<Journal> {
    let mut blocks = Blocks::new(journal)?;
    let mut front = Front::default();
    let mut end = None;
    while end.is_none() && blocks.advance()? {
        let mut at = 0;
        while let Some(fragment) = fragment(&blocks.block, at) {
            let position = blocks.start + at as u64;
            let taken = fragment.and_then(|sound| front.take(sound, &blocks.block, at, position).map(|()| sound.end));
            match taken {
                Ok(next) => at = next,
                Err(bad) => {
                    end = Some(tail(&mut blocks, at, front.begun.unwrap_or(position), bad)?);
                    break;
                }
            }
        }
    }
    let end = end.unwrap_or_else(|| front.begun.map_or(End::Whole, |from| End::Torn { from, followed: false }));
    Ok(Journal { end, last_sequence: front.last_sequence, length: blocks.length()? })
}

/// The blocks of a journal, one after another.
struct Blocks<R> {
    journal: R,
    block: Vec<u8>,
    start: u64,
}

impl<R: Read> Blocks<R> {
    fn new(journal: R) -> io::Result<Blocks<R>> {
        Ok(Blocks { journal, block: Vec::with_capacity(BLOCK), start: 0 })
    }

    /// Goes to the next block. False at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.start += self.block.len() as u64;
        self.block.clear();
        self.journal.by_ref().take(BLOCK as u64).read_to_end(&mut self.block)?;
        Ok(!self.block.is_empty())
    }

    fn length(&mut self) -> io::Result<u64> {
        while self.advance()? {}
        Ok(self.start)
    }
}

#[derive(Clone, Copy)]
struct Sound {
    kind: u8,
    end: usize,
}

/// An invalid fragment.
#[derive(Clone, Copy)]
struct Bad {
    reason: &'static str,
    /// Damage that no power cut explains.
    surely_damage: bool,
    /// The file ends before the fragment does.
    cut: bool,
    kind: u8,
    /// Where it ends, if its head is valid.
    end: Option<usize>,
}

impl Bad {
    fn damage(reason: &'static str) -> Bad {
        Bad { reason, surely_damage: true, cut: false, kind: 0, end: None }
    }

    fn perhaps_torn(reason: &'static str) -> Bad {
        Bad { surely_damage: false, ..Bad::damage(reason) }
    }
}

/// The fragment at an offset of a block; `None` if there is no room for one.
fn fragment(block: &[u8], at: usize) -> Option<Result<Sound, Bad>> {
    if at + HEAD > BLOCK || at >= block.len() {
        return None;
    }
    let Some(head) = Head::at(block, at) else {
        return Some(Err(Bad { cut: true, ..Bad::perhaps_torn("a record's head is cut short") }));
    };
    Some(head.judge(block, at))
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

    fn judge(&self, block: &[u8], at: usize) -> Result<Sound, Bad> {
        let end = at + HEAD + self.length;
        if self.kind > LAST {
            // RocksDB takes some of these for the end of the journal and skips others.
            return Err(Bad::damage("a record of a kind that is never written here"));
        }
        if self.kind == 0 && self.length == 0 {
            // RocksDB silently skips the rest of the block.
            return Err(Bad::perhaps_torn("zeros where a record should be"));
        }
        if end > BLOCK {
            return Err(Bad::perhaps_torn("a record's length leads past its block"));
        }
        if end > block.len() {
            if self.fits(block, at, block.len()) {
                return Err(Bad::damage("a record's length is wrong: it is whole without it"));
            }
            return Err(Bad { cut: true, ..Bad::perhaps_torn("a record is cut short") });
        }
        if self.kind != 0 && self.fits(block, at, end) {
            return Ok(Sound { kind: self.kind, end });
        }
        // A head may lie in two sectors, of which one is lost.
        let in_one_sector = at % SECTOR + HEAD <= SECTOR;
        let end = (in_one_sector && self.kind != 0).then_some(end);
        Err(Bad { kind: self.kind, end, ..Bad::perhaps_torn("a record's checksum is wrong") })
    }

    /// Whether the checksum is that of the content up to `end`.
    fn fits(&self, block: &[u8], at: usize, end: usize) -> bool {
        crc32c::crc32c(&block[at + HEAD - 1..end]) == self.checksum
    }
}

/// The whole records from the beginning.
#[derive(Default)]
struct Front {
    /// Start of the record whose last fragment has not been seen yet.
    begun: Option<u64>,
    /// Its last sequence number.
    sequence: Option<u64>,
    last_sequence: Option<u64>,
}

impl Front {
    fn take(&mut self, sound: Sound, block: &[u8], at: usize, position: u64) -> Result<(), Bad> {
        let begins = matches!(sound.kind, FULL | FIRST);
        if begins && self.begun.is_some() {
            return Err(Bad::damage("a record without an end"));
        }
        if !begins && self.begun.is_none() {
            return Err(Bad::damage("a record without a beginning"));
        }
        if begins {
            self.begun = Some(position);
            self.sequence = last_sequence_of(&block[at + HEAD..sound.end]);
        }
        if matches!(sound.kind, FULL | LAST) {
            self.begun = None;
            self.last_sequence = self.sequence.or(self.last_sequence);
        }
        Ok(())
    }
}

/// A batch begins with the sequence number of its first operation and the number of operations.
fn last_sequence_of(batch: &[u8]) -> Option<u64> {
    let first = u64::from_le_bytes(*batch.first_chunk()?);
    let count = u32::from_le_bytes(*batch.get(8..)?.first_chunk()?);
    (first + u64::from(count)).checked_sub(1)
}

/// Classifies the end of a journal whose first invalid fragment is in the current block.
fn tail<R: Read>(blocks: &mut Blocks<R>, at: usize, record: u64, bad: Bad) -> io::Result<End> {
    let position = blocks.start + at as u64;
    if bad.surely_damage {
        return Ok(End::Damaged(position, bad.reason));
    }
    let mut tail = Tail::default();
    tail.block(&blocks.block, at);
    while blocks.advance()? {
        tail.block(&blocks.block, 0);
    }
    Ok(match tail {
        Tail { damage: Some(reason), .. } => End::Damaged(position, reason),
        Tail { missing: true, followed, .. } => End::Torn { from: record, followed },
        Tail { followed: true, .. } => End::Damaged(position, FOLLOWED),
        Tail { .. } => End::Damaged(position, bad.reason),
    })
}

#[derive(Default)]
struct Tail {
    /// A sector is zero, or the file is too short.
    missing: bool,
    /// The last fragment of the record, or its remains, has been seen.
    ended: bool,
    /// Something that is or could be another record follows.
    followed: bool,
    damage: Option<&'static str>,
}

pub(super) const FOLLOWED: &str = "a bad record, and others behind it";

impl Tail {
    fn block(&mut self, block: &[u8], mut at: usize) {
        while let Some(fragment) = fragment(block, at) {
            if self.ended {
                self.followed |= block[at..].iter().any(|byte| *byte != 0);
                return;
            }
            match fragment {
                Ok(Sound { kind, end }) => {
                    self.followed |= matches!(kind, FULL | FIRST);
                    self.ended = kind == LAST;
                    at = end;
                }
                Err(bad) => {
                    let followed = begins_within(block, at + 1);
                    if bad.surely_damage {
                        self.damage = Some(bad.reason);
                    } else if bad.cut && followed {
                        self.damage = Some("a record's length is wrong: others stand where its content should");
                    }
                    self.followed |= followed;
                    let end = bad.end.unwrap_or(block.len());
                    self.missing |= bad.cut || has_zero_sector(block, at, end);
                    self.ended |= bad.end.is_some() && matches!(bad.kind, FULL | LAST);
                    at = end;
                }
            }
        }
    }
}

/// Whether the part of some sector in this range is all zeros. (Blocks are sequences of sectors.)
fn has_zero_sector(block: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        let end = ((at / SECTOR + 1) * SECTOR).min(to);
        if block[at..end].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = end;
    }
    false
}

/// Whether a valid record begins anywhere from here on. Used for blocks whose fragment boundaries
/// are unknown.
fn begins_within(block: &[u8], from: usize) -> bool {
    (from..block.len()).any(|at| {
        let head = Head::at(block, at).filter(|head| matches!(head.kind, FULL | FIRST) && head.length > 0);
        head.is_some_and(|head| {
            let end = at + HEAD + head.length;
            end <= block.len() && head.fits(block, at, end)
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn put(journal: &mut Vec<u8>, kind: u8, content: &[u8]) {
        let checked = [&[kind], content].concat();
        let checksum = crc32c::crc32c(&checked).rotate_right(15).wrapping_add(0xa282_ead8);
        journal.extend_from_slice(&checksum.to_le_bytes());
        journal.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
        journal.extend_from_slice(&checked);
    }

    /// As RocksDB writes it.
    pub(in crate::wal_check) fn append(journal: &mut Vec<u8>, mut record: &[u8]) {
        let mut first = true;
        loop {
            let mut room = BLOCK - journal.len() % BLOCK;
            if room < HEAD {
                journal.resize(journal.len() + room, 0);
                room = BLOCK;
            }
            let now = record.len().min(room - HEAD);
            let last = now == record.len();
            let kind = match (first, last) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            put(journal, kind, &record[..now]);
            (record, first) = (&record[now..], false);
            if last {
                return;
            }
        }
    }

    fn batch(sequence: u64, count: u32, length: usize) -> Vec<u8> {
        let mut batch = [&sequence.to_le_bytes()[..], &count.to_le_bytes()].concat();
        batch.resize(length.max(12), 0xb5);
        batch
    }

    fn written(lengths: &[usize]) -> Vec<u8> {
        let mut journal = Vec::new();
        for (n, length) in (1..).zip(lengths) {
            append(&mut journal, &batch(n, 1, *length));
        }
        journal
    }

    fn end(journal: &[u8]) -> End {
        read(journal).unwrap().end
    }

    fn torn_from(from: usize) -> End {
        End::Torn { from: from as u64, followed: false }
    }

    fn damaged(journal: &[u8]) -> Option<u64> {
        match end(journal) {
            End::Damaged(at, _) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn whole_journals_and_their_last_sequence_number() {
        assert_eq!(read(&[][..]).unwrap(), Journal { end: End::Whole, last_sequence: None, length: 0 });
        for length in [12, 100, BLOCK - 2 * HEAD, BLOCK - HEAD, BLOCK, 3 * BLOCK + 5, 200_000] {
            let journal = written(&[100, length, 40]);
            let found = read(&journal[..]).unwrap();
            assert_eq!(found, Journal { end: End::Whole, last_sequence: Some(3), length: journal.len() as u64 });
        }
        let mut journal = written(&[100]);
        append(&mut journal, &batch(2, 7, 50));
        assert_eq!(read(&journal[..]).unwrap().last_sequence, Some(8));
    }

    #[test]
    fn every_cut_is_torn_from_the_record_that_it_hits() {
        let (before, after) = (written(&[300, 500]), written(&[300, 500, 70_000]));
        for cut in (before.len() + 1..before.len() + 600).chain((before.len() + 600..after.len()).step_by(97)) {
            assert_eq!(end(&after[..cut]), torn_from(before.len()), "{cut}");
        }
        assert_eq!(end(&after[..before.len()]), End::Whole);
    }

    /// Loses sectors of the last record in any combination, and shortens the file.
    #[test]
    fn lost_sectors_of_the_last_record_are_torn() {
        let mut dice = StdRng::seed_from_u64(17);
        for _ in 0..3000 {
            let lengths = [dice.random_range(12..40_000), dice.random_range(12..3000)];
            let last = if dice.random_bool(0.5) { dice.random_range(12..2000) } else { dice.random_range(12..120_000) };
            let (before, after) = (written(&lengths), written(&[lengths[0], lengths[1], last]));
            let mut torn = after.clone();
            let mut lost = false;
            let how_many = dice.random_range(0.0..1.0);
            for sector in before.len() / SECTOR..=after.len() / SECTOR {
                let from = (sector * SECTOR).max(before.len());
                let to = ((sector + 1) * SECTOR).min(after.len());
                if from < to && dice.random_bool(how_many) {
                    lost |= torn[from..to].iter().any(|byte| *byte != 0);
                    torn[from..to].fill(0);
                }
            }
            if dice.random_bool(0.3) {
                let cut = dice.random_range(before.len()..=after.len());
                lost |= cut < after.len();
                torn.truncate(cut);
            }
            let found = end(&torn);
            let whole = if torn.len() == before.len() || !lost { End::Whole } else { torn_from(before.len()) };
            // Zeros in the end of a block, before the record, look like its padding.
            let padded =
                before.len().next_multiple_of(BLOCK) - before.len() < HEAD && matches!(found, End::Torn { .. });
            assert!(found == whole || padded || (lost && torn[before.len()..].iter().all(|b| *b == 0)), "{found:?}");
        }
    }

    #[test]
    fn a_lost_sector_before_the_last_record_is_damage() {
        let journal = written(&[3000, 3000, 70_000, 3000, 100]);
        let last = written(&[3000, 3000, 70_000, 3000]).len();
        for sector in 0..last / SECTOR {
            let mut damaged = journal.clone();
            damaged[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            let found = end(&damaged);
            assert!(matches!(found, End::Torn { followed: true, .. } | End::Damaged(..)), "sector {sector}: {found:?}");
        }
    }

    #[test]
    fn flipped_bits_are_damage() {
        let journal = written(&[300, 300, 40_000, 300]);
        let mut dice = StdRng::seed_from_u64(18);
        for _ in 0..2000 {
            let (at, bit) = (dice.random_range(0..journal.len()), dice.random_range(0..8));
            let mut damaged = journal.clone();
            damaged[at] ^= 1 << bit;
            assert!(matches!(end(&damaged), End::Damaged(..)), "byte {at}, bit {bit}: {:?}", end(&damaged));
        }
    }

    #[test]
    fn records_of_recycled_journals_are_damage() {
        for kind in [5, 6, 7, 8, 9, 11, 131] {
            for record in 0..4 {
                let mut journal = written(&[40, 40, 40, 40]);
                let at = record * (HEAD + 40);
                journal[at + 6] = kind;
                assert_eq!(damaged(&journal), Some(at as u64));
            }
        }
    }

    #[test]
    fn a_length_that_leads_past_the_end_is_damage_if_the_record_is_there() {
        let size = HEAD + 40;
        for n in 0..40 {
            let mut journal = written(&[40; 40]);
            journal[n * size + 5] ^= 0x40;
            assert_eq!(damaged(&journal), Some((n * size) as u64), "{n}");
        }
    }
}
