//! `Maintenance.Snapshot`: the state of one moment as a file that etcd's tools read and restore.
//!
//! The file is made of a view, piece by piece beside the event loop, and sent as it is made. What
//! comes last are the 32 bytes of its SHA-256. Any member gives it, also without a quorum, as it
//! stands itself.
//!
//! 1. All pieces show one view.
//! 2. In memory are a few pieces, whatever the size of the state and the pace of the client.
//! 3. A view keeps what was deleted since on the disk. So there are few at a time, and a client
//!    that takes nothing for [`STALL`] loses its own.
//! 4. A stream that ends without an error is complete.

use super::cluster::join;
use crate::gateway::Gateway;
use crate::status::{fault, internal, text};
use bytes::Bytes;
use conclave_api::etcdserverpb::{ResponseHeader, SnapshotResponse};
use conclave_backup::{Facts, MakeError, Maker, Member, STORAGE_VERSION, Step};
use conclave_node::read_slots::ReadSlot;
use conclave_state::read;
use conclave_storage::StateView;
use futures::Stream;
use futures::stream::unfold;
use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::Status;

pub(super) type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

/// How long a client may take nothing.
const STALL: Duration = Duration::from_secs(60);

/// Bytes in one message.
const MESSAGE: usize = 64 << 10;

/// Messages that are made and not taken.
const AHEAD: usize = 8;

/// Begins a snapshot. It ends when the stream is dropped.
pub(super) fn open(gateway: Arc<Gateway>) -> SnapshotStream {
    let (messages, taken) = mpsc::channel(AHEAD);
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let stopping = gateway.node.stopping.clone();
        let result = tokio::select! {
            result = send(&gateway, &messages) => result,
            () = messages.closed() => return,
            () = stopping.cancelled() => Err(text::STOPPED.into()),
        };
        // The client may be gone.
        let _ = ended.send(result);
    });
    Box::pin(unfold((taken, Some(end)), |(mut taken, mut end)| async move {
        if let Some(message) = taken.recv().await {
            return Some((Ok(message), (taken, end)));
        }
        let result = end.take()?.await.unwrap_or_else(|_| Err(internal("the snapshot was not made to its end")));
        result.err().map(|status| (Err(status), (taken, None)))
    }))
}

async fn send(gateway: &Gateway, messages: &mpsc::Sender<SnapshotResponse>) -> Result<(), Status> {
    let (mut making, _place) = Making::begin(gateway).await?;
    loop {
        let step;
        let of = making;
        (making, step) = gateway.node.reader.long(move || of.step()).await.map_err(internal)?;
        let (piece, last) = match step.map_err(failed)? {
            Step::Working => continue,
            Step::Bytes(bytes) => (Bytes::from(bytes), false),
            Step::Hash(hash) => (Bytes::copy_from_slice(&hash), true),
        };
        send_piece(gateway, messages, &mut making, piece, last).await?;
        if last {
            gateway.metrics.snapshots.inc();
            return Ok(());
        }
    }
}

async fn send_piece(
    gateway: &Gateway,
    messages: &mpsc::Sender<SnapshotResponse>,
    making: &mut Making,
    mut piece: Bytes,
    last: bool,
) -> Result<(), Status> {
    // After the file comes its hash, which is not counted.
    let behind = making.maker.remaining().unwrap_or(0);
    while !piece.is_empty() {
        let blob = piece.split_to(piece.len().min(MESSAGE));
        let size = blob.len() as u64;
        let remaining_bytes = if last { 0 } else { behind + piece.len() as u64 };
        let (header, version) = (making.header.take(), STORAGE_VERSION.to_owned());
        let message = SnapshotResponse { header, remaining_bytes, blob, version };
        match timeout(STALL, messages.send(message)).await {
            Ok(Ok(())) => gateway.metrics.snapshot_bytes.inc_by(size),
            // Nobody takes it, or not any more; who went away is told nothing.
            Ok(Err(_)) | Err(_) => return Err(text::SNAPSHOT_STALLED.into()),
        };
    }
    Ok(())
}

/// A snapshot that is being made, with its moment.
pub struct Making {
    maker: Maker,
    view: StateView,
    /// Of the first message.
    header: Option<ResponseHeader>,
}

impl Making {
    /// Of the state as it is now, once there is a place for it among the snapshots that are being
    /// made.
    ///
    /// # Errors
    /// The state cannot be read, or there is no room for a temporary file.
    pub async fn begin(gateway: &Gateway) -> Result<(Making, ReadSlot), Status> {
        let place = gateway.snapshots.slot().await;
        let state = gateway.node.state.clone();
        let spill =
            gateway.node.reader.long(move || state.scratch_file()).await.map_err(internal)?.map_err(internal)?;
        Ok((begin(gateway, spill)?, place))
    }

    /// The revision that it shows.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.view.bounds().current
    }

    /// Takes the next step. To be called where blocking is allowed.
    pub fn step(mut self) -> (Making, Result<Step, MakeError>) {
        let step = self.maker.step(&self.view);
        (self, step)
    }
}

fn begin(gateway: &Gateway, spill: File) -> Result<Making, Status> {
    let view = gateway.node.state.view();
    let announced = read::members(&view).map_err(fault)?;
    let members = join(gateway.node.leadership.members(), &announced).into_iter().map(|member| Member {
        id: member.id,
        peer_urls: member.peer_ur_ls,
        name: member.name,
        client_urls: member.client_ur_ls,
        is_learner: member.is_learner,
    });
    let facts = Facts { index: view.applied_index(), term: view.applied_term(), members: members.collect() };
    let header = Some(gateway.header(view.bounds().current));
    Ok(Making { maker: Maker::new(facts, spill), view, header })
}

fn failed(e: MakeError) -> Status {
    match e {
        MakeError::Fault(e) => fault(e),
        e => internal(format!("the snapshot cannot be made: {e}")),
    }
}
