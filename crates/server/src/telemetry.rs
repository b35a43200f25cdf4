//! Logs: one record a line on standard error, as text or JSON.

use conclave_node::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends the process's logs to standard error from here on. Only the first call has an effect.
pub fn init(config: &LogConfig) {
    // openraft tells every election at info and every missed heartbeat as a warning, twenty a second while a member is down: that
    // is its own business unless somebody asks for it (`peer` and `leadership` tell what matters of it once).
    let filter = match config.filter.contains('=') {
        true => config.filter.clone(),
        false => format!("{level},openraft={quiet}", level = config.filter, quiet = quieter(&config.filter)),
    };
    let builder = fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr).with_target(true);
    let outcome = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("logging was set up already");
    }
}

fn quieter(level: &str) -> &str {
    match level {
        "trace" => "debug",
        "debug" => "info",
        "info" | "warn" => "error",
        other => other,
    }
}
