//! Logs: one record a line, as text or JSON, on standard error or wherever it was asked for.

mod etcd;
mod outputs;
mod quiet;

use conclave_node::config::{LogConfig, LogFormat, LogOutput};
use outputs::Outputs;
use quiet::Quiet;
pub use quiet::stopping;
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends the process's logs to their outputs from here on. Only the first call has an effect.
///
/// # Errors
/// A file of the log cannot be opened.
pub fn init(config: &LogConfig) -> io::Result<()> {
    // openraft tells every election at info and every missed heartbeat as a warning, twenty a
    // second while a member is down: that is its own business unless somebody asks for it (`peer`
    // and `leadership` tell what matters of it once).
    let filter = match config.filter.contains('=') {
        true => config.filter.clone(),
        false => format!("{level},openraft={quiet}", level = config.filter, quiet = quieter(&config.filter)),
    };
    let outputs = Outputs::open(&config.outputs)?;
    let coloured = config.outputs == [LogOutput::Stderr] && io::stderr().is_terminal();
    let builder = fmt().with_env_filter(EnvFilter::new(filter)).with_writer(outputs).with_target(true);
    let outcome = match config.format {
        LogFormat::Text => builder.with_ansi(coloured).map_event_format(Quiet).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).map_event_format(Quiet).try_init(),
        LogFormat::Etcd => builder.with_ansi(false).event_format(Quiet(etcd::Format)).try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("logging was set up already");
    }
    Ok(())
}

fn quieter(level: &str) -> &str {
    match level {
        "trace" => "debug",
        "debug" => "info",
        "info" | "warn" => "error",
        other => other,
    }
}
