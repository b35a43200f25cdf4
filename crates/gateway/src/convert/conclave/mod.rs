//! Messages of conclave.v1: elections, locks, claims and their sessions.
//!
//! What all of them share stands in the files of this level, each message beside the others of its
//! service.
//!
//! 1. As everywhere in `convert`, what was converted is well formed: the state machine is given no
//!    name that is not one, no duration and no value beyond its limit.
//! 2. A refusal names the field as the `.proto` does.
//! 3. What reaches the log is the same for the same request: the pairs of a map are put in order.

mod answers;
mod caller;
pub mod claim;
pub mod election;
mod fields;
pub mod lock;
mod names;
pub mod placement;
pub mod session;

pub use answers::{cause, cause_of, compare, named, page, token};
pub use caller::{Caller, Expecting, Session, caller};
pub use fields::{LARGEST_LIST, byte_value, labels, limit, millis, reason, revision, text, text_or_empty};
pub use names::{ListPage, listing, name, namespace, optional_text};

use std::borrow::Cow;
use thiserror::Error;

/// A field of a request that cannot be what it is: the request was never proposed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
pub struct BadField {
    /// As in the `.proto`, with the fields that lead to it.
    pub field: Cow<'static, str>,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("is missing")]
    Missing,
    #[error("is empty")]
    Empty,
    #[error("has {bytes} bytes; at most {most} are allowed")]
    TooLong { bytes: usize, most: usize },
    #[error("has a control character")]
    ControlCharacter,
    #[error("has {bytes} bytes; it must be empty or 16 bytes")]
    NotADedupeId { bytes: usize },
    #[error("has {count} entries; at most {most} are allowed")]
    TooMany { count: usize, most: usize },
    #[error("is {value}; at most {most} is allowed")]
    TooLarge { value: u64, most: u64 },
    #[error("is negative")]
    Negative,
    /// The rest of the sentence, for what concerns one message alone.
    #[error("{0}")]
    Other(&'static str),
}

impl Problem {
    /// The error about a field with this problem.
    #[must_use]
    pub fn of(self, field: &'static str) -> BadField {
        BadField { field: field.into(), problem: self }
    }
}

impl BadField {
    /// The same of a field inside `outer`.
    #[must_use]
    pub fn within(self, outer: impl std::fmt::Display) -> BadField {
        BadField { field: format!("{outer}.{}", self.field).into(), ..self }
    }
}

#[cfg(test)]
mod tests;
