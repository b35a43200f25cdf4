//! Locks over gRPC, with the generated client alone.

mod cost;
mod holding;
mod leaving;
mod refusals;
mod several;
mod waiting;
mod watching;
