//! A log for tests, whose answers can be lost or held up; and the one property of all pending
//! calls: whenever a call is cancelled, and whatever became of its commands, it leaves nothing
//! behind.

use super::*;
use conclave_state::Outcome;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// What happens to the next proposal.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// Decided, but the caller does not learn it.
    AnswerLost,
    /// Never decided, but the caller does not learn it.
    Lost,
    /// Surely without effect.
    NoLeader,
    /// Decided and answered only when notified.
    Held(Arc<Notify>),
    /// Answered at once with an unknown outcome, and decided when notified.
    Late(Arc<Notify>),
    /// Answered at once with an unknown outcome, and decided right before the next command that is:
    /// what the proposer promises of all that it sent.
    Undecided,
}

/// A log that decides each command at once, except as its fates say.
#[derive(Clone)]
pub(crate) struct TestLog {
    decide: Arc<dyn Fn(&Command) -> Outcome + Send + Sync>,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    undecided: Arc<Mutex<Vec<Command>>>,
    proposals: Arc<Mutex<usize>>,
}

impl TestLog {
    pub(crate) fn new(decide: impl Fn(&Command) -> Outcome + Send + Sync + 'static) -> TestLog {
        TestLog {
            decide: Arc::new(decide),
            fates: Arc::default(),
            undecided: Arc::default(),
            proposals: Arc::default(),
        }
    }

    /// The same log as another member sees it, with fates of its own.
    pub(crate) fn elsewhere(&self) -> TestLog {
        TestLog { fates: Arc::default(), ..self.clone() }
    }

    pub(crate) fn fate(&self, fate: Fate) {
        self.fates.lock().push_back(fate);
    }

    pub(crate) fn fates_left(&self) -> usize {
        self.fates.lock().len()
    }

    pub(crate) fn forget_fates(&self) {
        self.fates.lock().clear();
    }

    pub(crate) fn proposals(&self) -> usize {
        *self.proposals.lock()
    }

    fn applied(&self, command: &Command) -> Applied {
        let before = std::mem::take(&mut *self.undecided.lock());
        before.iter().for_each(|command| drop((self.decide)(command)));
        Applied { outcome: (self.decide)(command), index: 1, term: 1 }
    }
}

#[async_trait]
impl Log for TestLog {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        *self.proposals.lock() += 1;
        let fate = self.fates.lock().pop_front();
        tokio::task::yield_now().await;
        match fate {
            None => Ok(self.applied(&command)),
            Some(Fate::AnswerLost) => {
                self.applied(&command);
                Err(ProposeError::LeaderFailed)
            }
            Some(Fate::Lost) => Err(ProposeError::TimedOut),
            Some(Fate::NoLeader) => Err(ProposeError::NoLeader),
            Some(Fate::Held(until)) => {
                until.notified().await;
                Ok(self.applied(&command))
            }
            Some(Fate::Late(until)) => {
                let log = self.clone();
                tokio::spawn(async move {
                    until.notified().await;
                    log.applied(&command);
                });
                Err(ProposeError::LeaderFailed)
            }
            Some(Fate::Undecided) => {
                self.undecided.lock().push(command);
                Err(ProposeError::TimedOut)
            }
        }
    }
}

/// All fates of the first two proposals of a call; and a first proposal that is decided when all is
/// over.
pub(crate) fn courses() -> Vec<Vec<Fate>> {
    let kinds = || [None, Some(Fate::AnswerLost), Some(Fate::Lost), Some(Fate::NoLeader), Some(Fate::Undecided)];
    let mut courses = vec![vec![Fate::Held(Arc::new(Notify::new()))], vec![Fate::Late(Arc::new(Notify::new()))]];
    for first in kinds() {
        courses.extend(kinds().into_iter().map(|second| [first.clone(), second].into_iter().flatten().collect()));
    }
    courses
}

/// Polls a call `polls` times, with everything else that can run running in between; drops it, or
/// its result, and waits until all that it caused is over. Whether the call had ended by itself.
pub(crate) async fn cancel_after<F: Future>(polls: usize, course: &[Fate], call: F) -> bool {
    let mut call = Box::pin(call);
    let mut ended = false;
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = Pin::as_mut(&mut call).poll(&mut context) {
            drop(output);
            ended = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(call);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for fate in course {
        if let Fate::Held(until) | Fate::Late(until) = fate {
            until.notify_one();
        }
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    ended
}

/// More polls than any call needs to be granted.
pub(crate) const MOST_POLLS: usize = 40;
