//! Histories on disk: one file a process, and all of them merged.

use super::{Entry, Process, Record, Run};
use anyhow::{Context, Result};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Nanoseconds of the host's monotonic clock, the same in all processes of the machine.
///
/// Asks the kernel directly, so that a preloaded clock shim does not see it.
#[must_use]
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Writes one process's file. Each line reaches the kernel at once: a process that is killed has
/// lost nothing that it wrote.
#[derive(Clone, Debug)]
pub struct Journal {
    file: Arc<Mutex<File>>,
    /// When the process's own clock began, if it is to be written.
    own: Option<std::time::Instant>,
}

impl Journal {
    /// Appends to `path`. With `own_clock`, every line also says the process's own monotonic clock.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, own_clock: bool) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file: Arc::new(Mutex::new(file)), own: own_clock.then(std::time::Instant::now) })
    }

    /// Writes a line that happens now.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn write(&self, process: &Process, node: Option<u32>, entry: Entry) -> Result<()> {
        let (time, clock) = self.read_clocks();
        self.write_line(time, clock, process, node, entry)
    }

    /// Writes a line that happened at `time`, not long ago.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn write_at(&self, time: u64, process: &Process, node: Option<u32>, entry: Entry) -> Result<()> {
        let (now, clock) = self.read_clocks();
        self.write_line(time, clock.map(|clock| clock.saturating_sub(now.saturating_sub(time))), process, node, entry)
    }

    /// Both clocks at one moment. A process that was interrupted between the two looks again.
    fn read_clocks(&self) -> (u64, Option<u64>) {
        let Some(began) = self.own else { return (now(), None) };
        let mut best = (u64::MAX, (0, None));
        for _ in 0..8 {
            let before = now();
            let clock = began.elapsed().as_nanos() as u64;
            let took = now() - before;
            if took < best.0 {
                best = (took, (before, Some(clock)));
            }
            if took < 20_000 {
                break;
            }
        }
        best.1
    }

    fn write_line(
        &self,
        time: u64,
        clock: Option<u64>,
        process: &Process,
        node: Option<u32>,
        entry: Entry,
    ) -> Result<()> {
        let record = Record { index: 0, process: process.clone(), time, clock, node, entry };
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line).context("cannot write the history")
    }
}

/// Reads a file of records, or every `*.jsonl` of a directory but `history.jsonl`; a directory with
/// only that, that.
///
/// # Errors
/// A file cannot be read, or a line is no record. A last line without an end is left out: its
/// writer was killed.
pub fn load(path: &Path) -> Result<Run> {
    let mut records = Vec::new();
    if path.is_dir() {
        let mut files: Vec<_> = std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
        files.retain(|file| file.path().extension().is_some_and(|extension| extension == "jsonl"));
        files.sort_by_key(std::fs::DirEntry::file_name);
        if files.len() > 1 {
            files.retain(|file| file.file_name() != "history.jsonl");
        }
        for file in files {
            read(&file.path(), &mut records)?;
        }
    } else {
        read(path, &mut records)?;
    }
    Ok(Run::new(records))
}

fn read(path: &Path, records: &mut Vec<Record>) -> Result<()> {
    let mut lines = BufReader::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            break;
        }
        if line.trim().is_empty() || line.starts_with("//") {
            continue;
        }
        let record = serde_json::from_str(&line).with_context(|| format!("{} line {number}", path.display()))?;
        records.push(record);
    }
    Ok(())
}

/// Writes the merged history, with its indexes.
///
/// # Errors
/// The file cannot be written.
pub fn merge(run: &Run, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?);
    for record in &run.records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush().context("cannot write the merged history")
}
