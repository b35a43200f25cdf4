//! Hands work from the consensus thread to the runtime that serves clients, in order.
//!
//! Consensus has a thread of its own, so that no work for clients can delay a heartbeat
//! (docs/decisions/0024). To wake a task of another thread costs a system call. So what many
//! clients wait for (the answers and events of an applied batch, the reads of a round) crosses the
//! threads as one job, which then wakes each client on its own thread.
//!
//! 1. Jobs run one at a time, in the order in which they were handed over.
//! 2. Before [`Handover::start`], and after its runtime has ended, a job runs where it is handed
//!    over.

use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Handover(Arc<OnceLock<mpsc::UnboundedSender<Job>>>);

impl Handover {
    /// Runs the jobs on this runtime from now on. Has no effect the second time.
    pub fn start(&self, runtime: &Handle) {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        if self.0.set(jobs).is_ok() {
            runtime.spawn(async move {
                while let Some(job) = queue.recv().await {
                    job();
                }
            });
        }
    }

    /// Runs a job, which must not block.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        match self.0.get() {
            None => job(),
            Some(jobs) => {
                if let Err(mpsc::error::SendError(job)) = jobs.send(Box::new(job)) {
                    job();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn jobs_run_in_order_on_the_runtime_that_was_given() {
        let (handover, done) = (Handover::default(), Arc::new(Mutex::new(Vec::new())));
        let hand = |number| {
            let done = done.clone();
            handover.run(move || done.lock().push((number, std::thread::current().id())));
        };
        hand(0);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        handover.start(runtime.handle());
        (1..100).for_each(hand);
        while done.lock().len() < 100 {
            std::thread::yield_now();
        }
        let done = done.lock();
        assert!(done.iter().map(|(number, _)| *number).eq(0..100));
        let here = std::thread::current().id();
        assert!(done[0].1 == here && done[1..].iter().all(|(_, thread)| *thread != here));
    }

    #[test]
    fn jobs_run_here_once_the_runtime_has_ended() {
        let handover = Handover::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        handover.start(runtime.handle());
        drop(runtime);
        let ran = Arc::new(Mutex::new(false));
        let run = ran.clone();
        handover.run(move || *run.lock() = true);
        assert!(*ran.lock());
    }
}
