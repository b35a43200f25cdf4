//! Text from the command line and from standard input.

mod compare;
mod duration;
#[cfg(test)]
mod fuzz;
mod ids;
mod range;
mod words;

pub use duration::duration;
pub(crate) use {
    compare::compare,
    duration::ttl,
    ids::{lease, member},
    range::Keys,
    words::words,
};
