//! A command that runs while something is held, and not longer.
//!
//! 1. The command starts only while it is held, and learns the fence in its environment.
//! 2. It has ended, at the latest by SIGKILL, before the session's deadline; so before anybody else can be granted what it relied on.
//!    Where the tenure ends sooner (somebody deleted its key), that cannot be foreseen: it is stopped as soon as it is known.
//! 3. A signal to conclavectl stops the command first; what is held is given back after it has ended.
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
use conclave_client::LostReason;
use schedule::Phase;
use signals::Signals;
use std::{ffi::OsString, process::ExitStatus, time::Duration};
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

/// Why the command is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    /// Somebody asked conclavectl to end.
    Asked,
    /// It is held no longer, or may soon be held no longer.
    Lost,
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
) -> Result<Exit> {
    let mut environment = vec![
        ("CONCLAVE_FENCE".to_owned(), held.fence().to_string().into()),
        ("CONCLAVE_LEASE".to_owned(), output::human::lease(held.session().lease()).into()),
    ];
    environment.extend(job.environment.iter().cloned());
    let mut child = Child::start(&job.command, &environment)?;
    let mut lost = held.lost();
    let mut stopping = None;
    let mut kill_at: Option<Instant> = None;
    let mut known_lost = false;
    let mut jeopardy = Instant::now();
    loop {
        let wake = kill_at.unwrap_or(jeopardy);
        tokio::select! {
            biased;
            status = child.wait() => return Ok(conclusion(status?, stopping)),
            reason = &mut lost, if !known_lost => {
                known_lost = true;
                stopping = Some(Stopping::Lost);
                output::note(&format!("lost {what}: {}; stopping the command", words(reason)));
                child.terminate();
                kill_at = Some(Instant::now() + job.schedule.grace_after_loss(held.session().remaining()));
            }
            to = &mut hand_over, if stopping.is_none() => {
                stopping = Some(Stopping::Asked);
                output::note(&format!("asked to hand over {what} to {to}; stopping the command first"));
                child.terminate();
            }
            signal = signals.next() => {
                if stopping.replace(stopping.unwrap_or(Stopping::Asked)).is_none() {
                    child.pass_on(signal);
                } else {
                    child.kill();
                }
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
                        stopping = Some(Stopping::Lost);
                        output::note(&format!("no member confirms that {what} is still held; stopping the command before the session ends"));
                        child.terminate();
                        kill_at = Some(Instant::now() + grace);
                    }
                }
            }
        }
    }
}

fn conclusion(status: ExitStatus, stopping: Option<Stopping>) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (stopping, status.code(), status.signal()) {
        (Some(Stopping::Lost), _, _) => Exit::CommandLost,
        (_, Some(code), _) => Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)),
        (_, None, signal) => Exit::Command(128 + u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
    }
}

/// Waits until it is lost or a signal comes; what `lock` and `elect` do without a command.
///
/// # Errors
/// It was lost.
pub(crate) async fn until_asked(held: &dyn Holding, what: &str, signals: &mut Signals) -> Result<()> {
    tokio::select! {
        biased;
        reason = held.lost() => Err(Failure::new(Exit::Lost, format!("lost {what}: {}", words(reason)))
            .hint("whatever relied on it must stop now; somebody else may have it")),
        _ = signals.next() => Ok(()),
    }
}

/// Gives it back, for a limited time; what cannot be given back goes with its session.
pub(crate) async fn give_back(held: &mut dyn Holding, what: &str, bound: Duration) {
    let ttl = held.session().ttl();
    let lost = held.is_lost();
    let released = async {
        let release = held.release().await;
        // Either of them frees it.
        held.session().close().await.map_err(Failure::of_client).or(release)
    };
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
