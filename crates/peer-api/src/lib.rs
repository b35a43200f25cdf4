//! The wire between members: messages, client and server generated from `proto/conclave/peer`. No
//! client of the cluster speaks it.

#[allow(clippy::all, clippy::pedantic, clippy::nursery, clippy::unwrap_used, clippy::too_many_lines)]
#[allow(missing_docs, unreachable_pub, elided_lifetimes_in_paths, unused_qualifications, rustdoc::all)]
mod generated {
    tonic::include_proto!("conclave.peer.v1");
}

pub use generated::*;
