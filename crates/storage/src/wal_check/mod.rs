//! Checks RocksDB's journals (write-ahead logs and manifests) before RocksDB reads them.
//!
//! RocksDB's reader handles three cases wrongly:
//!
//! * It refuses an unfinished last write of which only some sectors reached the disk, as a power
//!   cut can leave it.
//! * It drops whole records without an error: a record whose head is zero, with the rest of its
//!   block; a record whose length points past the end of the file; everything after a record of a
//!   *recycled* journal.
//! * It may loop for ever at a record of a recycled journal in one that is not recycled
//!   (facebook/rocksdb#13333).
//!
//! So this module reads the journals first:
//!
//! 1. The last write is cut off if it is torn ([`scan`]), nothing follows it, and it is not known
//!    to be synced. The log syncs every write before the next one begins, so at most one write can
//!    be torn.
//! 2. A manifest gets several records before a sync, one for each flushed table. The state's
//!    manifest may lose more than the last record: either the files of the remaining records are
//!    all there, or RocksDB refuses; and the log knows what the state must hold (`open`). The log's
//!    manifest may not, because it names the write-ahead logs that must exist.
//! 3. Everything else that is incomplete is refused.
//! 4. Nothing is changed while another process has the database open.

mod scan;

use crate::error::OpenError;
use crate::files;
use scan::{End, FOLLOWED, Journal};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The database that the journals belong to.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// `synced` is the sequence number up to which the log is known to be synced.
    Log {
        synced: Option<u64>,
    },
    State,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Log { .. } => "the log",
            Of::State => "the state",
        }
    }
}

/// A last write that a power cut left incomplete.
struct Torn {
    path: PathBuf,
    from: u64,
    length: u64,
    /// Others come behind it.
    followed: bool,
}

/// Prepares the journals of a database for RocksDB.
///
/// The journals are synced first. A process that died between a write and its sync left the write
/// in the page cache, and conclusions drawn from it now must survive a power cut.
pub(crate) fn mend(of: Of, dir: &Path) -> Result<(), OpenError> {
    for path in logs(dir).map_err(OpenError::io("list the journals in", dir))? {
        match File::open(&path).and_then(|file| file.sync_all()) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(OpenError::io("sync", path)(e)),
            _ => {}
        }
    }
    if inspect(of, dir).is_ok_and(|torn| torn.is_empty()) {
        return Ok(());
    }
    // Another process may be writing now.
    let lock = dir.join("LOCK");
    let locked = files::lock(&lock, true).map_err(OpenError::io("lock", &lock))?;
    let _lock = locked.ok_or_else(|| OpenError::InUse { path: dir.to_owned() })?;
    for torn in inspect(of, dir)? {
        torn.cut().map_err(OpenError::io("cut off an unfinished write in", &torn.path))?;
    }
    Ok(())
}

/// Like [`mend`], but changes nothing.
pub(crate) fn check(of: Of, dir: &Path) -> Result<(), OpenError> {
    match inspect(of, dir)?.pop() {
        None => Ok(()),
        Some(torn) => Err(OpenError::Unfinished { path: torn.path }),
    }
}

impl Torn {
    fn cut(&self) -> io::Result<()> {
        let Torn { path, from, length, .. } = self;
        tracing::warn!(
            file = %path.display(),
            from,
            bytes = length - from,
            "the last write was not finished, as after a power failure; nothing acknowledged was in it: it is cut off"
        );
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(*from)?;
        file.sync_all()
    }
}

/// Refuses damage. Returns torn writes.
fn inspect(of: Of, dir: &Path) -> Result<Vec<Torn>, OpenError> {
    let logs = logs(dir).map_err(OpenError::io("list the journals in", dir))?;
    let mut torn = Vec::from_iter(inspect_row(of, dir, &logs, false)?);
    if let Some(manifest) = manifest(dir).map_err(OpenError::io("read", dir.join("CURRENT")))? {
        // All that is torn is found, and judged here: no record of the log's manifest may be
        // missing.
        let found = inspect_row(of, dir, std::slice::from_ref(&manifest), true)?;
        if let Some(torn) = &found
            && (torn.from == 0 || (torn.followed && !matches!(of, Of::State)))
        {
            return Err(not_whole(of, dir, torn));
        }
        torn.extend(found);
    }
    Ok(torn)
}

/// Checks journals that continue each other. Only the last non-empty one may be torn, and only in
/// its last record unless it may `lose_more`.
fn inspect_row(of: Of, dir: &Path, journals: &[PathBuf], lose_more: bool) -> Result<Option<Torn>, OpenError> {
    let (mut torn, mut last_sequence): (Option<Torn>, _) = (None, None);
    for path in journals {
        let journal = match File::open(path).and_then(scan::read) {
            // Another process has the directory open; opening it will say so.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(OpenError::io("read", path))?,
        };
        let Journal { end, last_sequence: last, length } = journal;
        last_sequence = last.or(last_sequence);
        if let Some(torn) = torn.as_ref().filter(|_| length > 0) {
            return Err(damage(of, dir, &torn.path, torn.from, "an unfinished write, and other journals behind it"));
        }
        match end {
            End::Whole => {}
            End::Torn { from, followed: true } if !lose_more => return Err(damage(of, dir, path, from, FOLLOWED)),
            End::Torn { from, followed } => torn = Some(Torn { path: path.clone(), from, length, followed }),
            End::Damaged(at, reason) => return Err(damage(of, dir, path, at, reason)),
        }
    }
    if let (Some(torn), Of::Log { synced: Some(synced) }, Some(last)) = (&torn, of, last_sequence)
        && last < synced
        && torn.path.extension().is_some_and(|extension| extension == "log")
    {
        return Err(damage(of, dir, &torn.path, torn.from, "a write that was synced is not whole any more"));
    }
    Ok(torn)
}

fn damage(of: Of, dir: &Path, journal: &Path, at: u64, reason: &str) -> OpenError {
    let name = journal.file_name().unwrap_or_default().display();
    OpenError::Corrupt { path: dir.into(), what: of.name(), reason: format!("{name} at byte {at}: {reason}") }
}

/// A manifest whose records were not all finished.
fn not_whole(of: Of, dir: &Path, torn: &Torn) -> OpenError {
    let name = torn.path.file_name().unwrap_or_default().display();
    let reason = format!("{name} at byte {}: a record that was not finished", torn.from);
    OpenError::FileList { path: dir.into(), what: of.name(), reason }
}

/// The write-ahead logs, oldest first.
fn logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|extension| extension == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// The manifest that is in use.
fn manifest(dir: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::read_to_string(dir.join("CURRENT")) {
        Ok(name) => Ok(Some(dir.join(name.trim_end()))),
        // RocksDB will report the error.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest of three records, the second of which lost a sector, as if the power had failed
    /// during a write of two.
    #[test]
    fn a_torn_manifest_is_not_called_lost_data() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Vec::new();
        for length in [100, 1_400, 50] {
            scan::tests::append(&mut manifest, &vec![0xb5; length]);
        }
        manifest[512..1024].fill(0);
        std::fs::write(dir.path().join("CURRENT"), "MANIFEST-000001\n").unwrap();
        std::fs::write(dir.path().join("MANIFEST-000001"), &manifest).unwrap();
        let refused = inspect(Of::Log { synced: None }, dir.path()).err().map(|error| error.to_string());
        let refused = refused.expect("the log cannot be read without it");
        assert!(refused.contains("is not whole") && !refused.contains("lost or changed data"), "{refused}");
        let state = inspect(Of::State, dir.path()).expect("the log says what the state must hold");
        assert_eq!(state.len(), 1);
        manifest[..512].fill(0);
        std::fs::write(dir.path().join("MANIFEST-000001"), &manifest).unwrap();
        for of in [Of::Log { synced: None }, Of::State] {
            assert!(matches!(inspect(of, dir.path()), Err(OpenError::FileList { .. })));
        }
    }
}
