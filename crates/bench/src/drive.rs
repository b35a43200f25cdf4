//! Runs the clients of a workload and measures them.
//!
//! warm-up → window opens → window closes → clients end. The servers are looked at when the window
//! opens and when it closes.
//!
//! 1. An operation is begun once and ends once: answered, refused, or out of time. A failed client
//!    rests for a moment, so that a dead server is not counted by how fast connections are refused.
//! 2. Closed loop: a client begins when its last operation has ended. Open loop: when the schedule
//!    says so (`pace`).

use super::{
    lab::Lab,
    options::End,
    pace::{Pace, Schedule},
    process,
    tally::{CountBy, Tally},
    verdict::{Measured, Verdict},
};
use conclave_cli::{
    exit::Exit,
    failure::{Failure, Result},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tonic::Status;

/// How long a client rests after a failure.
const REST: Duration = Duration::from_millis(10);
/// How long operations that were begun within an open loop's window may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// One client of a workload.
pub(super) trait Operate: Send + 'static {
    /// Whether an operation may rightly wait for others without bound.
    const WAITS: bool = false;

    /// One operation; `Some` if its latency is another than the time it takes.
    fn operate(&mut self) -> impl Future<Output = Result<Option<Duration>, Status>> + Send;
}

/// What the clients share.
#[derive(Debug)]
struct Shared {
    started: Instant,
    tally: Arc<Tally>,
    stop: AtomicBool,
    /// With a number of operations: how many are still to begin once the window is open.
    left: Option<AtomicU64>,
    opened: AtomicBool,
    patience: Duration,
    pace: Option<Arc<Pace>>,
}

impl Shared {
    /// Begins now.
    fn new(lab: &Lab, tally: Arc<Tally>, clients: usize) -> Result<Self> {
        let (options, started) = (&lab.options, Instant::now());
        let (left, pace) = match (options.end, options.rate) {
            (End::Operations(total), _) => (Some(AtomicU64::new(total)), None),
            (End::After(_), None) => (None, None),
            (End::After(duration), Some(rate)) => {
                let end = started + options.warm_up + duration;
                (None, Some(Pace::start(Schedule::new(started, rate), end, clients)?))
            }
        };
        let (stop, opened) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { started, tally, stop, left, opened, patience: lab.patience, pace })
    }

    /// Whether to go on with another operation.
    fn another(&self) -> bool {
        // An open loop's clients do all that was due; their schedule ends by itself.
        if self.pace.is_none() && self.stop.load(Ordering::Relaxed) {
            return false;
        }
        match &self.left {
            Some(left) if self.opened.load(Ordering::Relaxed) => {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            }
            _ => true,
        }
    }
}

/// The tally that fits these options, for workloads that count something on the side.
pub(super) fn tally(lab: &Lab) -> Arc<Tally> {
    let by_start = lab.options.rate.is_some() || matches!(lab.options.end, End::Operations(_));
    Arc::new(Tally::new(if by_start { CountBy::Start } else { CountBy::End }))
}

/// Runs the clients and measures what they do.
pub(super) async fn drive<C: Operate>(lab: &Lab, workload: &'static str, clients: Vec<C>) -> Result<Verdict> {
    drive_counting(lab, workload, clients, tally(lab), true).await
}

/// As `drive`, counting into a given tally; with `count` off, the clients' successes are not
/// counted there.
pub(super) async fn drive_counting<C: Operate>(
    lab: &Lab,
    workload: &'static str,
    clients: Vec<C>,
    tally: Arc<Tally>,
    count: bool,
) -> Result<Verdict> {
    process::sample(&lab.options.pids)?;
    let count_of_clients = clients.len();
    let shared = Arc::new(Shared::new(lab, tally, count_of_clients)?);
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(run(client, shared.clone(), count));
    }
    let measured = tokio::select! {
        measured = measure(lab, workload, &shared, tasks, C::WAITS) => measured,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Failure::interrupted(2))
        }
    };
    if let Some(pace) = &shared.pace {
        pace.stop();
    }
    let verdict = Verdict::new(lab, workload, count_of_clients, measured?);
    if verdict.operations() == 0 {
        return Err(verdict.nothing_done());
    }
    Ok(verdict)
}

/// Opens the window, closes it, and sees the clients to their ends.
async fn measure(
    lab: &Lab,
    workload: &'static str,
    shared: &Shared,
    mut tasks: JoinSet<()>,
    waits: bool,
) -> Result<Measured> {
    let (options, tally) = (&lab.options, &*shared.tally);
    let term_before = lab.status().await.map(|status| status.raft_term);
    let warm = shared.started + options.warm_up;
    let until = |opened: Instant| match options.end {
        End::After(duration) => Some(opened + duration),
        End::Operations(_) => None,
    };
    // An open loop's schedule knows nothing of when this goes on: what is due first may be answered
    // before this wakes.
    if shared.pace.is_some() {
        tally.open(warm, until(warm));
    }
    sleep_until(warm.into()).await;
    let before = process::sample(&options.pids)?;
    let opened = if shared.pace.is_some() { warm } else { Instant::now() };
    let until = until(opened);
    if shared.pace.is_none() {
        tally.open(opened, until);
    }
    shared.opened.store(true, Ordering::Relaxed);
    let finish = async {
        match until {
            Some(until) => sleep_until(until.into()).await,
            None => while tasks.join_next().await.is_some() {},
        }
    };
    tokio::select! {
        () = finish => {}
        () = super::progress::tell(lab, workload, tally, opened, until) => {}
    }
    shared.stop.store(true, Ordering::Relaxed);
    let after = process::sample_again(&options.pids, &before);
    if shared.pace.is_some() {
        // What was due counts, also if it ends late.
        let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        for _ in 0..tasks.len() {
            tally.unfinished(opened, "due in time, and not answered ten seconds after the end");
        }
    }
    let counted = tally.close(Instant::now());
    // Operations under way end now, unless they wait for each other.
    if !waits {
        let _ = timeout(shared.patience, async { while tasks.join_next().await.is_some() {} }).await;
    }
    tasks.shutdown().await;
    let term_after = lab.status().await.map(|status| status.raft_term);
    let elections = term_before.zip(term_after).map(|(before, after)| after.saturating_sub(before));
    Ok(Measured { counted, before, after, elections })
}

impl Verdict {
    /// Why there is nothing to report.
    fn nothing_done(&self) -> Failure {
        match self.first_error() {
            Some(error) => Failure::new(Exit::Failed, format!("no operation succeeded; the first failure was {error}")),
            None => Failure::new(Exit::Failed, "no operation ended while it was measured")
                .hint("measure longer (--duration), or allow more time (--command-timeout)"),
        }
    }
}

/// One client, from its first operation to its last.
async fn run<C: Operate>(mut client: C, shared: Arc<Shared>, count: bool) {
    while shared.another() {
        let start = match &shared.pace {
            None => Instant::now(),
            Some(pace) => match pace.next().await {
                Some(due) => due,
                None => return,
            },
        };
        let outcome = if C::WAITS {
            client.operate().await
        } else {
            timeout(shared.patience, client.operate())
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {:?}", shared.patience))))
        };
        match outcome {
            Ok(latency) if count => shared.tally.record(start, Instant::now(), Ok(latency)),
            Ok(_) => {}
            Err(status) => {
                shared.tally.record(start, Instant::now(), Err(&status));
                if shared.pace.is_none() {
                    sleep(REST).await;
                }
            }
        }
    }
}

/// Measures something that is done once and consists of this many equal parts; there is one
/// latency, that of the whole. The servers are looked at when they have had time to settle.
pub(super) async fn once(
    lab: &Lab,
    workload: &'static str,
    parts: u64,
    settle: Duration,
    work: impl Future<Output = Result<()>>,
) -> Result<Verdict> {
    let (tally, started) = (Tally::new(CountBy::End), Instant::now());
    let work = async {
        work.await?;
        tally.record(started, Instant::now(), Ok(None));
        sleep(settle).await;
        Ok(())
    };
    let (verdict, ()) = once_with(lab, workload, &tally, work).await?;
    Ok(verdict.of_parts(parts))
}

/// Measures something that is done once and counts by itself.
pub(super) async fn once_with<T>(
    lab: &Lab,
    workload: &'static str,
    tally: &Tally,
    work: impl Future<Output = Result<T>>,
) -> Result<(Verdict, T)> {
    let before = process::sample(&lab.options.pids)?;
    let term_before = lab.status().await.map(|status| status.raft_term);
    tally.open(Instant::now(), None);
    let done = work.await?;
    let counted = tally.close(Instant::now());
    let after = process::sample_again(&lab.options.pids, &before);
    let term_after = lab.status().await.map(|status| status.raft_term);
    let elections = term_before.zip(term_after).map(|(before, after)| after.saturating_sub(before));
    Ok((Verdict::new(lab, workload, 1, Measured { counted, before, after, elections }), done))
}
