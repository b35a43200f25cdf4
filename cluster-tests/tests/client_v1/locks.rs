//! Locks, operation by operation, on one member.

use anyhow::{Result, ensure};
use cluster_tests::kit::{
    A_WHILE,
    client::{kind, next, nothing_left, one, session},
};
use cluster_tests::wait::{SOON, within};
use conclave_client::{
    Cmp, Compare, ErrorKind, Held, Locks, LostReason, Name, Put,
    locks::{LockChangeKind, Mode, Progress, Want},
};
use futures::TryStreamExt;
use std::{pin::pin, time::Duration};

#[tokio::test]
async fn modes_exclude_and_share_as_they_should() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, one, other) = (Locks::new(&client), session(&client).await?, session(&client).await?);
    let mut reader = locks.acquire(&one, Want::shared("l")).await?;
    let beside = locks.try_acquire(&other, Want::shared("l")).await?.expect("readers share");
    ensure!(locks.try_acquire(&other, Want::exclusive("l")).await?.is_none());
    let mut writer = pin!(locks.acquire(&other, Want::exclusive("l").owner("writer")));
    ensure!(within("nothing", A_WHILE, &mut writer).await.is_err());
    // Nobody passes who waits.
    ensure!(locks.try_acquire(&one, Want::shared("l")).await?.is_none());
    let state = locks.get("l").await?;
    ensure!(state.holders.count == 2 && state.waiting.count == 1 && state.waiting.requests[0].owner == "writer");
    reader.unlock().await?;
    drop(beside);
    let writer = within("the grant", SOON, writer).await??;
    ensure!(writer.fence() > reader.fence());
    drop(writer);

    let mut some = locks.acquire(&one, Want::permits("pool", 2, 3)).await?;
    let third = locks.try_acquire(&other, Want::permits("pool", 1, 3)).await?.expect("one is left");
    ensure!(locks.try_acquire(&other, Want::permits("pool", 1, 3)).await?.is_none());
    ensure!(locks.get("pool").await?.permits == (3, 3));
    ensure!(kind(locks.try_acquire(&other, Want::permits("pool", 1, 4)).await) == Some(ErrorKind::Refused));
    // Long enough for the guard to follow its lock: what it gives back itself is not taken away.
    tokio::time::sleep(A_WHILE).await;
    some.unlock().await?;
    some.unlock().await?;
    ensure!(some.why_lost() == Some(LostReason::Released), "{:?}", some.why_lost());
    drop(third);
    nothing_left(&client).await
}

#[tokio::test]
async fn several_locks_are_held_together_or_not_at_all() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, one, other) = (Locks::new(&client), session(&client).await?, session(&client).await?);
    let both = || Want::exclusive("a").and_exclusive("b").and_permits("c", 1, 1);
    let first = locks.acquire(&one, Want::exclusive("b")).await?;
    ensure!(locks.try_acquire(&other, both()).await?.is_none() && locks.get("a").await?.holders.count == 0);
    let mut acquiring = locks.acquiring(&other, both());
    ensure!(matches!(within("a place", SOON, acquiring.next()).await??, Progress::Waiting { before: 0, .. }));
    drop(first);
    let hold = loop {
        match within("the grant", SOON, acquiring.next()).await?? {
            Progress::Held(hold) => break hold,
            Progress::Waiting { .. } => {}
        }
    };
    ensure!(hold.token().compares.len() == 3 && hold.held_since() >= hold.fence());
    let names: Vec<Name> = locks.list(Some("default")).try_collect().await?;
    ensure!(names == ["a", "b", "c"].map(Name::from));
    let state = locks.get("a").await?;
    ensure!(state.holders.requests[0].parts[2] == ("c".into(), Mode::Permits { weight: 1, capacity: 1 }));
    let ready = Compare::value("state", Cmp::Equal, "ready");
    ensure!(!hold.txn().when([ready]).then([Put::new("k", "v")]).commit().await?.succeeded);
    hold.txn().then([Put::new("k", "v")]).commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_ends_at_its_deadline_and_leaves_nothing() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, one, other) = (Locks::new(&client), session(&client).await?, session(&client).await?);
    let held = locks.acquire(&one, Want::exclusive("l")).await?;
    let late = within("the deadline", SOON, locks.acquire_within(&other, Want::exclusive("l"), A_WHILE)).await?;
    ensure!(kind(late) == Some(ErrorKind::Deadline));
    ensure!(locks.get("l").await?.waiting.count == 0);
    drop(held);
    nothing_left(&client).await
}

#[tokio::test]
async fn an_evicted_holder_is_told_and_cannot_write() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, session) = (Locks::new(&client), session(&client).await?);
    let want = || Want::exclusive("l").owner("o");
    let hold = locks.acquire(&session, want()).await?;
    let mut waiting = locks.acquiring(&session, want());
    let Progress::Waiting { fence, .. } = waiting.next().await? else { anyhow::bail!("it is held already") };
    ensure!(locks.evict(fence, Duration::ZERO).await?);
    ensure!(kind(within("the refusal", SOON, waiting.next()).await?) == Some(ErrorKind::NotHeld));
    let token = hold.token();
    ensure!(
        locks.evict(hold.fence(), Duration::from_secs(60)).await? && !locks.evict(hold.fence(), Duration::ZERO).await?
    );
    ensure!(within("the loss", SOON, hold.lost()).await? == LostReason::KeyGone);
    ensure!(kind(client.guarded(token).then([Put::new("k", "v")]).commit().await) == Some(ErrorKind::NotHeld));
    ensure!(kind(locks.acquire(&session, want()).await) == Some(ErrorKind::Refused), "the owner cools down");
    // Held too long: taken away.
    let short = locks.acquire(&session, Want::exclusive("m").max_hold(Duration::from_millis(300))).await?;
    ensure!(within("the end of the hold", SOON, short.lost()).await? == LostReason::KeyGone);
    Ok(())
}

#[tokio::test]
async fn dropped_futures_and_guards_leave_nothing_behind() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, session) = (Locks::new(&client), session(&client).await?);
    for micros in (0..4000).step_by(250) {
        let acquire = locks.acquire(&session, Want::exclusive("l").and_shared("m"));
        drop(tokio::time::timeout(Duration::from_micros(micros), acquire).await);
    }
    nothing_left(&client).await?;
    let held = locks.acquire(&session, Want::exclusive("l")).await?;
    for micros in (0..4000).step_by(250) {
        let acquire = locks.acquire(&session, Want::exclusive("l"));
        drop(tokio::time::timeout(Duration::from_micros(micros), acquire).await);
    }
    drop(held);
    nothing_left(&client).await
}

#[tokio::test]
async fn a_watch_tells_who_holds_and_who_waits() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (locks, session) = (Locks::new(&client), session(&client).await?);
    let mut changes = locks.watch("l").await?;
    ensure!(next(&mut changes).await?.snapshot);
    let first = locks.acquire(&session, Want::exclusive("l").owner("a")).await?;
    let mut second = locks.acquiring(&session, Want::exclusive("l").owner("b"));
    second.next().await?;
    drop(first);
    let mut told = Vec::new();
    while told.len() < 4 {
        told.extend(next(&mut changes).await?.changes.into_iter().map(|change| (change.kind, change.owner)));
    }
    use LockChangeKind::{Held, Released, Waits};
    told.sort_by_key(|(kind, owner)| (owner.clone(), *kind != Held && *kind != Waits));
    let expected =
        [(Held, "a"), (Released, "a"), (Waits, "b"), (Held, "b")].map(|(kind, owner)| (kind, owner.to_owned()));
    ensure!(told == expected, "{told:?}");
    Ok(())
}
