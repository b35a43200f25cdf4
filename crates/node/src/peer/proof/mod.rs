//! Members without TLS prove to each other that they know a secret of the cluster, and mark all
//! that they send by it.
//!
//! ```text
//! connecting  "~conclave proof 1\n"  what for (1)  nonce (32)
//! accepting   "~conclave proof 1\n"  nonce (32)
//! connecting  how many (1)  a proof (32) by each secret that it has
//! accepting   which of them (1)  its own proof (32) by that secret, or "no" (1)
//! both        records: number (8)  length (4)  payload  mark (32)
//! ```
//!
//! Proofs and keys are HKDF-SHA256 of the secret over a name, the purpose and both nonces; a mark
//! is HMAC-SHA256, by a key for each direction, over all of the record before it.
//!
//! 1. A stranger who does not know a secret can neither prove it nor write a record, nor use what was
//!    recorded: each side's nonce is new. The names of the two directions differ, so nothing that
//!    one side sent counts as the other's.
//! 2. A record counts if it is the next one and its mark is right. Nothing of it is given out
//!    before. The first that does not count ends the connection. An attacker on the network can read, delay
//!    and cut; what arrives is a beginning of what was sent.
//! 3. The side that accepts shows nothing that depends on the secret before the other has proved it.
//! 4. What is read before the proof has a fixed size and a deadline. A record is at most
//!    [`records::MOST`] long.
//! 5. A secret is the cluster's, not a member's: that a proof is right does not say which member
//!    made it. The ids that each log connection and each call name are checked as without it, so
//!    traffic for one member is refused by another.
//! 6. A connection ends when the secret that it stands on is taken out of the file.

mod handshake;
mod in_force;
mod records;
mod secret;

pub(super) use handshake::{Speaks, Unproven, begins_with};
pub use in_force::PeerSecret;
pub(super) use records::Proven;

#[cfg(test)]
mod tests;
