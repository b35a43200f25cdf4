//! Between the public wire and what the state machine understands.
//!
//! Conversion *is* validation: a [`conclave_state::Command`] or [`conclave_state::RangeQuery`] that
//! exists is well formed, and nothing is checked a second time further in. Requests are consumed,
//! so that keys and values keep pointing into the buffer they were received in.
//!
//! Conversion never panics and never looks at the state: the same request gives the same result on
//! every node.

pub mod conclave;
pub mod etcd;
#[cfg(test)]
mod fuzz;
