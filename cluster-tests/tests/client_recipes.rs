//! The recipes of the client library, case by case, on one member: sessions, elections, locks,
//! semaphores, transactions.
//!
//! The cases are those of etcd's `concurrency` package, and what this library promises beyond it.
//! Each runs on Conclave and on etcd.

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcd::{Server, application},
    etcdctl::Etcdctl,
    on_both,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Client, Cmp, Compare, Election, Error, ErrorKind, Held, Isolation, KeyRange, LockGuard, LostReason, Mutex,
    Observed, Put, Ran, RwLock, Semaphore, Session, SessionState, run_as_leader,
};
use futures::{FutureExt, StreamExt, TryStreamExt};
use std::{pin::pin, time::Duration};
use tokio::time::sleep;

on_both!(
    a_session_lives_while_it_is_kept_and_ends_when_closed,
    a_session_is_lost_when_its_lease_is_revoked,
    a_dropped_session_revokes_its_lease_and_an_orphan_is_resumed,
    an_election_is_won_proclaimed_observed_and_resigned,
    candidates_lead_in_turn_with_rising_fences,
    a_waiting_candidate_is_told_that_its_place_is_gone,
    a_leadership_is_resumed_by_key_and_revision,
    guarded_transactions_tell_a_lost_leadership_from_a_failed_compare,
    a_mutex_is_held_by_one,
    a_mutex_gives_up_at_the_deadline_and_leaves_nothing,
    a_lapsed_session_gets_no_lock,
    dropped_futures_leave_nothing_behind,
    dropped_guards_release,
    locks_mix_with_those_of_etcdctl,
    readers_share_and_writers_do_not,
    permits_are_given_in_order,
    transactions_conflict_and_are_repeated,
    work_ends_before_leadership,
    pages_are_of_one_revision,
);

async fn one(server: Server) -> Result<(Cluster, Client)> {
    let cluster = server.start(1).await?;
    let client = application(&cluster)?;
    Ok((cluster, client))
}

async fn session(client: &Client) -> Result<Session, Error> {
    Session::open(client, Duration::from_secs(10)).await
}

async fn keys_under(client: &Client, prefix: &str) -> Result<usize> {
    Ok(client.range(KeyRange::prefix(prefix.to_owned())).await?.kvs.len())
}

async fn nothing_under(client: &Client, prefix: &str) -> Result<()> {
    let ask = async || match keys_under(client, prefix).await? {
        0 => Ok(()),
        left => bail!("{left} keys under {prefix}"),
    };
    eventually("an empty queue", SOON, ask).await
}

async fn queued(client: &Client, prefix: &str, places: usize) -> Result<()> {
    let ask = async || match keys_under(client, prefix).await? {
        now if now == places => Ok(()),
        now => bail!("{now} places under {prefix}"),
    };
    eventually("a queue of some length", SOON, ask).await
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn a_session_lives_while_it_is_kept_and_ends_when_closed(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let session = Session::open(&client, Duration::from_secs(2)).await?;
    client.put_with(Put::new("mine", "").lease(session.lease())).await?;
    sleep(session.ttl() * 2).await;
    ensure!(session.state() == SessionState::Safe && !session.remaining().is_zero());
    ensure!(client.get("mine").await?.is_some(), "the lease was kept");
    let lost = session.lost();
    session.close().await?;
    ensure!(client.get("mine").await?.is_none(), "closing frees everything before it returns");
    ensure!(within("the loss", SOON, lost).await? == LostReason::Closed);
    session.close().await?;
    Ok(())
}

async fn a_session_is_lost_when_its_lease_is_revoked(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let session = Session::open(&client, Duration::from_secs(5)).await?;
    client.revoke(session.lease()).await?;
    // The next keep-alive says so, long before the deadline.
    ensure!(within("the loss", Duration::from_secs(4), session.lost()).await? == LostReason::LeaseGone);
    let refused = Mutex::new("m").lock(&session).await;
    ensure!(kind(refused) == Some(ErrorKind::SessionLost));
    Ok(())
}

async fn a_dropped_session_revokes_its_lease_and_an_orphan_is_resumed(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let dropped = session(&client).await?.lease();
    let gone = async || match client.lease_info(dropped, false).await {
        Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(()),
        other => bail!("{other:?}"),
    };
    eventually("the end of a dropped session's lease", SOON, gone).await?;
    ensure!(kind(Session::resume(&client, dropped).await) == Some(ErrorKind::LeaseNotFound));

    let orphan = session(&client).await?.orphan();
    let resumed = Session::resume(&client, orphan).await?;
    ensure!(resumed.lease() == orphan && resumed.state() == SessionState::Safe);
    ensure!(resumed.ttl() == Duration::from_secs(10));
    // A session that nobody waits for any more leaves no lease for long.
    drop(Session::open(&client, Duration::from_secs(10)).now_or_never());
    Ok(())
}

async fn an_election_is_won_proclaimed_observed_and_resigned(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (election, session) = (Election::new(&client, "e"), session(&client).await?);
    ensure!(kind(election.leader().await) == Some(ErrorKind::NoLeader));
    let mut seen = election.observe();
    let mut next = async || -> Result<String> {
        let state = within("an observation", SOON, seen.next()).await?.context("the stream ended")??;
        Ok(match state {
            Observed::Leader(leader) => String::from_utf8(leader.value.to_vec())?,
            Observed::Vacant => "-".into(),
        })
    };
    ensure!(next().await? == "-");
    let mut leadership = election.campaign(&session, "one").await?;
    ensure!(next().await? == "one");
    let leader = election.leader().await?;
    ensure!(leader.key == leadership.key() && leader.revision == leadership.rev() && leader.lease == session.lease());
    ensure!(
        *leadership.key() == format!("e/{:x}", session.lease()) && leadership.header().revision == leadership.rev()
    );
    let revision = leadership.proclaim("two").await?.revision;
    ensure!(revision > leadership.rev() && next().await? == "two");
    leadership.resign().await?;
    ensure!(next().await? == "-");
    ensure!(leadership.why_lost() == Some(LostReason::Released));
    ensure!(kind(leadership.proclaim("three").await) == Some(ErrorKind::NotLeader));
    leadership.resign().await?;
    // The same session stands again.
    let again = election.campaign(&session, "four").await?;
    ensure!(again.fence() > leader.revision && next().await? == "four");
    Ok(())
}

async fn candidates_lead_in_turn_with_rising_fences(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let election = Election::new(&client, "e");
    let mut waiting = Vec::new();
    for i in 1..=3 {
        let (election, session) = (election.clone(), session(&client).await?);
        waiting.push(tokio::spawn(async move { election.campaign(&session, format!("c{i}")).await }));
        queued(&client, "e/", i).await?;
    }
    let mut fence = 0;
    for (i, candidate) in waiting.into_iter().enumerate() {
        let mut leadership = within("a grant", SOON, candidate).await???;
        ensure!(election.leader().await?.value == format!("c{}", i + 1) && leadership.fence() > fence);
        fence = leadership.fence();
        leadership.resign().await?;
    }
    ensure!(kind(election.leader().await) == Some(ErrorKind::NoLeader));
    Ok(())
}

async fn a_waiting_candidate_is_told_that_its_place_is_gone(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let election = Election::new(&client, "e");
    let (first, second, third) = (session(&client).await?, session(&client).await?, session(&client).await?);
    let leadership = election.campaign(&first, "first").await?;

    let mut deleted = pin!(election.campaign(&second, "second"));
    ensure!(within("nothing", Duration::from_millis(500), &mut deleted).await.is_err());
    client.delete(format!("e/{:x}", second.lease())).await?;
    ensure!(kind(within("the refusal", SOON, deleted).await?) == Some(ErrorKind::NotLeader));

    let mut lapsed = pin!(election.campaign(&third, "third"));
    ensure!(within("nothing", Duration::from_millis(500), &mut lapsed).await.is_err());
    client.revoke(third.lease()).await?;
    let refused = kind(within("the refusal", SOON, lapsed).await?);
    ensure!(matches!(refused, Some(ErrorKind::NotLeader | ErrorKind::SessionLost)), "{refused:?}");

    // A leader whose key goes is told too.
    let lost = leadership.lost();
    client.delete(leadership.key().clone()).await?;
    ensure!(within("the loss", SOON, lost).await? == LostReason::KeyGone);
    ensure!(kind(leadership.proclaim("late").await) == Some(ErrorKind::NotLeader));
    Ok(())
}

async fn a_leadership_is_resumed_by_key_and_revision(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (election, before) = (Election::new(&client, "e"), session(&client).await?);
    let leadership = election.campaign(&before, "value").await?;
    let (key, rev) = (leadership.key().clone(), leadership.rev());
    let lease = before.orphan();
    drop(leadership);

    let after = session(&client).await?;
    ensure!(kind(election.resume(&after, key.clone(), rev + 1).await) == Some(ErrorKind::NotLeader));
    let mut resumed = election.resume(&after, key.clone(), rev).await?;
    // It lives by the new session now.
    client.revoke(lease).await?;
    let leader = election.leader().await?;
    ensure!(leader.lease == after.lease() && leader.revision == rev && leader.value == "value");
    resumed.proclaim("next").await?;
    resumed.resign().await?;
    ensure!(kind(election.resume(&after, key, rev).await) == Some(ErrorKind::NotLeader));
    Ok(())
}

async fn guarded_transactions_tell_a_lost_leadership_from_a_failed_compare(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let leadership = Election::new(&client, "e").campaign(&session(&client).await?, "").await?;
    let token = leadership.token();
    let guarded = |value: &'static str| {
        let new = Compare::value("state", Cmp::NotEqual, value);
        client.guarded(token.clone()).when([new]).then([Put::new("state", value)])
    };
    client.put("state", "start").await?;
    ensure!(leadership.txn().then([Put::new("state", "a")]).commit().await?.succeeded);
    ensure!(guarded("b").commit().await?.succeeded);
    ensure!(!guarded("b").commit().await?.succeeded, "the own compare failed, and that is no error");
    client.delete(leadership.key().clone()).await?;
    ensure!(kind(guarded("c").commit().await) == Some(ErrorKind::NotHeld));
    ensure!(kind(leadership.txn().then([Put::new("state", "c")]).commit().await) == Some(ErrorKind::NotLeader));
    ensure!(client.get("state").await?.is_some_and(|kv| kv.value == "b"));
    Ok(())
}

async fn a_mutex_is_held_by_one(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (mutex, one, two) = (Mutex::new("m"), session(&client).await?, session(&client).await?);
    let mut first = mutex.lock(&one).await?;
    ensure!(mutex.try_lock(&two).await?.is_none() && keys_under(&client, "m/").await? == 1);
    let mut waiting = pin!(mutex.lock(&two));
    ensure!(within("nothing", Duration::from_millis(300), &mut waiting).await.is_err());
    // The same session is no way around it.
    ensure!(within("nothing", Duration::from_millis(300), mutex.lock(&one)).await.is_err());
    first.unlock().await?;
    let second = within("the lock", SOON, waiting).await??;
    ensure!(second.fence() > first.fence() && second.why_lost().is_none());
    // A released guard does not release anybody else.
    first.unlock().await?;
    drop(first);
    ensure!(mutex.try_lock(&one).await?.is_none());
    drop(second);
    within("the lock", SOON, mutex.lock(&one)).await??;
    Ok(())
}

async fn a_mutex_gives_up_at_the_deadline_and_leaves_nothing(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (mutex, one, two) = (Mutex::new("m"), session(&client).await?, session(&client).await?);
    let mut guard = mutex.lock(&one).await?;
    let late = mutex.lock_within(&two, Duration::from_millis(300)).await;
    ensure!(kind(late) == Some(ErrorKind::Deadline));
    queued(&client, "m/", 1).await?;
    guard.unlock().await?;
    nothing_under(&client, "m/").await
}

async fn a_lapsed_session_gets_no_lock(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (mutex, one, two) = (Mutex::new("m"), session(&client).await?, session(&client).await?);
    let guard = mutex.lock(&one).await?;
    let mut waiting = pin!(mutex.lock(&two));
    ensure!(within("nothing", Duration::from_millis(300), &mut waiting).await.is_err());
    two.close().await?;
    ensure!(kind(within("the refusal", SOON, waiting).await?) == Some(ErrorKind::SessionLost));
    ensure!(kind(mutex.lock(&two).await) == Some(ErrorKind::SessionLost));
    // Its lock ends with its session, and the guard says so.
    let lost = guard.lost();
    one.close().await?;
    ensure!(within("the loss", SOON, lost).await? == LostReason::Closed && keys_under(&client, "m/").await? == 0);
    Ok(())
}

async fn dropped_futures_leave_nothing_behind(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (holder, other) = (session(&client).await?, session(&client).await?);
    let (mutex, election, slots) = (Mutex::new("m"), Election::new(&client, "e"), Semaphore::new("s", 1));
    let guards = (mutex.lock(&holder).await?, election.campaign(&holder, "").await?, slots.acquire(&holder, 1).await?);
    // Dropped after ever more time: before the request, with it under way, in the queue.
    for micros in [0, 50, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000] {
        let time = Duration::from_micros(micros);
        ensure!(tokio::time::timeout(time, mutex.lock(&other)).await.is_err());
        ensure!(tokio::time::timeout(time, election.campaign(&other, "x")).await.is_err());
        ensure!(tokio::time::timeout(time, slots.acquire(&other, 1)).await.is_err());
        drop(mutex.lock(&other).now_or_never());
    }
    for prefix in ["m/", "e/", "s/"] {
        queued(&client, prefix, 1).await?;
    }
    drop(guards);
    for prefix in ["m/", "e/", "s/"] {
        nothing_under(&client, prefix).await?;
    }
    // And an acquisition dropped when it would have succeeded.
    for micros in [0, 100, 300, 1_000, 3_000] {
        drop(tokio::time::timeout(Duration::from_micros(micros), mutex.lock(&other)).await);
    }
    nothing_under(&client, "m/").await
}

async fn dropped_guards_release(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (one, two) = (session(&client).await?, session(&client).await?);
    let (mutex, election) = (Mutex::new("m"), Election::new(&client, "e"));
    let guards = (mutex.lock(&one).await?, election.campaign(&one, "").await?);
    let waiting = futures::future::join(mutex.lock(&two), election.campaign(&two, ""));
    let mut waiting = pin!(waiting);
    ensure!(within("nothing", Duration::from_millis(300), &mut waiting).await.is_err());
    let lost = guards.1.lost();
    drop(guards);
    let (lock, leadership) = within("what was dropped", SOON, waiting).await?;
    drop((lock?, leadership?));
    ensure!(lost.await == LostReason::Released);
    Ok(())
}

async fn locks_mix_with_those_of_etcdctl(server: Server) -> Result<()> {
    let (cluster, client) = one(server).await?;
    let (mutex, session) = (Mutex::new("m"), session(&client).await?);
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    let mut other = etcdctl.start(&["lock", "m"])?;
    let key = other.line().await?;
    ensure!(key.starts_with("m/") && mutex.try_lock(&session).await?.is_none());
    let mut waiting = pin!(mutex.lock(&session));
    ensure!(within("nothing", Duration::from_millis(300), &mut waiting).await.is_err());
    other.interrupt().await?;
    let mut guard = within("the lock", SOON, waiting).await??;
    let mut other = etcdctl.start(&["lock", "m"])?;
    queued(&client, "m/", 2).await?;
    guard.unlock().await?;
    ensure!(other.line().await?.starts_with("m/"));
    Ok(())
}

async fn readers_share_and_writers_do_not(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (lock, one, two) = (RwLock::new("rw"), session(&client).await?, session(&client).await?);
    let readers = [lock.read(&one).await?, lock.read(&one).await?, lock.read(&two).await?];
    ensure!(lock.try_write(&two).await?.is_none());
    let mut writer = pin!(lock.write(&two));
    ensure!(within("nothing", Duration::from_millis(300), &mut writer).await.is_err());
    // Nobody passes a writer who waits.
    ensure!(lock.try_read(&one).await?.is_none());
    ensure!(kind(lock.read_within(&one, Duration::from_millis(300)).await) == Some(ErrorKind::Deadline));
    drop(readers);
    let writing = within("the write lock", SOON, writer).await??;
    ensure!(lock.try_read(&one).await?.is_none() && lock.try_write(&one).await?.is_none());
    let mut reader = pin!(lock.read(&one));
    ensure!(within("nothing", Duration::from_millis(300), &mut reader).await.is_err());
    drop(writing);
    drop(within("the read lock", SOON, reader).await??);
    nothing_under(&client, "rw/").await
}

async fn permits_are_given_in_order(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (slots, one, two) = (Semaphore::new("s", 3), session(&client).await?, session(&client).await?);
    ensure!(kind(slots.acquire(&one, 4).await) == Some(ErrorKind::Invalid));
    let (a, b) = (slots.acquire(&one, 1).await?, slots.acquire(&two, 1).await?);
    let mut three = pin!(slots.acquire(&one, 3));
    ensure!(within("nothing", Duration::from_millis(300), &mut three).await.is_err());
    // One is free, but somebody waits who came first.
    ensure!(slots.try_acquire(&two, 1).await?.is_none());
    drop(a);
    ensure!(within("nothing", Duration::from_millis(300), &mut three).await.is_err());
    drop(b);
    let mut all: LockGuard = within("three permits", SOON, three).await??;
    ensure!(slots.try_acquire(&two, 1).await?.is_none());
    all.unlock().await?;
    ensure!(slots.try_acquire(&two, 1).await?.is_some());
    Ok(())
}

async fn transactions_conflict_and_are_repeated(server: Server) -> Result<()> {
    const TASKS: u64 = 5;
    const EACH: u64 = 20;
    let (_cluster, client) = one(server).await?;
    let number = |value: Option<bytes::Bytes>| -> u64 {
        value.and_then(|value| String::from_utf8_lossy(&value).parse().ok()).unwrap_or(0)
    };
    for isolation in [Isolation::SerializableSnapshot, Isolation::Serializable, Isolation::RepeatableReads] {
        client.delete(KeyRange::prefix("stm/")).await?;
        let add = async |client: Client| -> Result<(), Error> {
            for _ in 0..EACH {
                let moved = client.stm(isolation, async |txn| {
                    let (from, to) = (number(txn.get("stm/a").await?), number(txn.get("stm/b").await?));
                    txn.put("stm/a", (from + 1).to_string());
                    txn.put("stm/b", (to + 2).to_string());
                    Ok::<_, Error>(number(txn.get("stm/a").await?) == from + 1)
                });
                assert!(moved.await?, "own writes are seen");
            }
            Ok(())
        };
        futures::future::try_join_all((0..TASKS).map(|_| add(client.clone()))).await?;
        let (a, b) = (client.get("stm/a").await?, client.get("stm/b").await?);
        let sums = (number(a.map(|kv| kv.value)), number(b.map(|kv| kv.value)));
        ensure!(sums == (TASKS * EACH, 2 * TASKS * EACH), "{isolation:?}: {sums:?}");
    }
    // A work that fails writes nothing.
    let failed = client.stm(Isolation::default(), async |txn| {
        txn.put("stm/never", "");
        Err::<(), anyhow::Error>(anyhow::anyhow!("no"))
    });
    ensure!(failed.await.is_err() && client.get("stm/never").await?.is_none());
    let deleted = client.stm(Isolation::default(), async |txn| {
        txn.delete("stm/a");
        Ok::<_, Error>(())
    });
    deleted.await?;
    ensure!(client.get("stm/a").await?.is_none());
    Ok(())
}

async fn work_ends_before_leadership(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    let (election, session) = (Election::new(&client, "e"), session(&client).await?);
    let ran = run_as_leader(election.campaign(&session, "").await?, async |leading| leading.fence()).await;
    ensure!(matches!(ran, Ran::Finished(fence) if fence > 0) && keys_under(&client, "e/").await? == 0);

    let leadership = election.campaign(&session, "").await?;
    let (key, other) = (leadership.key().clone(), client.clone());
    let ran = run_as_leader(leadership, async |_| {
        drop(other.delete(key).await);
        std::future::pending::<()>().await;
    });
    ensure!(within("the stop", LONG, ran).await? == Ran::Stopped(Some(LostReason::KeyGone)));
    Ok(())
}

async fn pages_are_of_one_revision(server: Server) -> Result<()> {
    let (_cluster, client) = one(server).await?;
    for i in 0..25 {
        client.put(format!("p/{i:02}"), "").await?;
    }
    let mut pages = client.pages(KeyRange::prefix("p/"), 10);
    let mut sizes = Vec::new();
    while let Some(page) = pages.try_next().await? {
        sizes.push(page.kvs.len());
        // What changes meanwhile does not show.
        client.delete(KeyRange::prefix("p/")).await?;
    }
    ensure!(sizes == [10, 10, 5], "{sizes:?}");
    Ok(())
}
