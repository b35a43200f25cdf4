//! A command that runs while something is held, and not longer.
//!
//! 1. The command starts only while it is held, and learns the fence in its environment.
//! 2. It has ended, at the latest by SIGKILL, before the session's deadline; so before anybody else can be granted what it relied on.
//!    Where the tenure ends sooner (somebody deleted its key), that cannot be foreseen: it is stopped as soon as it is known.
//! 3. A signal to conclavectl stops the command first; what is held is given back after it has ended.
//! 5. Whatever ends the work, a failure of standard output and a panic included, what is held is given back before the process ends.
//! 4. The command does not outlive conclavectl: if that is killed, the kernel kills the command (Linux).

mod child;
mod find;
mod holding;
mod schedule;
pub(crate) mod signals;

pub(crate) use {
    child::shim,
    find::find,
    holding::{Holding, Tenure},
    schedule::Schedule,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use child::Child;
use conclave_client::{LostReason, Session};
use futures::FutureExt as _;
use schedule::Phase;
use signals::Signals;
use std::{
    ffi::OsString,
    panic::{AssertUnwindSafe, resume_unwind},
    process::ExitStatus,
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) command: Vec<OsString>,
    /// Told to the command beside what every command is told.
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) schedule: Schedule,
}

/// Ends with whom to hand over to, when somebody asks for that.
pub(crate) type HandOver<'a> = futures::future::LocalBoxFuture<'a, String>;

/// Nobody asks.
pub(crate) fn never<'a>() -> HandOver<'a> {
    Box::pin(std::future::pending())
}

/// Why the work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A signal asked conclavectl to end.
    Signal,
    /// Somebody asked for a hand-over.
    HandOver,
    /// It is held no longer, or may soon be held no longer.
    Lost,
}

/// How the work under something held came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// `None`: it ended by itself.
    pub(crate) stopped: Option<Stopped>,
    /// A signal came, whatever else stopped it.
    pub(crate) signalled: bool,
}

/// Runs the command, to its end or to the end of the tenure; the exit code is the command's, or says that it was stopped.
///
/// # Errors
/// It cannot be started.
pub(crate) async fn run(
    held: &dyn Holding,
    what: &str,
    job: &Job,
    signals: &mut Signals,
    mut hand_over: HandOver<'_>,
) -> Result<Ended> {
    let mut environment = vec![
        ("CONCLAVE_FENCE".to_owned(), held.fence().to_string().into()),
        ("CONCLAVE_LEASE".to_owned(), output::human::lease(held.session().lease()).into()),
    ];
    environment.extend(job.environment.iter().cloned());
    let mut child = Child::start(&job.command, &environment)?;
    let mut lost = held.lost();
    let (mut stopped, mut signalled) = (None, false);
    let mut kill_at: Option<Instant> = None;
    let mut known_lost = false;
    let mut jeopardy = Instant::now();
    loop {
        let wake = kill_at.unwrap_or(jeopardy);
        tokio::select! {
            biased;
            status = child.wait() => return Ok(Ended { exit: conclusion(status?, stopped), stopped, signalled }),
            reason = &mut lost, if !known_lost => {
                known_lost = true;
                stopped = Some(Stopped::Lost);
                output::note(&format!("lost {what}: {}; stopping the command", words(reason)));
                child.terminate();
                kill_at = Some(Instant::now() + job.schedule.grace_after_loss(held.session().remaining()));
            }
            to = &mut hand_over, if stopped.is_none() => {
                stopped = Some(Stopped::HandOver);
                output::note(&format!("asked to hand over {what} to {to}; stopping the command first"));
                child.terminate();
            }
            signal = signals.next() => {
                match stopped {
                    None => child.pass_on(signal),
                    Some(_) => child.kill(),
                }
                stopped = stopped.or(Some(Stopped::Signal));
                signalled = true;
            }
            () = sleep_until(wake) => {
                if kill_at.take().is_some() {
                    child.kill();
                    // Nothing is left to be done but to wait for it.
                    kill_at = Some(Instant::now() + Duration::from_secs(3600));
                    continue;
                }
                match job.schedule.phase(held.session().remaining()) {
                    Phase::Safe(look_again) => jeopardy = Instant::now() + look_again,
                    Phase::Stop(grace) => {
                        stopped = Some(Stopped::Lost);
                        output::note(&format!("no member confirms that {what} is still held; stopping the command before the session ends"));
                        child.terminate();
                        kill_at = Some(Instant::now() + grace);
                    }
                }
            }
        }
    }
}

fn conclusion(status: ExitStatus, stopped: Option<Stopped>) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (stopped, status.code(), status.signal()) {
        (Some(Stopped::Lost), _, _) => Exit::CommandLost,
        (_, Some(code), _) => Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)),
        (_, None, signal) => Exit::Command(128 + u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
    }
}

/// Waits until it is lost, a signal comes or somebody asks for a hand-over; what is done without a command.
///
/// # Errors
/// It was lost.
pub(crate) async fn until_asked(
    held: &dyn Holding,
    what: &str,
    signals: &mut Signals,
    hand_over: HandOver<'_>,
) -> Result<Ended> {
    let done = |stopped, signalled| Ended { exit: Exit::Done, stopped: Some(stopped), signalled };
    tokio::select! {
        biased;
        reason = held.lost() => Err(Failure::new(Exit::Lost, format!("lost {what}: {}", words(reason)))
            .hint("whatever relied on it must stop now; somebody else may have it")),
        _ = signals.next() => Ok(done(Stopped::Signal, true)),
        to = hand_over => {
            output::note(&format!("asked to hand over {what} to {to}"));
            Ok(done(Stopped::HandOver, false))
        }
    }
}

/// Does what is done while something is held. A panic is held on to, so that the caller gives back first and then [resumes](Caught::go_on).
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Caught<T> {
    Caught(AssertUnwindSafe(work).catch_unwind().await)
}

/// See [`caught`].
#[must_use = "a panic would be lost"]
pub(crate) struct Caught<T>(std::thread::Result<T>);

impl<T> Caught<T> {
    /// What the work came to, or its panic.
    pub(crate) fn go_on(self) -> T {
        self.0.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Gives it back by `release` and the end of its session, for a limited time; what cannot be given back goes with its session.
pub(crate) async fn give_back(
    session: &Session,
    release: impl Future<Output = Result<()>>,
    what: (&str, bool),
    bound: Duration,
) {
    let released = async {
        let release = release.await;
        // Either of them frees it.
        session.close().await.map_err(Failure::of_client).or(release)
    };
    freed(session, released, what, bound).await;
}

/// Ends a session by which nothing of this process is held.
pub(crate) async fn close(session: &Session, bound: Duration) {
    let lost = session.is_lost();
    let closed = async { session.close().await.map_err(Failure::of_client) };
    freed(session, closed, ("the session", lost), bound).await;
}

/// Waits for it, and tells if it fails; of what was lost before nothing is told.
async fn freed(
    session: &Session,
    released: impl Future<Output = Result<()>>,
    (what, lost): (&str, bool),
    bound: Duration,
) {
    let ttl = session.ttl();
    let outcome = timeout(bound, released).await;
    if lost {
        return;
    }
    let trouble = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.message().to_owned(),
        Err(_) => "no member confirmed it in time".to_owned(),
    };
    output::note(&format!(
        "could not give back {what} ({trouble}); it is free after {} at the latest",
        output::human::time(ttl)
    ));
}

/// The session ended before anything was held by it.
pub(crate) fn session_lost(reason: LostReason) -> Failure {
    Failure::new(Exit::Lost, format!("lost the session: {}", words(reason)))
        .hint("`conclavectl status` shows which members answer and whether they have a leader")
}

/// Why something was lost.
pub(crate) fn words(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Expired => "no member could be reached until the session's deadline",
        LostReason::LeaseGone => "its lease ran out or was revoked",
        LostReason::Closed => "its session was closed",
        LostReason::KeyGone => "it was taken away, its key is gone",
        LostReason::Released => "it was given back",
        _ => "the tenure ended",
    }
}
