//! A command that runs while something is held, and not longer.
//!
//! 1. The command starts only while it is held, and learns the fence in its environment.
//! 2. It has ended, at the latest by SIGKILL, before the session's deadline; so before anybody else
//!    can be granted what it relied on. Where the tenure ends sooner (somebody deleted its key),
//!    that cannot be foreseen: it is stopped as soon as it is known.
//! 3. A signal to conclavectl stops the command first; what is held is given back after it has
//!    ended.
//! 4. The command does not outlive conclavectl: if that is killed, the kernel kills the command
//!    (Linux).
//! 5. Whatever ends the work, a failure of standard output and a panic included, what is held is
//!    given back before the process ends.

mod child;
mod find;
mod holding;
mod opening;
mod schedule;
pub(crate) mod signals;

pub(crate) use {
    child::shim,
    find::find,
    holding::{Holding, Tenure},
    opening::open,
    schedule::Schedule,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    link::Link,
    output,
};
use child::Child;
use conclave_client::{LostReason, Session, SessionState};
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

/// Runs the command, to its end or to the end of the tenure; the exit code is the command's, or
/// says that it was stopped.
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
                child.terminate();
                output::note(&format!("lost {what}: {}; stopping the command", words(reason)));
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

/// Waits until it is lost, a signal comes or somebody asks for a hand-over; what is done without a
/// command.
///
/// # Errors
/// It was lost.
pub(crate) async fn until_asked(
    held: &dyn Holding,
    what: &str,
    signals: &mut Signals,
    hand_over: HandOver<'_>,
) -> Result<Ended> {
    tokio::select! {
        biased;
        reason = held.lost() => Err(Failure::new(Exit::Lost, format!("lost {what}: {}", words(reason)))
            .hint("whatever relied on it must stop now; somebody else may have it")),
        exit = signals.end() => Ok(Ended { exit, stopped: Some(Stopped::Signal), signalled: true }),
        to = hand_over => {
            output::note(&format!("asked to hand over {what} to {to}"));
            Ok(Ended { exit: Exit::Done, stopped: Some(Stopped::HandOver), signalled: false })
        }
    }
}

/// Does what is done while something is held. A panic is held on to, so that the caller gives back
/// first and then [resumes](Caught::go_on).
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

/// Gives it back by `release` and the end of its session, for a limited time; what cannot be given
/// back goes with its session.
pub(crate) async fn give_back(
    link: &Link,
    session: &Session,
    release: impl Future<Output = Result<()>>,
    what: (&str, bool),
) {
    let released = async {
        let release = release.await;
        // Either of them frees it.
        session.close().await.map_err(Failure::of_client).or(release)
    };
    freed(link, session, released, what).await;
}

/// Ends a session by which nothing of this process is held.
pub(crate) async fn close(link: &Link, session: &Session) {
    let lost = session.is_lost();
    let closed = async { session.close().await.map_err(Failure::of_client) };
    freed(link, session, closed, ("the session", lost)).await;
}

/// Ends a session by which nothing came to be held; its place in the line goes with it. Where no
/// member answered before, not for long: it runs out by itself.
pub(crate) async fn give_up(link: &Link, session: &Session, failure: &Failure) {
    const BRIEFLY: Duration = Duration::from_millis(500);
    let bound = link.settings().command_timeout;
    let bound = match failure.exit {
        Exit::NoConnection => bound.min(BRIEFLY),
        // Somebody waits for the end of this process.
        Exit::Interrupted(_) => bound.min(BRIEFLY * 2),
        _ => bound,
    };
    let _ = timeout(bound, session.close()).await;
}

/// Waits for it, and tells if it fails. Of what was lost before it is only told that the cluster
/// has no leader, if that may be why.
async fn freed(link: &Link, session: &Session, released: impl Future<Output = Result<()>>, (what, lost): (&str, bool)) {
    let ttl = session.ttl();
    let expired = session.state() == SessionState::Lost(LostReason::Expired);
    let outcome = timeout(link.settings().command_timeout, released).await;
    if lost && !expired {
        return;
    }
    let trouble = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.message().to_owned(),
        Err(_) => "no member confirmed it in time".to_owned(),
    };
    match link.leaderless().await {
        Some(cause) if lost => output::note(&cause),
        None if lost => {}
        cause => output::note(&kept((what, ttl), &trouble, cause.as_deref())),
    }
}

/// Until when something is held that could not be given back. A new leader of the cluster gives
/// every session its whole time again.
fn kept((what, ttl): (&str, Duration), trouble: &str, leaderless: Option<&str>) -> String {
    let ttl = output::human::time(ttl);
    match leaderless {
        Some(cause) => {
            format!(
                "could not give back {what}: {cause}; it is free {ttl} after the cluster has a leader again, at the latest"
            )
        }
        None => format!(
            "could not give back {what} ({trouble}); it is free after {ttl} at the latest, counted anew if the cluster's leader changes"
        ),
    }
}

/// The session ended before anything was held by it.
pub(crate) fn session_lost(reason: LostReason) -> Failure {
    Failure::new(Exit::Lost, format!("lost the session: {}", words(reason)))
        .hint("`conclavectl status` shows which members answer and whether they have a leader")
}

/// Why something was lost.
pub(crate) fn words(reason: LostReason) -> String {
    match reason {
        LostReason::Expired => "no member confirmed the session before its deadline".to_owned(),
        LostReason::LeaseGone => "its lease ran out or was revoked".to_owned(),
        LostReason::Closed => "its session was closed".to_owned(),
        LostReason::KeyGone => "it was taken away, its key is gone".to_owned(),
        LostReason::Released => "it was given back".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_client::Cause;

    #[test]
    fn a_loss_has_its_cause() {
        assert_eq!(words(LostReason::TakenAway(Cause::Evicted)), "it was taken away: evicted");
        assert!(words(LostReason::TakenAway(Cause::TakenOver)).ends_with("another session or instance took over"));
        assert_eq!(words(LostReason::Deleted), "the election was deleted");
        assert_eq!(words(LostReason::Expired), "no member confirmed the session before its deadline");
    }

    #[test]
    fn without_a_leader_the_time_to_live_begins_with_the_next_one() {
        let what = ("the lock \"x\"", Duration::from_secs(10));
        let words = kept(what, "no answer", Some("the cluster has no leader: 1 of 3 members answers, 2 are needed"));
        assert!(words.ends_with("it is free 10s after the cluster has a leader again, at the latest"), "{words}");
        assert!(words.contains("the cluster has no leader") && !words.contains("no answer"), "{words}");
        assert!(kept(what, "no answer", None).contains("counted anew if the cluster's leader changes"));
    }
}
