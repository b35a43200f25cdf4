//! Large responses: made beside the event loop, and only so many bytes of them in memory at a time.
//!
//! What is small is converted and encoded where it was found. To do that with a large answer would
//! hold up everybody whom this member serves, so it is converted and measured on the blocking pool,
//! encoded in pieces as the client takes them (`serve::reply`), and dropped on the pool if the
//! client goes away.
//!
//! 1. The large responses in memory have at most [`BUDGET`] bytes together, or there is one alone.
//!    Others wait in order.
//! 2. A range that may be large is read only when it has one of a few places, which it keeps until
//!    its response has its share of the budget. So those who wait for their share are few as well.
//! 3. Nothing small waits here.

use crate::status::{internal, sent_too_large};
use conclave_node::read_slots::{ReadSlot, ReadSlots};
use prost::Message;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Response, Status};

/// Of all large responses that are in memory.
const BUDGET: usize = 128 << 20;

/// A response with fewer bytes is not large.
pub(crate) const LARGE: usize = 1 << 20;

/// The largest message that gRPC libraries take.
pub(crate) const MOST: usize = i32::MAX as usize;

/// Ranges that are read, or have been read and wait for their share.
const PLACES: usize = 2;

/// What a permit of the budget stands for.
const UNIT: usize = 1 << 10;

pub(crate) struct Outflow {
    places: ReadSlots,
    conversions: ReadSlots,
    budget: Arc<Semaphore>,
    units: u32,
}

/// A response's share of the budget, given back when the last clone goes.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Of the response as a message.
    pub(crate) size: usize,
    _permit: Arc<OwnedSemaphorePermit>,
}

/// A response, and the size that it has as a message.
pub(crate) struct Measured<U: Send + 'static> {
    message: Beside<U>,
    size: usize,
}

impl<U: Message + 'static> Measured<U> {
    /// Looks at all of it.
    pub(crate) fn new(message: U) -> Measured<U> {
        Measured { size: message.encoded_len(), message: Beside::new(message) }
    }
}

impl Outflow {
    pub(crate) fn new() -> Outflow {
        Outflow::with_budget(BUDGET)
    }

    pub(crate) fn with_budget(bytes: usize) -> Outflow {
        let units = bytes / UNIT;
        Outflow {
            places: ReadSlots::new(PLACES),
            conversions: ReadSlots::of_processors(),
            budget: Arc::new(Semaphore::new(units)),
            units: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// Waits for the place that a read needs whose response may be large.
    pub(crate) async fn place(&self) -> ReadSlot {
        self.places.slot().await
    }

    /// Makes a large response of something that is in memory already.
    pub(crate) async fn make<U: Message + 'static>(
        &self,
        convert: impl FnOnce() -> U + Send + 'static,
    ) -> Result<Response<U>, Status> {
        let made = self.conversions.read(move || Measured::new(convert())).await.map_err(internal)?;
        self.admit(made).await
    }

    /// Waits until a response may be sent. A large one carries its [`Share`] among its extensions.
    pub(crate) async fn admit<U: Message + 'static>(&self, made: Measured<U>) -> Result<Response<U>, Status> {
        let Measured { message, size } = made;
        if size < LARGE {
            return Ok(Response::new(message.take()));
        }
        if size > MOST {
            return Err(sent_too_large(size, MOST));
        }
        // One that is larger than the whole budget has it alone.
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let permit = self.budget.clone().acquire_many_owned(units).await.map_err(internal)?;
        let mut response = Response::new(message.take());
        response.extensions_mut().insert(Share { size, _permit: Arc::new(permit) });
        Ok(response)
    }
}

/// Something that takes long to drop: that happens on the blocking pool.
pub(crate) struct Beside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Beside<T> {
    pub(crate) fn new(value: T) -> Beside<T> {
        Beside(Some(value))
    }

    pub(crate) fn take(mut self) -> T {
        self.0.take().expect("only this takes it, and consumes it")
    }

    pub(crate) fn get(&mut self) -> &mut T {
        self.0.as_mut().expect("only `take` takes it, and consumes it")
    }
}

impl<T: Send + 'static> Drop for Beside<T> {
    fn drop(&mut self) {
        // Without a runtime nobody is held up.
        if let Some(value) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_api::etcdserverpb::RangeResponse;
    use conclave_api::mvccpb::KeyValue;
    use futures::FutureExt;
    use std::thread::{self, ThreadId};

    fn response(bytes: usize) -> Measured<RangeResponse> {
        let kv = KeyValue { value: vec![7; bytes].into(), ..Default::default() };
        Measured::new(RangeResponse { kvs: vec![kv], ..Default::default() })
    }

    #[tokio::test]
    async fn large_responses_wait_in_order_for_their_share() {
        let outflow = Outflow::with_budget(8 << 20);
        let first = outflow.admit(response(5 << 20)).now_or_never().expect("there is room").expect("not refused");
        let mut second = Box::pin(outflow.admit(response(4 << 20)));
        assert!((&mut second).now_or_never().is_none(), "together they are too much");
        let mut third = Box::pin(outflow.admit(response(2 << 20)));
        assert!((&mut third).now_or_never().is_none(), "nobody is overtaken");
        assert!(outflow.admit(response(LARGE / 2)).now_or_never().is_some(), "small ones do not wait");
        drop(first);
        let second = second.now_or_never().expect("there is room").expect("not refused");
        assert!(third.now_or_never().is_some());
        drop(second);
    }

    #[tokio::test]
    async fn one_that_is_larger_than_the_budget_goes_alone() {
        let outflow = Outflow::with_budget(4 << 20);
        let small = outflow.admit(response(2 << 20)).now_or_never().expect("there is room").expect("not refused");
        let mut huge = Box::pin(outflow.admit(response(9 << 20)));
        assert!((&mut huge).now_or_never().is_none());
        drop(small);
        let huge = huge.now_or_never().expect("it is alone").expect("not refused");
        assert!(outflow.admit(response(2 << 20)).now_or_never().is_none());
        drop(huge);
        assert!(outflow.admit(response(2 << 20)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_no_message_can_hold_is_refused() {
        let outflow = Outflow::with_budget(4 << 20);
        let beyond = Measured { size: MOST + 1, ..response(1) };
        let status = outflow.admit(beyond).await.expect_err("too large");
        let text = "grpc: trying to send message larger than max (2147483648 vs. 2147483647)";
        assert_eq!((status.code(), status.message()), (tonic::Code::ResourceExhausted, text));
    }

    #[tokio::test]
    async fn few_have_a_place() {
        let outflow = Outflow::new();
        let places = [outflow.place().await, outflow.place().await];
        assert!(outflow.place().now_or_never().is_none());
        drop(places);
        assert!(outflow.place().now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_large_is_made_and_dropped_on_another_thread() {
        struct Dropped(std::sync::mpsc::Sender<ThreadId>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(thread::current().id());
            }
        }
        let (tx, dropped) = std::sync::mpsc::channel();
        let here = thread::current().id();
        let outflow = Outflow::new();
        let made = outflow.make(move || RangeResponse { more: thread::current().id() != here, ..Default::default() });
        assert!(made.await.expect("not refused").into_inner().more);
        drop(Beside::new(Dropped(tx)));
        assert_ne!(dropped.recv().expect("it is dropped"), here);
    }
}
