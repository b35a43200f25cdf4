//! What every workload can be told, and refusals of what makes no sense.

use clap::Args;
use conclave_cli::{
    failure::{Failure, Result},
    parse,
};
use std::time::Duration;

/// The options of every workload.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Loops that each have one operation under way [default: depends on the workload]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: Option<u32>,
    /// HTTP/2 connections, shared by the clients and spread over the endpoints
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::duration)]
    duration: Duration,
    /// Load before that, which does not count
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    warm_up: Duration,
    /// Measure this many operations, however long they take, in place of a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    total: Option<u64>,
    /// Open loop: start this many operations a second, whether or not those before have ended
    ///
    /// Without it, each client waits for an answer before it asks again, so a server that stalls is
    /// asked less and its stall counts as one slow answer. With it, operations have appointed
    /// times, and each latency counts from the appointed time: what waits behind a stall is slow
    /// too, as it is for users who do not know of each other. --clients bounds what is under way.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "total")]
    rate: Option<f64>,
    /// Bytes a value
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// Distinct keys; each operation draws one
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    key_space: u64,
    /// Bytes a key
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    key_size: usize,
    /// The same seed draws the same keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Process ids of the servers, if they run here: reports their CPU, memory and bytes written
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Put into the result as it is, to tell results apart (-w json)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Leave behind what was made: keys and leases
    #[arg(long)]
    keep: bool,
    /// No progress on standard error
    #[arg(long)]
    quiet: bool,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    After(Duration),
    Operations(u64),
}

/// The options of one run, checked.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) clients: usize,
    pub(super) connections: usize,
    pub(super) end: End,
    pub(super) warm_up: Duration,
    pub(super) rate: Option<f64>,
    pub(super) value_size: usize,
    pub(super) key_space: u64,
    pub(super) key_size: usize,
    pub(super) seed: u64,
    pub(super) pids: Vec<u32>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) keep: bool,
    pub(super) quiet: bool,
}

/// The shortest key: what tells runs apart, and the key's number.
pub(super) const SHORTEST_KEY: usize = 24;
/// Servers of this wire refuse larger requests.
const LARGEST_VALUE: usize = 1 << 20;

impl LoadArgs {
    /// The checked options; `clients` is the workload's own number of them.
    pub(super) fn options(&self, clients: usize) -> Result<Options> {
        if self.duration.is_zero() {
            return Err(Failure::usage("--duration: nothing can be measured in no time; 10s is usual"));
        }
        if let Some(rate) = self.rate
            && !(rate.is_finite() && (0.01..=10_000_000.0).contains(&rate))
        {
            return Err(Failure::usage(format!("--rate {rate}: give operations a second, from 0.01 to 10000000")));
        }
        if !(SHORTEST_KEY..=1024).contains(&self.key_size) {
            let least = format!("--key-size {}: a key takes from {SHORTEST_KEY} to 1024 bytes", self.key_size);
            return Err(Failure::usage(least).hint("the beginning tells runs apart, the end is the key's number"));
        }
        if self.value_size > LARGEST_VALUE {
            let least = format!("--value-size {}: values may have up to {LARGEST_VALUE} bytes", self.value_size);
            return Err(Failure::usage(least).hint("servers refuse requests of more than about 1.5 MB"));
        }
        let label = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Failure::usage(format!("--label {text:?}: write it as NAME=VALUE"))),
        };
        Ok(Options {
            clients: self.clients.map_or(clients, |clients| clients as usize),
            connections: self.connections as usize,
            end: self.total.map_or(End::After(self.duration), End::Operations),
            warm_up: self.warm_up,
            rate: self.rate,
            value_size: self.value_size,
            key_space: self.key_space,
            key_size: self.key_size,
            seed: self.seed,
            pids: self.pids.clone(),
            labels: self.labels.iter().map(label).collect::<Result<_>>()?,
            keep: self.keep,
            quiet: self.quiet,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    /// The options of a command line.
    pub(crate) fn options(args: &[&str]) -> Result<Options> {
        let line = Line::try_parse_from([&["bench"], args].concat());
        line.map_err(|error| Failure::usage(error.to_string()))?.load.options(64)
    }

    #[test]
    fn defaults_depend_on_the_workload() {
        let options = options(&[]).expect("defaults");
        assert_eq!((options.clients, options.connections, options.value_size), (64, 12, 256));
        assert_eq!(options.end, End::After(Duration::from_secs(10)));
        assert_eq!(super::tests::options(&["--total", "7"]).expect("a number").end, End::Operations(7));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (args, says) in [
            (&["--clients", "0"][..], "--clients"),
            (&["--duration", "0"], "no time"),
            (&["--duration", "5"], "not a time"),
            (&["--rate", "0"], "--rate 0"),
            (&["--rate", "NaN"], "--rate"),
            (&["--rate", "5", "--total", "5"], "cannot be used with"),
            (&["--key-size", "3"], "from 24 to 1024"),
            (&["--value-size", "9999999"], "up to 1048576"),
            (&["--label", "x"], "NAME=VALUE"),
            (&["--pids", "me"], "--pids"),
        ] {
            let failure = options(args).expect_err(says);
            assert!(failure.to_string().contains(says), "{args:?}: {failure}");
        }
    }
}
