//! Sorts keys by revision, within bounded memory.
//!
//! What does not fit is sorted in runs, which are written to a file and merged when they are read.
//! The result can be read more than once.

use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Of one run in memory, with what its entries take beside the keys.
const RUN: usize = 32 << 20;
/// What an entry takes beside its key.
const ENTRY: usize = 64;
/// What is read of a run at once.
const BUFFER: usize = 64 << 10;

type Entry = (i64, Bytes);

pub(crate) struct Sorter {
    file: File,
    limit: usize,
    run: Vec<Entry>,
    bytes: usize,
    /// Where each run in the file ends.
    ends: Vec<u64>,
}

impl Sorter {
    /// With a file that is empty and has no other use.
    pub(crate) fn new(file: File) -> Sorter {
        Sorter::with_limit(file, RUN)
    }

    fn with_limit(file: File, limit: usize) -> Sorter {
        Sorter { file, limit, run: Vec::new(), bytes: 0, ends: Vec::new() }
    }

    pub(crate) fn push(&mut self, revision: i64, key: Bytes) -> io::Result<()> {
        self.bytes += ENTRY + key.len();
        self.run.push((revision, key));
        if self.bytes >= self.limit { self.write_run() } else { Ok(()) }
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let mut out = io::BufWriter::with_capacity(BUFFER, &self.file);
        let mut end = self.ends.last().copied().unwrap_or(0);
        for (revision, key) in self.run.drain(..) {
            let size = u32::try_from(key.len()).map_err(io::Error::other)?;
            out.write_all(&revision.to_be_bytes())?;
            out.write_all(&size.to_be_bytes())?;
            out.write_all(&key)?;
            end += 12 + u64::from(size);
        }
        out.flush()?;
        drop(out);
        self.ends.push(end);
        self.bytes = 0;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Sorted {
        self.run.sort_unstable();
        Sorted { file: Arc::new(self.file), run: Arc::new(self.run), ends: self.ends }
    }
}

/// What was sorted.
pub(crate) struct Sorted {
    file: Arc<File>,
    /// The last run, which was not written.
    run: Arc<Vec<Entry>>,
    ends: Vec<u64>,
}

impl Sorted {
    pub(crate) fn entries(&self) -> io::Result<Entries> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut runs: Vec<Run> = starts.zip(&self.ends).map(|(at, end)| Run::written(&self.file, at, *end)).collect();
        runs.push(Run::Memory { run: self.run.clone(), next: 0 });
        let mut entries = Entries { runs, heads: BinaryHeap::new() };
        for run in 0..entries.runs.len() {
            entries.advance(run)?;
        }
        Ok(entries)
    }
}

/// The entries, by revision and key.
pub(crate) struct Entries {
    runs: Vec<Run>,
    /// The first entry of each run that has one left.
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Entries {
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((entry, run))) = self.heads.pop() else { return Ok(None) };
        self.advance(run)?;
        Ok(Some(entry))
    }

    fn advance(&mut self, run: usize) -> io::Result<()> {
        if let Some(entry) = self.runs[run].next()? {
            self.heads.push(Reverse((entry, run)));
        }
        Ok(())
    }
}

enum Run {
    Memory { run: Arc<Vec<Entry>>, next: usize },
    File { file: Arc<File>, at: u64, end: u64, buffer: Vec<u8>, used: usize },
}

impl Run {
    fn written(file: &Arc<File>, at: u64, end: u64) -> Run {
        Run::File { file: file.clone(), at, end, buffer: Vec::new(), used: 0 }
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Run::Memory { run, next } => {
                let entry = run.get(*next).cloned();
                *next += 1;
                Ok(entry)
            }
            Run::File { file, at, end, buffer, used } => {
                if *used == buffer.len() && at == end {
                    return Ok(None);
                }
                fill(file, at, *end, buffer, used, 12)?;
                let (revision, size) = buffer[*used..*used + 12].split_at(8);
                let revision = i64::from_be_bytes(revision.try_into().expect("eight bytes"));
                let size = u32::from_be_bytes(size.try_into().expect("four bytes")) as usize;
                *used += 12;
                fill(file, at, *end, buffer, used, size)?;
                let key = Bytes::copy_from_slice(&buffer[*used..*used + size]);
                *used += size;
                Ok(Some((revision, key)))
            }
        }
    }
}

/// Reads on until so many bytes are there that were not used.
fn fill(file: &File, at: &mut u64, end: u64, buffer: &mut Vec<u8>, used: &mut usize, want: usize) -> io::Result<()> {
    if buffer.len() - *used >= want {
        return Ok(());
    }
    buffer.drain(..*used);
    *used = 0;
    let have = buffer.len();
    let more = usize::try_from(end - *at).unwrap_or(usize::MAX).min(BUFFER.max(want - have));
    buffer.resize(have + more, 0);
    file.read_exact_at(&mut buffer[have..], *at)?;
    *at += more as u64;
    if buffer.len() < want { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fits_the_order_is_the_same() {
        let mut random = 7_u64;
        let mut input: Vec<Entry> = (0..3_000_u32)
            .map(|n| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let size = if n % 100 == 0 { BUFFER + 10 } else { (random >> 40) as usize % 40 };
                ((random >> 50) as i64, [n.to_be_bytes().to_vec(), vec![7; size]].concat().into())
            })
            .collect();
        for limit in [1, 10_000, 500_000, RUN] {
            let mut sorter = Sorter::with_limit(tempfile::tempfile().expect("a file"), limit);
            for (revision, key) in &input {
                sorter.push(*revision, key.clone()).expect("it is written");
            }
            let sorted = sorter.finish();
            input.sort();
            for _ in 0..2 {
                let mut entries = sorted.entries().expect("it is read");
                let mut found = vec![];
                while let Some(entry) = entries.next().expect("it is read") {
                    found.push(entry);
                }
                assert!(found == input, "limit {limit}");
            }
        }
    }
}
