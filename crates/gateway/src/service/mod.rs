//! The gRPC services: one file each, and no decisions about state.
//!
//! Each call is: admit (the client's demands on this node), convert (which validates), propose or
//! read, convert back. What goes wrong becomes a `tonic::Status` in `crate::status` only.

pub mod conclave;
pub mod etcd;
pub mod quota;

use crate::charge;
use crate::gateway::Gateway;
use crate::status::{internal, rejected, text};
use conclave_state::{Outcome, Response};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

/// A client that sets `hasleader` would rather fail at once than wait on a node that is cut off.
pub(crate) fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value == "true")
}

pub(crate) fn require_leader(gateway: &Gateway, metadata: &MetadataMap) -> Result<(), Status> {
    match requires_leader(metadata) && !gateway.node.leadership.is_led() {
        true => Err(text::NO_LEADER.into()),
        false => Ok(()),
    }
}

/// What every unary call begins with.
pub(crate) fn admit<T: Message>(gateway: &Gateway, request: Request<T>) -> Result<T, Status> {
    require_leader(gateway, request.metadata())?;
    let message = request.into_inner();
    charge::bytes(|| message.encoded_len())?;
    Ok(message)
}

/// An outcome's response, or its rejection in the words of the wire.
pub(crate) fn response(outcome: Outcome) -> Result<Response, Status> {
    outcome.result.map_err(rejected)
}

/// The state machine answered a command with the response of another.
#[cold]
pub(crate) fn unexpected(response: &Response) -> Status {
    internal(format_args!("unexpected response {response:?}"))
}

/// Answers until they end, or until the node does.
pub(crate) fn until_stopped<T: Send + 'static>(
    gateway: &Gateway,
    answers: BoxStream<'static, Result<T, Status>>,
) -> BoxStream<'static, Result<T, Status>> {
    let live = Some((gateway.node.stopping.clone(), answers));
    let answers = stream::unfold(live, |live| async {
        let (stopping, mut answers) = live?;
        tokio::select! {
            answer = answers.next() => Some((answer?, Some((stopping, answers)))),
            // An end without an error would look as if the client had wanted it.
            () = stopping.cancelled() => Some((Err(text::STOPPED.status()), None)),
        }
    });
    answers.boxed()
}
