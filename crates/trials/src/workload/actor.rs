//! One client: a connection, dice, and its lines in the history.
//!
//! 1. Its process number has one call under way; after an answer that is not certain it takes the
//!    next number of its worker.
//! 2. A history that cannot be written ends the worker: nothing may happen that is not written.

use super::{
    Spec,
    link::{Link, code, concerns_member, is_certain},
};
use crate::history::{Answer, Call, Entry, Event, Failure, Journal, Process, now};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Response, Status};

/// What all clients of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) spec: Spec,
    pub(crate) journal: Journal,
    pub(crate) processes: AtomicU64,
    pub(crate) values: AtomicU64,
    /// The newest revision that anybody was told of.
    pub(crate) newest: AtomicI64,
    pub(crate) stop: AtomicBool,
    pub(crate) stopped: tokio::sync::Notify,
}

pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) link: Link,
    pub(crate) dice: StdRng,
    process: u64,
}

/// How long calls that wait go on when the load has ended.
const AFTER_LOAD: Duration = Duration::from_millis(1500);

impl Actor {
    pub(crate) fn new(shared: &Arc<Shared>, link: &Link, number: u64) -> Self {
        let seed = shared.spec.seed ^ shared.spec.first.rotate_left(20) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut actor = Self {
            shared: Arc::clone(shared),
            link: link.clone(),
            dice: StdRng::seed_from_u64(seed),
            process: shared.processes.fetch_add(1, Ordering::Relaxed),
        };
        actor.link.turn(number as usize);
        actor
    }

    /// Another client beside this one, with a number of its own.
    pub(crate) fn sibling(&mut self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            link: self.link.clone(),
            dice: StdRng::seed_from_u64(self.dice.random()),
            process: self.shared.processes.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.shared.spec
    }

    /// Its process number: another one after each call of unknown outcome.
    pub(crate) fn number(&self) -> u64 {
        self.process
    }

    /// Whether the run goes on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.shared.stop.load(Ordering::Acquire)
    }

    /// Ends when the worker is to stop.
    pub(crate) async fn stopped(&self) {
        loop {
            let stopped = self.shared.stopped.notified();
            if !self.goes_on() {
                return;
            }
            stopped.await;
        }
    }

    /// Sleeps, but not beyond the end of the run.
    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stopped() => {}
        }
    }

    /// Keeps what it has for a while after it gave up waiting: its place in line is to go by
    /// itself, not with its lease.
    pub(crate) async fn linger(&mut self) {
        let time = self.millis(5000, 6500);
        self.sleep(time).await;
    }

    pub(crate) async fn pace(&mut self) {
        let pace = self.spec().pace_ms * 1000;
        let time = Duration::from_micros(self.dice.random_range(pace / 2..=pace * 3 / 2));
        self.sleep(time).await;
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }

    pub(crate) fn draw(&mut self, below: usize) -> usize {
        self.dice.random_range(0..below)
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.dice.random_range(from..=to))
    }

    /// A number that no other client of the run uses.
    pub(crate) fn unique(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn unique_text(&self) -> String {
        format!("v{}", self.unique())
    }

    /// Which of a series of names is in use now: they change every `seconds`.
    pub(crate) fn generation(&self, seconds: u64) -> u64 {
        now().saturating_sub(self.spec().began) / (seconds * 1_000_000_000)
    }

    pub(crate) fn newest(&self) -> i64 {
        self.shared.newest.load(Ordering::Relaxed)
    }

    pub(crate) fn has_seen(&self, revision: i64) {
        self.shared.newest.fetch_max(revision, Ordering::Relaxed);
    }

    /// One call, within the time that calls may take.
    ///
    /// Writes the call, sends it, and writes what came: `answer` makes of the response what a
    /// history says, or `None` if it is none.
    pub(crate) async fn call<T>(
        &mut self,
        call: Call,
        request: impl Future<Output = Result<Response<T>, Status>>,
        answer: impl FnOnce(&T) -> Option<Answer>,
    ) -> Result<T, Status> {
        let bound = Duration::from_millis(self.spec().timeout_ms);
        self.call_within(bound, call, request, answer).await
    }

    /// The same with another bound.
    pub(crate) async fn call_within<T>(
        &mut self,
        bound: Duration,
        call: Call,
        request: impl Future<Output = Result<Response<T>, Status>>,
        answer: impl FnOnce(&T) -> Option<Answer>,
    ) -> Result<T, Status> {
        let reads = is_read(&call);
        self.invoke(call);
        let late = || Err(Status::deadline_exceeded("no answer within the client's time"));
        let outcome = tokio::time::timeout(bound, request).await.unwrap_or_else(|_| late());
        let received = now();
        match outcome.map(Response::into_inner) {
            Ok(response) => {
                match answer(&response) {
                    Some(answer) => self.ok_at(received, answer),
                    None => self.failed("the answer says no"),
                }
                Ok(response)
            }
            Err(status) => {
                self.refused(&status, reads);
                Err(status)
            }
        }
    }

    /// The answer to a call that may wait for its turn, and when it came: as long as there is
    /// patience, and a little longer than the load. What becomes of the call otherwise is written
    /// here.
    pub(crate) async fn wait<T>(
        &mut self,
        patience: Duration,
        request: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<(T, u64)> {
        let end = async {
            self.stopped().await;
            tokio::time::sleep(AFTER_LOAD).await;
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(patience, request) => outcome.map_err(|_| "given up"),
            () = end => Err("given up at the end"),
        };
        let received = now();
        match outcome {
            Ok(Ok(response)) => return Some((response.into_inner(), received)),
            Ok(Err(status)) => self.refused(&status, false),
            Err(why) => self.unknown(why),
        }
        None
    }

    /// A request that is no part of the history: a read that only prepares another.
    pub(crate) async fn ask<T>(&mut self, request: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
        let bound = Duration::from_millis(self.spec().timeout_ms);
        let late = || Err(Status::deadline_exceeded("late"));
        match tokio::time::timeout(bound, request).await.unwrap_or_else(|_| late()) {
            Ok(response) => Some(response.into_inner()),
            Err(status) => {
                self.turn_away(&status);
                None
            }
        }
    }

    pub(crate) fn invoke(&self, call: Call) {
        self.write(now(), Entry::Invoke(call));
    }

    pub(crate) fn ok_at(&self, time: u64, answer: Answer) {
        self.write(time, Entry::Ok(answer));
    }

    pub(crate) fn event(&self, event: Event) {
        self.write(now(), Entry::Event(event));
    }

    pub(crate) fn failed(&self, why: &str) {
        self.write(now(), Entry::Fail(Failure { code: String::new(), error: why.to_owned() }));
    }

    /// Nobody knows what became of the call.
    pub(crate) fn unknown(&mut self, why: &str) {
        self.write(now(), Entry::Info(Failure { code: "timeout".into(), error: why.to_owned() }));
        self.process = self.shared.processes.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a refusal; one of a read is always certain, since it did nothing.
    pub(crate) fn refused(&mut self, status: &Status, reads: bool) {
        let failure = Failure { code: code(status), error: status.message().to_owned() };
        if reads || is_certain(status) {
            self.write(now(), Entry::Fail(failure));
        } else {
            self.write(now(), Entry::Info(failure));
            self.process = self.shared.processes.fetch_add(1, Ordering::Relaxed);
        }
        self.turn_away(status);
    }

    fn turn_away(&mut self, status: &Status) {
        if concerns_member(status) {
            self.link.next();
        }
    }

    fn write(&self, time: u64, entry: Entry) {
        let written = self.shared.journal.write_at(time, &Process::Client(self.process), Some(self.link.node()), entry);
        if written.is_err() {
            std::process::exit(3);
        }
    }
}

fn is_read(call: &Call) -> bool {
    use crate::history::{ClaimCall, ElectionCall, KvCall, LeaseCall, QueueOp, SetCall};
    match call {
        Call::Kv(KvCall::Get { .. } | KvCall::Range { .. })
        | Call::Set(SetCall::Read { .. })
        | Call::Lease(LeaseCall::TimeToLive { .. })
        | Call::Election(ElectionCall::Leader { .. } | ElectionCall::Observe { .. })
        | Call::Claim(ClaimCall::Check { .. } | ClaimCall::AwaitVacant { .. } | ClaimCall::Watch { .. })
        | Call::Watch(_) => true,
        Call::Queue(call) => matches!(call.what, QueueOp::Term | QueueOp::Watch { .. }),
        _ => false,
    }
}
