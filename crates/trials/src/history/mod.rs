//! What happened in a run, as lines of JSON: what clients asked and were told, what faults were
//! made, what the cluster said.
//!
//! # The idea
//!
//! A [`Record`] is one line. A client's call is an `invoke`, later completed by `ok` (with the
//! answer), `fail` (it surely did not happen) or `info` (it may have happened, or may yet),
//! Jepsen's four words. Streams (watches, observers) add `event` lines. The harness adds `fault`
//! lines and `fact` lines: what every member holds at a revision, who leads in which term. [`Run`]
//! is the merged history with calls and completions paired.
//!
//! # Rules for who writes
//!
//! 1. One attempt a call: no retries, no change of endpoint within it.
//! 2. A process has one call under way at a time. After an `info` its number is used no more; its
//!    successor takes another.
//! 3. `time` is the host's monotonic clock in nanoseconds ([`now`]), read before sending and after
//!    receiving, never through the clock shim. `clock` is the process's own monotonic clock, where
//!    that can differ; beliefs are counted on it.
//! 4. Every written value is unique in the run, so that a change in the store names the call that
//!    made it.
//! 5. An answer that lacks what it must have is written as it came (zeros): a checker will refuse
//!    it.

mod call;
mod coord;
mod edn;
mod fact;
mod file;
mod kv;
mod run;

pub use call::{Answer, Call, Event};
pub use coord::*;
pub use edn::to_edn;
pub use fact::*;
pub use file::{Journal, load, merge, now};
pub use kv::*;
pub use run::{Op, Outcome, Run, Streamed};

use serde::{Deserialize, Serialize};

/// When a call that never came back returns.
pub const NEVER: u64 = u64::MAX;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the merged history; 0 in the file of one process.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: u64,
    pub process: Process,
    /// Nanoseconds of the host's monotonic clock.
    pub time: u64,
    /// Nanoseconds of the process's own monotonic clock, where it may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// The member that was talked to, or is talked about; from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    #[serde(flatten)]
    pub entry: Entry,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    Client(u64),
    /// `nemesis`, `cluster`, `observer`.
    Harness(String),
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry {
    Invoke(Call),
    Ok(Answer),
    /// It surely did not happen.
    Fail(Failure),
    /// It may have happened, or may yet.
    Info(Failure),
    /// Something that came on a stream, or that a client did by itself.
    Event(Event),
    Fault(FaultEvent),
    Fact(Fact),
}

/// Why a call has no answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The gRPC code's name, or `timeout`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    pub error: String,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
