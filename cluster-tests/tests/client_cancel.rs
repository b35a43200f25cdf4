//! What the client's documentation says of futures that are dropped, where no other test has it:
//! each is dropped again and again, after ever more time, so that it is hit before its request,
//! with that under way, and after the answer.
//!
//! | what is dropped | where it is tested |
//! |---|---|
//! | `Session::open` | `client_doubt` |
//! | campaigns, locks, permits; guards | `client_recipes`, for `conclave.v1` in `client_v1::elections` and `client_v1::locks` |
//! | `Claims::claim_in_line` | `client_v1::claims` |
//! | `Tracker::stop`, `Held::lost` of claims | units of `conclave-client` |
//! | everything else that leaves something, or may lose something | here |

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcd::{Server, application},
    on_both,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Claims, Client, Election, ErrorKind, Held, Isolation, KeyRange, Locks, LostReason, Mutex, QueueElection, Session,
    SessionState,
    claims::{Bid, ClaimManager},
    locks::{self, Want},
    queue::{self, ElectionWatch},
    run_as_leader,
};
use futures::StreamExt;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

on_both!(
    dropped_nexts_of_a_watch_lose_nothing,
    a_dropped_unlock_and_resignation_are_repeated,
    a_dropped_close_has_ended_the_session_here,
    a_dropped_transaction_has_written_nothing,
    a_dropped_run_ends_its_work_before_the_lock,
);

/// Some moments of a call.
const MOMENTS: [u64; 6] = [0, 50, 200, 1_000, 5_000, 20_000];

/// The outcome of a call that is dropped after ever more time until it comes to its end.
macro_rules! hasty {
    ($call:expr) => {{
        let mut patience = Duration::from_micros(1);
        loop {
            match timeout(patience, $call).await {
                Ok(outcome) => break outcome,
                Err(_) => patience *= 2,
            }
            ensure!(patience < LONG, "nothing comes");
        }
    }};
}

async fn one(server: Server) -> Result<(Cluster, Client)> {
    let cluster = server.start(1).await?;
    let client = application(&cluster)?;
    Ok((cluster, client))
}

async fn session(client: &Client) -> Result<Session> {
    Ok(Session::open(client, Duration::from_secs(20)).await?)
}

async fn dropped_nexts_of_a_watch_lose_nothing(server: Server) -> Result<()> {
    const CHANGES: usize = 40;
    let (_cluster, client) = one(server).await?;
    let mut changes = client.watch(KeyRange::prefix("k/")).await?;
    let writer = client.clone();
    let writing = tokio::spawn(async move {
        for i in 0..CHANGES {
            writer.put(format!("k/{i}"), i.to_string()).await?;
            sleep(Duration::from_millis(3)).await;
        }
        Ok::<_, conclave_client::Error>(())
    });
    let mut seen = Vec::new();
    while seen.len() < CHANGES {
        let batch = hasty!(changes.next()).context("the watch ended")??;
        seen.extend(batch.events.into_iter().map(|event| String::from_utf8_lossy(&event.kv.value).into_owned()));
    }
    writing.await??;
    ensure!(seen == (0..CHANGES).map(|i| i.to_string()).collect::<Vec<_>>(), "{seen:?}");
    Ok(())
}

async fn a_dropped_unlock_and_resignation_are_repeated(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (ours, theirs) = (session(&client).await?, session(&client).await?);
    let (mutex, election) = (Mutex::new("m"), Election::new(&client, "e"));
    for micros in MOMENTS {
        let time = Duration::from_micros(micros);
        let mut guard = mutex.lock(&ours).await?;
        // Asked for and dropped: the next one still tells.
        ensure!(timeout(time, guard.lost()).await.is_err());
        let lost = guard.lost();
        drop(timeout(time, guard.unlock()).await);
        guard.unlock().await?;
        ensure!(lost.await == LostReason::Released && guard.lost().await == LostReason::Released);
        mutex.try_lock(&theirs).await?.context("it is free")?.unlock().await?;
        let mut leadership = election.campaign(&ours, "a").await?;
        drop(timeout(time, leadership.resign()).await);
        leadership.resign().await?;
        let mut next = within("the next", SOON, election.campaign(&theirs, "b")).await??;
        next.resign().await?;
    }
    Ok(())
}

async fn a_dropped_close_has_ended_the_session_here(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    for micros in MOMENTS {
        let session = Session::open(&client, Duration::from_secs(2)).await?;
        {
            let mut closing = pin!(session.close());
            drop(futures::poll!(&mut closing));
            drop(timeout(Duration::from_micros(micros), closing).await);
        }
        ensure!(session.state() == SessionState::Lost(LostReason::Closed), "{:?}", session.state());
        let gone = async || {
            let info = client.lease_info(session.lease(), false).await;
            ensure!(info.is_err_and(|error| error.kind() == ErrorKind::LeaseNotFound), "the lease is there");
            Ok(())
        };
        eventually("the end of the lease", LONG, gone).await?;
    }
    Ok(())
}

async fn a_dropped_transaction_has_written_nothing(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    for micros in MOMENTS {
        let work = client.stm(Isolation::SerializableSnapshot, async |txn| {
            txn.get("a").await?;
            txn.put("a", "written");
            // It does not come to its last step.
            std::future::pending::<Result<(), conclave_client::Error>>().await
        });
        ensure!(timeout(Duration::from_micros(micros), work).await.is_err());
        ensure!(client.get("a").await?.is_none());
    }
    Ok(())
}

async fn a_dropped_run_ends_its_work_before_the_lock(server: Server) -> Result<()> {
    struct Ends(Arc<AtomicBool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (_cluster, client) = one(server).await?;
    let (ours, theirs) = (session(&client).await?, session(&client).await?);
    let mutex = Mutex::new("m");
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Ends(Arc::clone(&ended));
    let running = run_as_leader(mutex.lock(&ours).await?, async move |_| {
        let _ends = ends;
        std::future::pending::<()>().await;
    });
    ensure!(timeout(Duration::from_millis(200), running).await.is_err());
    let mut next = within("the lock", SOON, mutex.lock(&theirs)).await??;
    ensure!(ended.load(Ordering::SeqCst), "the work had ended");
    next.unlock().await?;
    Ok(())
}

#[tokio::test]
async fn dropped_nexts_of_conclaves_own_watches_lose_nothing() -> Result<()> {
    let (_cluster, client) = one(Server::Conclave).await?;
    let session = session(&client).await?;
    let (election, claims, locks) = (QueueElection::new(&client, "e"), Claims::new(&client), Locks::new(&client));
    election.candidate(&session, "a").enter().await?;
    election.candidate(&session, "b").enter().await?;
    // Each is followed twice: once in haste, once in peace.
    let all = || ElectionWatch::new().with_candidates();
    let (mut elections, mut calm_elections) = (election.watch(all()).await?, election.watch(all()).await?);
    let (mut claimed, mut calm_claimed) = (claims.watch("c").await?, claims.watch("c").await?);
    let (mut locked, mut calm_locked) = (locks.watch("l").await?, locks.watch("l").await?);
    let changes = tokio::spawn(async move {
        for leader in ["b", "a"].into_iter().cycle().take(20) {
            election.anoint(leader).await?;
            claims.claim(&Bid::new("c", leader)).await?;
            claims.revoke("c", None).await?;
            locks.acquire(&session, Want::exclusive("l")).await?.unlock().await?;
        }
        Ok::<_, conclave_client::Error>(())
    });
    for _ in 0..20 {
        let hasty = hasty!(elections.next()).context("the watch ended")??;
        ensure!(hasty == within("a change", SOON, calm_elections.next()).await?.context("the watch ended")??);
        let hasty = hasty!(claimed.next()).context("the watch ended")??;
        ensure!(hasty == within("a change", SOON, calm_claimed.next()).await?.context("the watch ended")??);
        let hasty = hasty!(locked.next()).context("the watch ended")??;
        ensure!(hasty == within("a change", SOON, calm_locked.next()).await?.context("the watch ended")??);
    }
    changes.await??;
    Ok(())
}

#[tokio::test]
async fn dropped_nexts_keep_the_place_in_line() -> Result<()> {
    let (_cluster, client) = one(Server::Conclave).await?;
    let (ours, theirs) = (session(&client).await?, session(&client).await?);
    let (election, locks) = (QueueElection::new(&client, "e"), Locks::new(&client));
    let mut leadership = election.candidate(&theirs, "them").campaign().await?;
    let mut campaigning = election.candidate(&ours, "us").campaigning();
    let first = hasty!(campaigning.next())?;
    ensure!(matches!(first, queue::Progress::Waiting { before: 1 }), "{first:?}");
    ensure!(timeout(Duration::from_millis(100), campaigning.next()).await.is_err());
    let joined = election.candidates(10, 0).await?.candidates[1].joined;
    leadership.resign().await?;
    let queue::Progress::Won(won) = hasty!(campaigning.next())? else { anyhow::bail!("waiting still") };
    ensure!(election.candidates(10, 0).await?.candidates[0].joined == joined, "the place was kept");
    drop(won);
    let mut hold = locks.acquire(&theirs, Want::exclusive("l")).await?;
    let mut acquiring = locks.acquiring(&ours, Want::exclusive("l"));
    let first = hasty!(acquiring.next())?;
    let locks::Progress::Waiting { fence, .. } = first else { anyhow::bail!("{first:?}") };
    ensure!(timeout(Duration::from_millis(100), acquiring.next()).await.is_err());
    hold.unlock().await?;
    let locks::Progress::Held(held) = hasty!(acquiring.next())? else { anyhow::bail!("waiting still") };
    ensure!(held.fence() == fence, "the place was kept");
    Ok(())
}

#[tokio::test]
async fn dropped_releases_of_conclaves_own_are_repeated() -> Result<()> {
    let (_cluster, client) = one(Server::Conclave).await?;
    let (ours, theirs) = (session(&client).await?, session(&client).await?);
    let (election, locks, claims) = (QueueElection::new(&client, "e"), Locks::new(&client), Claims::new(&client));
    let manager = ClaimManager::builder(&claims, "c", "us").build()?;
    for micros in MOMENTS {
        let time = Duration::from_micros(micros);
        let mut hold = locks.acquire(&ours, Want::exclusive("l")).await?;
        drop(timeout(time, hold.unlock()).await);
        hold.unlock().await?;
        locks.try_acquire(&theirs, Want::exclusive("l")).await?.context("it is free")?.unlock().await?;
        let mut leadership = election.candidate(&ours, "us").campaign().await?;
        drop(timeout(time, leadership.resign()).await);
        leadership.resign().await?;
        ensure!(election.term().await?.leader.is_none());
        let mut claim = manager.acquire().await?;
        drop(timeout(time, claim.release()).await);
        claim.release().await?;
        ensure!(claims.get("c").await?.holder.is_none());
    }
    Ok(())
}
