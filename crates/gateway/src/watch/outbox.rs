//! The queue of one stream's responses, between the code that makes them and the connection that
//! sends them.
//!
//! Bounded in bytes: over the bound nothing that can wait is queued. What refuses to be queued asks
//! for room; when the connection has sent most of what there was, the stream's task is called to go
//! on. Answers to requests have a bound of their own, so that they need not wait until events have
//! left room for them; the queue may be twice as long for that.

use bytes::Bytes;
use conclave_storage::failpoint::failpoint;
use futures::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tonic::Status;

/// One response, but for its header's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub watch_id: i64,
    /// The header's revision.
    pub revision: i64,
    pub note: Note,
    /// Encoded events, shared.
    pub data: Bytes,
}

/// What a response says beside its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing. Without events, that is progress.
    Events,
    /// More of this response follows.
    Fragment,
    Created,
    Canceled,
    /// Canceled: the history it needs is compacted up to here.
    Compacted(i64),
    /// Created and canceled at once, for this reason.
    Refused(&'static str),
    /// Canceled: the right to read was taken away.
    Revoked(&'static str),
}

/// What a queued frame costs beside its events.
const FRAME_BYTES: usize = 128;

/// A queue that was longer gives its memory back when it is empty.
const KEPT_FRAMES: usize = 64;

impl Frame {
    pub(crate) fn note(watch_id: i64, revision: i64, note: Note) -> Frame {
        Frame { watch_id, revision, note, data: Bytes::new() }
    }

    fn cost(&self) -> usize {
        FRAME_BYTES + self.data.len()
    }

    fn note_cost(&self) -> usize {
        if self.data.is_empty() { self.cost() } else { 0 }
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Frame>,
    bytes: usize,
    /// Those of frames without events.
    notes: usize,
    /// The connection, waiting for a frame.
    reader: Option<Waker>,
    /// Somebody found no room.
    asked: bool,
    /// The connection is gone.
    closed: bool,
    /// Sent after the queue; nothing can be queued any more.
    end: Option<Option<Status>>,
}

impl State {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.cost();
        self.notes += frame.note_cost();
        self.queue.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.queue.pop_front()?;
        self.bytes -= frame.cost();
        self.notes -= frame.note_cost();
        Some(frame)
    }
}

pub(crate) struct Outbox {
    state: Mutex<State>,
    limit: usize,
    /// Calls the stream's task: there is room again, a watcher fell behind, or the connection is
    /// gone.
    task: Notify,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Outbox { state: Mutex::default(), limit, task: Notify::new() })
    }

    pub(crate) fn call_task(&self) {
        self.task.notify_one();
    }

    pub(crate) async fn called(&self) {
        self.task.notified().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Queues frames together if there is room. `Err`: there is none, and the task will be called
    /// when there is.
    ///
    /// `Ok` holds the connection's waker if it waits: wake it when all of a batch is queued.
    pub(crate) fn offer(&self, frames: impl IntoIterator<Item = Frame>) -> Result<Option<Waker>, NoRoom> {
        let mut state = self.state.lock();
        if state.closed || state.end.is_some() || state.bytes >= self.limit {
            state.asked = true;
            return Err(NoRoom);
        }
        for frame in frames {
            state.push(frame);
        }
        Ok(state.reader.take())
    }

    /// Queues a frame whatever there is already, and wakes the connection. Callers bound how often
    /// they do this.
    pub(crate) fn push(&self, frame: Frame) {
        let reader = {
            let mut state = self.state.lock();
            if state.closed || state.end.is_some() {
                return;
            }
            state.push(frame);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Queues a frame if there is room, and wakes the connection.
    pub(crate) fn try_push(&self, frame: Frame) {
        if let Ok(Some(reader)) = self.offer([frame]) {
            reader.wake();
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is room for answers to requests. If not, the task will be called when there
    /// is.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        let room = state.notes < self.limit;
        state.asked |= !room;
        room
    }

    /// Whether little enough is queued to add history. If not, the task will be called when it is
    /// so.
    pub(crate) fn is_low(&self) -> bool {
        let mut state = self.state.lock();
        let low = state.bytes < self.low();
        state.asked |= !low;
        low
    }

    fn low(&self) -> usize {
        (self.limit / 4).max(1)
    }

    /// Ends the stream after what is queued. Only the first end counts.
    pub(crate) fn finish(&self, status: Status) {
        let reader = {
            let mut state = self.state.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(Some(status));
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Shows the next frames, about `limit` bytes of them, in one go.
    fn poll_frames(
        &self,
        context: &mut Context<'_>,
        limit: usize,
        mut show: impl FnMut(Frame),
    ) -> Poll<Option<Result<(), Status>>> {
        let mut state = self.state.lock();
        let mut taken = 0;
        while taken < limit
            && let Some(frame) = state.pop()
        {
            taken += frame.cost();
            if !frame.data.is_empty() {
                failpoint!("watch-before-send");
            }
            show(frame);
        }
        if taken > 0 {
            if state.asked && state.bytes < self.low() {
                state.asked = false;
                self.task.notify_one();
            }
            if state.queue.is_empty() && state.queue.capacity() > KEPT_FRAMES {
                state.queue = VecDeque::new();
            }
            return Poll::Ready(Some(Ok(())));
        }
        if let Some(end) = &mut state.end {
            return Poll::Ready(end.take().map(Err));
        }
        if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.reader = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue = VecDeque::new();
        state.reader = None;
        self.task.notify_one();
    }
}

#[derive(Debug)]
pub(crate) struct NoRoom;

/// The responses of one watch stream, for the connection to send. Dropping it ends the stream's
/// task and its watchers.
pub struct Responses(pub(crate) Arc<Outbox>);

impl Responses {
    /// Everything that is queued, up to about `limit` bytes: one lock and one wake-up for all of
    /// it. Ends as the stream does.
    pub fn poll_frames(
        &mut self,
        context: &mut Context<'_>,
        limit: usize,
        show: impl FnMut(Frame),
    ) -> Poll<Option<Result<(), Status>>> {
        self.0.poll_frames(context, limit, show)
    }
}

/// One by one.
impl Stream for Responses {
    type Item = Result<Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut next = None;
        let polled = self.0.poll_frames(context, 1, |frame| next = Some(frame));
        polled.map(|polled| polled.and_then(|taken| taken.map(|()| next).transpose()))
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.0.close();
    }
}
