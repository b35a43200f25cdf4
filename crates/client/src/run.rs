//! Work that is done only while something is held.

use crate::{Held, LostReason, Session, Token, Validity};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::fmt;

/// How [`run_as_leader`] ended.
///
/// # Examples
/// ```no_run
/// # async fn example(leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Ran, run_as_leader};
///
/// match run_as_leader(leadership, async |leading| leading.fence()).await {
///     Ran::Finished(fence) => println!("done under fence {fence}"),
///     Ran::HandedOver(fence) => println!("ended under fence {fence} because another is to lead"),
///     Ran::Stopped(Some(reason)) => println!("stopped, lost: {reason}"),
///     Ran::Stopped(None) => println!("stopped in time, before it could be lost"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ran<T> {
    /// The work ended by itself.
    Finished(T),
    /// The work ended after somebody had asked for a hand-over, and the one who is to follow leads.
    /// If that one is gone, the first in line does.
    HandedOver(T),
    /// The work was stopped, because what it needed was lost or about to be. `None`: it ran out of
    /// time before it was known to be lost.
    Stopped(Option<LostReason>),
}

/// What the work under [`run_as_leader`] knows of its tenure.
///
/// # Examples
/// ```no_run
/// # async fn next_part() {}
/// use conclave_client::Leading;
///
/// async fn work(leading: Leading) {
///     let mut stopping = leading.stopping();
///     loop {
///         println!("with fence {}, {:?} left", leading.fence(), leading.validity().remaining());
///         tokio::select! {
///             () = &mut stopping => return, // in good order, before it is dropped
///             () = next_part() => {}
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Leading {
    session: Option<Session>,
    token: Token,
    validity: Validity,
    asked: Shared<BoxFuture<'static, String>>,
}

/// All of it as in the [example](Leading#examples).
impl Leading {
    /// A number greater than that of every earlier leader; see [`Held::fence`].
    #[must_use]
    pub fn fence(&self) -> i64 {
        self.token.fence
    }

    /// The proof of the tenure; see [`Client::guarded`](crate::Client::guarded).
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The session that holds it; `None` under a claim.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How long it still lasts.
    #[must_use]
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    /// Ends when it is time to come to an end in good order: the tenure is
    /// [in jeopardy](Validity::in_jeopardy), or somebody
    /// [asks for a hand-over](Leading::asked_to_transfer).
    ///
    /// In jeopardy, the work is dropped when half of what is left then has passed, unless a
    /// keep-alive, or a claim's extension, is answered before. Asked for a hand-over, the work may
    /// take its time; the operator may have set a deadline.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn stopping(&self) -> BoxFuture<'static, ()> {
        let (jeopardy, asked) = (self.validity.in_jeopardy(), self.asked.clone());
        Box::pin(async move {
            tokio::select! {
                () = jeopardy => {}
                _ = asked => {}
            }
        })
    }

    /// Ends when somebody asks for a hand-over, with the name of the one who is to follow. When the
    /// work ends after that, that one leads. Never ends for what cannot be handed over: only a
    /// [queue leadership](crate::QueueLeadership) can.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn asked_to_transfer(&self) -> BoxFuture<'static, String> {
        self.asked.clone().boxed()
    }
}

impl fmt::Debug for Leading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leading").field("token", &self.token).field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Does `work` while `guard` is held, and gives the guard back when the work has ended: never the
/// other way round.
///
/// If no keep-alive of the session is answered, the work is told by [`Leading::stopping`] after two
/// thirds of the TTL, and dropped after five sixths of it, while nobody else can be leader yet;
/// under a claim the same, by its extensions and its duration. It is dropped at once if the tenure
/// is lost for another reason. Only then is the guard given back; if the cluster does not confirm
/// that, it is tried further in the background.
///
/// A planned hand-over (`conclavectl election transfer`,
/// [`QueueElection::request_transfer`](crate::QueueElection::request_transfer)) is told by
/// [`Leading::stopping`] as well. When the work then ends, the one who was named leads, and this
/// candidate has left the election; a loop as below enters it again.
///
/// A future is dropped where it awaits. Work that blocks a thread, or runs in a task of its own, is
/// not stopped by that: it has to follow [`Leading::stopping`].
///
/// # Cancel safety
/// A dropped future drops the work first, then the guard, which is given back in the background.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::{QueueElection, Ran, run_as_leader};
///
/// let candidate = QueueElection::new(&client, "printing").candidate(&session, "host-7").takeover();
/// loop {
///     let leadership = candidate.campaign().await?;
///     let ran = run_as_leader(leadership, async |leading| {
///         println!("leading with fence {}", leading.fence());
///         leading.stopping().await;
///     });
///     match ran.await {
///         Ran::Finished(()) => break,
///         Ran::HandedOver(()) => println!("another leads, as was asked for"),
///         Ran::Stopped(reason) => println!("stopped: {reason:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub async fn run_as_leader<G: Held, T>(mut guard: G, work: impl AsyncFnOnce(Leading) -> T) -> Ran<T> {
    let (lost, running_out) = (guard.lost(), guard.validity().running_out());
    let asked = guard.asked_to_transfer().shared();
    let (session, token, validity) = (guard.session().cloned(), guard.token(), guard.validity());
    let leading = Leading { session, token, validity, asked: asked.clone() };
    let ran = tokio::select! {
        biased;
        reason = lost => Ran::Stopped(Some(reason)),
        () = running_out => Ran::Stopped(None),
        // Asked now, or earlier and the work has seen it, even if the request has lapsed since.
        value = work(leading) => match asked.now_or_never() {
            Some(_) => Ran::HandedOver(value),
            None => Ran::Finished(value),
        },
    };
    if let Err(error) = guard.hand_over().await {
        tracing::debug!(%error, "giving back goes on in the background");
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, GuardedTxn, session::tests::session};
    use std::sync::{Arc, Mutex};
    use tokio::sync::watch;

    /// Notes how it is given back.
    struct Fake {
        session: Session,
        asked: watch::Receiver<Option<String>>,
        given: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Held for Fake {
        fn fence(&self) -> i64 {
            7
        }

        fn token(&self) -> Token {
            Token::new(7, Vec::new())
        }

        fn session(&self) -> Option<&Session> {
            Some(&self.session)
        }

        fn validity(&self) -> Validity {
            (&self.session).into()
        }

        fn why_lost(&self) -> Option<LostReason> {
            None
        }

        fn lost(&self) -> BoxFuture<'static, LostReason> {
            self.session.lost()
        }

        fn txn(&self) -> GuardedTxn {
            self.session.client().guarded(self.token())
        }

        fn release(&mut self) -> BoxFuture<'_, Result<(), Error>> {
            self.given.lock().expect("no panic").push("released");
            Box::pin(async { Ok(()) })
        }

        fn asked_to_transfer(&self) -> BoxFuture<'static, String> {
            let mut asked = self.asked.clone();
            Box::pin(async move {
                let to = asked.wait_for(Option::is_some).await.ok().and_then(|to| to.clone());
                to.unwrap_or_default()
            })
        }

        fn hand_over(&mut self) -> BoxFuture<'_, Result<(), Error>> {
            if self.asked.borrow().is_none() {
                return self.release();
            }
            self.given.lock().expect("no panic").push("handed over");
            Box::pin(async { Ok(()) })
        }
    }

    type Given = Arc<Mutex<Vec<&'static str>>>;

    fn fake() -> (Fake, watch::Sender<Option<String>>, Given) {
        let (ask, asked) = watch::channel(None);
        let given = Arc::default();
        (Fake { session: session().0, asked, given: Arc::clone(&given) }, ask, given)
    }

    #[tokio::test]
    async fn work_is_told_of_a_hand_over_and_the_guard_is_handed_over_after_it() {
        let (fake, ask, given) = fake();
        let seen = Arc::clone(&given);
        let ran = run_as_leader(fake, async |leading: Leading| {
            assert!(leading.stopping().now_or_never().is_none());
            ask.send_replace(Some("r3".into()));
            leading.stopping().await;
            assert!(seen.lock().expect("no panic").is_empty(), "not before the work has ended");
            leading.asked_to_transfer().await
        });
        assert_eq!(ran.await, Ran::HandedOver("r3".to_owned()));
        assert_eq!(*given.lock().expect("no panic"), ["handed over"]);
    }

    #[tokio::test]
    async fn a_request_that_lapsed_still_sends_the_work_back_into_the_line() {
        let (guard, ask, given) = fake();
        let ran = run_as_leader(guard, async |leading: Leading| {
            ask.send_replace(Some("r3".into()));
            leading.stopping().await;
            ask.send_replace(None);
        });
        assert_eq!(ran.await, Ran::HandedOver(()));
        assert_eq!(*given.lock().expect("no panic"), ["released"]);
        let (guard, ask, given) = fake();
        let ran = run_as_leader(guard, async |_| {
            ask.send_replace(Some("r3".into()));
            ask.send_replace(None);
        });
        assert_eq!(ran.await, Ran::Finished(()), "the work did not see it");
        assert_eq!(*given.lock().expect("no panic"), ["released"]);
    }
}
