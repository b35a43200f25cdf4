//! Work that is done only while something is held.

use crate::{Held, LostReason, Session, Token, Validity};
use futures::future::BoxFuture;

/// How [`run_as_leader`] ended.
///
/// # Examples
/// ```no_run
/// # async fn example(leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Ran, run_as_leader};
///
/// match run_as_leader(leadership, async |leading| leading.fence()).await {
///     Ran::Finished(fence) => println!("done under fence {fence}"),
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
    /// The work was stopped, because what it needed was lost or about to be. `None`: it ran out of time before it was known to be lost.
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
#[derive(Clone, Debug)]
pub struct Leading {
    session: Option<Session>,
    token: Token,
    validity: Validity,
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

    /// Ends when the tenure is [in jeopardy](Validity::in_jeopardy): time to come to an end in good order. The work is dropped when half of
    /// what is left then has passed, unless a keep-alive, or a claim's extension, is answered before.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn stopping(&self) -> BoxFuture<'static, ()> {
        self.validity.in_jeopardy()
    }
}

/// Does `work` while `guard` is held, and gives the guard back when the work has ended: never the other way round.
///
/// If no keep-alive of the session is answered, the work is told by [`Leading::stopping`] after two thirds of the TTL, and dropped after
/// five sixths of it, while nobody else can be leader yet; under a claim the same, by its extensions and its duration. It is dropped at
/// once if the tenure is lost for another reason. Only then is the guard given back; if the cluster does not confirm that, it is tried
/// further in the background.
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
    let (lost, running_out) = (guard.lost(), guard.validity().running_out());
    let leading = Leading { session: guard.session().cloned(), token: guard.token(), validity: guard.validity() };
    let ran = tokio::select! {
        biased;
        reason = lost => Ran::Stopped(Some(reason)),
        () = running_out => Ran::Stopped(None),
        value = work(leading) => Ran::Finished(value),
    };
    if let Err(error) = guard.release().await {
        tracing::debug!(%error, "giving back goes on in the background");
    }
    ran
}
