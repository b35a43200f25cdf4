//! Work that is done only while something is held.

use crate::{Held, LostReason, Session, Token};
use futures::future::BoxFuture;

/// How [`run_as_leader`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ran<T> {
    /// The work ended by itself.
    Finished(T),
    /// The work was stopped, because what it needed was lost or about to be. `None`: it ran out of time before it was known to be lost.
    Stopped(Option<LostReason>),
}

/// What the work under [`run_as_leader`] knows of its tenure.
#[derive(Clone, Debug)]
pub struct Leading {
    session: Session,
    token: Token,
}

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

    /// The session that holds it.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends when the session is in jeopardy: time to come to an end in good order. The work is dropped when half of what is left then has
    /// passed, unless a keep-alive is answered before.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn stopping(&self) -> BoxFuture<'static, ()> {
        self.session.in_jeopardy()
    }
}

/// Does `work` while `guard` is held, and gives the guard back when the work has ended: never the other way round.
///
/// If the session gets no keep-alive answered, the work is told by [`Leading::stopping`] after two thirds of the TTL, and dropped after
/// five sixths of it, while nobody else can be leader yet. It is dropped at once if the tenure is lost for another reason. Only then is
/// the guard given back; if the cluster does not confirm that, it is tried further in the background.
///
/// A future is dropped where it awaits. Work that blocks a thread, or runs in a task of its own, is not stopped by that: it has to follow
/// [`Leading::stopping`].
///
/// # Cancel safety
/// A dropped future drops the work first, then the guard, which is given back in the background.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Election, Ran, run_as_leader};
///
/// let election = Election::new(&client, "printing");
/// loop {
///     let leadership = election.campaign(&session, "host-7").await?;
///     let ran = run_as_leader(leadership, async |leading| {
///         println!("leading with fence {}", leading.fence());
///         leading.stopping().await;
///     });
///     match ran.await {
///         Ran::Finished(()) => break,
///         Ran::Stopped(reason) => println!("stopped: {reason:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub async fn run_as_leader<G: Held, T>(mut guard: G, work: impl AsyncFnOnce(Leading) -> T) -> Ran<T> {
    let session = guard.session().clone();
    let lost = guard.lost();
    let leading = Leading { session: session.clone(), token: guard.token() };
    let ran = {
        let margin = session.ttl() / 6;
        tokio::select! {
            biased;
            reason = lost => Ran::Stopped(Some(reason)),
            () = session.running_out(margin) => Ran::Stopped(None),
            value = work(leading) => Ran::Finished(value),
        }
    };
    if let Err(error) = guard.release().await {
        tracing::debug!(%error, "giving back goes on in the background");
    }
    ran
}
