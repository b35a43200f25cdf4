//! `conclave`: configuration → logs → runtime → node → signal.
//!
//! `conclave dev …`, `conclave dump-log …`, `conclave recover …` and `conclave snapshot …` are
//! other programs under the same name ([`dev`], [`dump`], [`recover`], [`snapshot`]).
//!
//! Exit codes: 0 stopped as asked (or `--help`, `--version`); 1 failed while starting or running; 2
//! the command line or the configuration is wrong. Standard output gets one line, when clients are
//! served; under the name `etcd` it gets none, and the log says so.

use conclave_gateway::ETCD_VERSION;
use conclave_node::config::{self, Config, ConfigError};
use conclave_node::descriptors;
use conclave_server::dev;
use conclave_server::dump;
use conclave_server::force;
use conclave_server::notify;
use conclave_server::recover;
use conclave_server::restore_from;
use conclave_server::server::Server;
use conclave_server::snapshot;
use conclave_server::telemetry;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// For Rust and for RocksDB alike: what one thread allocates and another frees costs no lock here
/// (docs/decisions/0014).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FAILED: u8 = 1;
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == dump::WORD => dump::main(arguments),
        Some(first) if first == recover::WORD => recover::main(arguments),
        Some(first) if first == snapshot::WORD => snapshot::main(arguments),
        Some(first) if first == dev::WORD => dev::main(arguments),
        Some(first) if first == dev::MEMBER => match dev::bound(arguments) {
            Ok(arguments) => member(arguments),
            Err(error) => {
                write_to(std::io::stderr(), &format!("conclave: {error}"));
                ExitCode::from(FAILED)
            }
        },
        _ => member(std::env::args_os().collect()),
    }
}

/// The server itself.
fn member(arguments: Vec<OsString>) -> ExitCode {
    let config = match Config::load(arguments) {
        Ok(config) => config,
        Err(error) => return answer(&error),
    };
    if let Err(error) = telemetry::init(&config.log) {
        write_to(std::io::stderr(), &format!("conclave: {error}"));
        return ExitCode::from(FAILED);
    }
    tell(&config);
    // Before anything is opened: databases and ports are given their shares of it.
    let outcome = descriptors::raise().map_err(anyhow::Error::from).and_then(|()| start(config));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_to(std::io::stderr(), &format!("conclave: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Everything that comes before the runtime, and the node on it.
fn start(config: Config) -> anyhow::Result<()> {
    force::prepare(&config)?;
    restore_from::first_start(&config)?;
    runtime(&config)?.block_on(run(config))
}

/// What the settings make of the start.
fn tell(config: &Config) {
    if config.as_etcd {
        tracing::info!(
            etcd_version = ETCD_VERSION,
            conclave_version = env!("CARGO_PKG_VERSION"),
            "starting an etcd server"
        );
    }
    if !config.variables.is_empty() {
        tracing::info!("set by the environment: {}", config.variables.join(", "));
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for note in &config.notes {
        tracing::debug!("{note}");
    }
}

/// Help and version, or what is wrong with the configuration.
fn answer(error: &ConfigError) -> ExitCode {
    if error.is_answer() {
        let text = match error.is_version() && called_etcd() {
            true => version_as_etcd(),
            false => error.to_string(),
        };
        write_to(std::io::stdout(), text.trim_end());
        return ExitCode::SUCCESS;
    }
    write_to(std::io::stderr(), &format!("conclave: {error}\n(conclave --help explains every setting)"));
    ExitCode::from(MISCONFIGURED)
}

fn called_etcd() -> bool {
    std::env::args_os().next().is_some_and(|program| config::is_etcd(&program))
}

/// The lines that scripts cut versions out of; there is no Go in it to tell of.
fn version_as_etcd() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: conclave-{}\nGo Version: none\nGo OS/Arch: {os}/{arch}",
        env!("CARGO_PKG_VERSION")
    )
}

fn runtime(config: &Config) -> std::io::Result<Runtime> {
    match config.worker_threads {
        0 => Builder::new_current_thread().enable_all().build(),
        workers => Builder::new_multi_thread().worker_threads(workers).enable_all().build(),
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(asked);

    let node = tokio::select! {
        // A first start takes as long as it takes the other members to appear.
        signal = &mut asked => {
            tracing::info!(signal, "asked to stop before the start was complete");
            return Ok(());
        }
        started = Server::start(config) => started?,
    };
    let fault = tokio::select! {
        signal = &mut asked => {
            tracing::info!(signal, "stopping");
            None
        }
        fault = serve(&node) => Some(fault),
    };
    telemetry::stopping();
    warn_if_failed(notify::stopping());
    let stopped = node.stop().await;
    match fault {
        Some(fault) => Err(fault),
        None => stopped,
    }
}

/// Announces the node once it serves clients, and returns only if it cannot go on.
async fn serve(node: &Server) -> anyhow::Error {
    let announce = async {
        node.ready().await;
        match node.node.config.as_etcd {
            true => tracing::info!("ready to serve client requests"),
            false => write_to(std::io::stdout(), &format!("conclave {}", node.ready_line())),
        }
        warn_if_failed(notify::ready());
        tell_that_it_works(node).await;
    };
    let mut failed = std::pin::pin!(node.failed());
    tokio::select! {
        () = announce => failed.await,
        fault = &mut failed => fault,
    }
}

/// Tells systemd's watchdog again and again that both threads go on, for as long as they do;
/// returns at once if it does not watch.
async fn tell_that_it_works(node: &Server) {
    let Some(every) = notify::watchdog() else { return };
    loop {
        node.goes_on().await;
        warn_if_failed(notify::works());
        tokio::time::sleep(every).await;
    }
}

fn warn_if_failed(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

/// Writes a line at once. Its reader may be gone: that is no reason to fail.
fn write_to(mut stream: impl Write, line: &str) {
    let _ = writeln!(stream, "{line}").and_then(|()| stream.flush());
}
