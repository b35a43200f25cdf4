//! Why what a peer sent is refused.

use super::transport::PeerError;
use thiserror::Error;

/// The broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(super) &'static str);

impl From<Refusal> for PeerError {
    fn from(refusal: Refusal) -> PeerError {
        PeerError::Refused(refusal.0.to_owned())
    }
}
