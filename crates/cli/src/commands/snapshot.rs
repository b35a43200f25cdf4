//! `snapshot save`, `status`, `verify`, `diff`, `restore`.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::signals::Signals,
    output::{
        self, Format, Output,
        etcd::{SnapshotDiff, SnapshotSaved, SnapshotStatus, SnapshotVerified},
        human,
    },
};
use clap::{Args, Subcommand};
use conclave_backup::{Hash, Snapshot, SnapshotError};
use conclave_client::api::etcdserverpb::{SnapshotRequest, SnapshotResponse, maintenance_client::MaintenanceClient};
use std::{
    ffi::OsString,
    fs::File,
    io::{IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tonic::Streaming;

/// How often progress is told, at a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// Snapshots of the state in etcd's format, for backups
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Download the state of one member into a file
    ///
    /// The file appears under its name when it is complete and its hash was found right. etcdutl
    /// reads and restores it.
    #[command(after_long_help = "\
Examples:
  conclavectl snapshot save backup.db
  conclavectl --endpoints 10.0.0.3:2379 snapshot save /backup/conclave.db")]
    Save {
        /// Where to
        file: PathBuf,
    },
    /// Hash, revision, keys and size of a snapshot, as etcdutl shows them
    #[command(after_long_help = "\
Examples:
  conclavectl snapshot status backup.db
  conclavectl snapshot status backup.db -w table")]
    Status(FileArgs),
    /// Read all of a snapshot and check that it can be a state: hash, pages, history, leases,
    /// elections, locks, claims
    #[command(after_long_help = "\
Examples:
  conclavectl snapshot verify backup.db
  conclavectl snapshot verify --skip-hash-check member/snap/db")]
    Verify {
        #[command(flatten)]
        file: FileArgs,
        /// Accept a file without a hash, such as one copied from a data directory of etcd
        #[arg(long)]
        skip_hash_check: bool,
    },
    /// What changed from one snapshot to another, or to the running cluster
    ///
    /// Living keys with their revisions and leases, leases with their TTLs, users, roles,
    /// elections, locks and claims. History is not compared. Exit code 0: they are the same; 1:
    /// they differ; otherwise they could not be compared.
    #[command(after_long_help = "\
Examples:
  conclavectl snapshot diff monday.db tuesday.db
  conclavectl snapshot diff backup.db --live -w json

A is the first file, B the second one or the cluster. --live downloads a snapshot into the
directory for temporary files ($TMPDIR), and removes it. Both files must have their hash.")]
    Diff {
        /// The earlier snapshot
        #[arg(value_name = "A")]
        a: PathBuf,
        /// The later snapshot
        #[arg(value_name = "B", required_unless_present = "live", conflicts_with = "live")]
        b: Option<PathBuf>,
        /// Compare with what the cluster (--endpoints) holds now
        #[arg(long)]
        live: bool,
    },
    /// Make the data directory of one member of a new cluster from a snapshot of Conclave or of
    /// etcd
    ///
    /// `conclave snapshot restore` does it, with etcdutl's flags: the program conclave must be
    /// beside this one or on the PATH, as it is where a member is to run. `--help` shows the flags.
    #[command(
        disable_help_flag = true,
        after_long_help = "\
Examples:
  conclavectl snapshot restore backup.db --name node1 --data-dir /var/lib/conclave \\
    --initial-cluster node1=http://10.0.0.1:2380,node2=http://10.0.0.2:2380 \\
    --initial-advertise-peer-urls http://10.0.0.1:2380"
    )]
    Restore {
        /// The file, and the flags of `conclave snapshot restore`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "FILE AND FLAGS")]
        arguments: Vec<OsString>,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// The snapshot
    file: PathBuf,
}

impl SnapshotCommand {
    /// What needs no cluster; `None` if it was something else.
    pub(crate) fn run_alone(&self, format: impl FnOnce() -> Result<Format>) -> Option<Result<Exit>> {
        let done = match self {
            Self::Save { .. } | Self::Diff { b: None, .. } => return None,
            Self::Diff { a, b: Some(b), .. } => {
                let diff = |format| {
                    diff((a.as_path(), b.as_path()), &b.display().to_string(), Output { format, ..Output::default() })
                };
                return Some(format().and_then(diff));
            }
            Self::Restore { arguments } => return Some(restore(arguments)),
            Self::Status(FileArgs { file }) => format().and_then(|format| status(file, format)),
            Self::Verify { file, skip_hash_check } => {
                format().and_then(|format| verify(&file.file, *skip_hash_check, format))
            }
        };
        Some(done.map(|()| Exit::Done))
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        match self {
            Self::Save { file } => save(context, &file).await.map(|()| Exit::Done),
            Self::Diff { a, .. } => diff_live(context, &a).await,
            // Run before there was a context.
            Self::Status(_) | Self::Verify { .. } | Self::Restore { .. } => Ok(Exit::Done),
        }
    }
}

/// Compares a file with a snapshot that is made for it.
async fn diff_live(context: &Context, a: &Path) -> Result<Exit> {
    // A file that makes no sense costs no download.
    sound(a)?;
    let live = std::env::temp_dir().join(format!("conclavectl-diff-{:016x}", rand::random::<u64>()));
    let part = Part::create(&live)?;
    let mut signals = Signals::new()?;
    tokio::select! {
        // Of failures, 1 is for what differs.
        version = download(context, &part) => version.map_err(not_different)?,
        interrupted = signals.interrupt() => return Err(interrupted),
    };
    diff((a, part.path.as_path()), "the cluster", context.out)
}

fn not_different(failure: Failure) -> Failure {
    if failure.exit == Exit::Failed { failure.exit(Exit::Io) } else { failure }
}

/// Compares two files; the second one is called by a name.
fn diff((a, b): (&Path, &Path), b_name: &str, out: Output) -> Result<Exit> {
    let before = of_file(a, sound(a)?.inventory())?;
    let after = of_file(b, sound(b)?.inventory())?;
    let differences = before.differences(&after);
    out.show(&SnapshotDiff {
        a: (&a.display().to_string(), before.revision),
        b: (b_name, after.revision),
        differences: &differences,
    })?;
    Ok(if differences.is_empty() { Exit::Done } else { Exit::Differs })
}

/// Opens a file that has its hash.
fn sound(file: &Path) -> Result<Snapshot<File>> {
    let snapshot = open(file)?;
    if of_file(file, snapshot.check_hash())? == Hash::Missing {
        return Err(Failure::new(Exit::BadInput, "the snapshot has no hash").about(file.display()));
    }
    Ok(snapshot)
}

async fn save(context: &Context, file: &Path) -> Result<()> {
    let mut signals = Signals::new()?;
    let part = Part::create(file)?;
    let version = tokio::select! {
        version = download(context, &part) => version?,
        interrupted = signals.interrupt() => return Err(interrupted),
    };
    // Read again from the disk: what counts is what stands there.
    if of_file(&part.path, open(&part.path)?.check_hash())? == Hash::Missing {
        return Err(Failure::new(Exit::Failed, "the member ended the snapshot before its hash"));
    }
    let size = part.finish(file)?;
    context.out.show(&SnapshotSaved { file: file.display().to_string(), size, version })
}

/// Writes what the member sends; gives the version that it names.
async fn download(context: &Context, part: &Part) -> Result<String> {
    let node = context.link.node().await?;
    let mut client = MaintenanceClient::new(node.channel).max_decoding_message_size(usize::MAX);
    let failed = |status| Failure::of(&status, Effect::Reads).about(&node.endpoint);
    let mut messages: Streaming<SnapshotResponse> =
        client.snapshot(SnapshotRequest {}).await.map_err(failed)?.into_inner();
    let (mut version, mut received, mut told) = (String::new(), 0, Instant::now());
    while let Some(message) = messages.message().await.map_err(failed)? {
        (&part.file).write_all(&message.blob).map_err(|error| Failure::from(error).about(part.path.display()))?;
        received += message.blob.len() as u64;
        version = message.version;
        if told.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
            told = Instant::now();
            let all = human::size(received + message.remaining_bytes);
            output::note(&format!("{} of {all}", human::size(received)));
        }
    }
    Ok(version)
}

/// A file under a temporary name, which is removed unless it is finished.
struct Part {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Part {
    fn create(file: &Path) -> Result<Part> {
        let mut name = file.file_name().ok_or_else(|| Failure::usage("the snapshot needs a file name"))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = file.with_file_name(name);
        let mut options = File::options();
        // It holds everything that is stored: for its owner only.
        let created = options.write(true).create_new(true).mode(0o600).open(&path);
        let created = created.map_err(|error| Failure::from(error).about(path.display()))?;
        Ok(Part { path, file: created, finished: false })
    }

    /// Gives the file its name, durably. Gives its size.
    fn finish(mut self, file: &Path) -> Result<u64> {
        let finish = || {
            self.file.sync_all()?;
            std::fs::rename(&self.path, file)?;
            let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()?;
            self.file.metadata()
        };
        let size = finish().map_err(|error| Failure::from(error).about(file.display()))?.len();
        self.finished = true;
        Ok(size)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // It is left behind if that fails, under a name that says what it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Has the server's program do it, which alone knows data directories.
fn restore(arguments: &[OsString]) -> Result<Exit> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("conclave")).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from("conclave"));
    let ran = std::process::Command::new(&program).args(["snapshot", "restore"]).args(arguments).status();
    let ran = ran.map_err(|error| {
        Failure::from(error)
            .about(program.display())
            .hint("install the program conclave here, where the member is to run")
    })?;
    match ran.code() {
        Some(0) => Ok(Exit::Done),
        Some(2) => Err(Failure::usage("conclave snapshot restore refuses the command line")),
        _ => Err(Failure::new(Exit::Failed, "nothing was restored")),
    }
}

fn status(file: &Path, format: Format) -> Result<()> {
    let status = of_file(file, open(file)?.status())?;
    Output { format, ..Output::default() }.show(&SnapshotStatus(&status))
}

fn verify(file: &Path, skip_hash_check: bool, format: Format) -> Result<()> {
    let snapshot = open(file)?;
    if !skip_hash_check && of_file(file, snapshot.check_hash())? == Hash::Missing {
        let failure = Failure::new(Exit::BadInput, "the snapshot has no hash").about(file.display());
        return Err(failure.hint("a file copied from a data directory has none: --skip-hash-check accepts it"));
    }
    let counts = of_file(file, snapshot.verify())?;
    Output { format, ..Output::default() }.show(&SnapshotVerified(&counts))
}

fn open(file: &Path) -> Result<Snapshot<File>> {
    Ok(Snapshot::new(File::open(file).map_err(|error| Failure::from(error).about(file.display()))?))
}

/// A file that cannot be read, or makes no sense.
fn of_file<T>(file: &Path, read: Result<T, SnapshotError>) -> Result<T> {
    read.map_err(|error| Failure::new(Exit::BadInput, error.to_string()).about(file.display()))
}
