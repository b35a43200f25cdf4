//! Watches: ordered, unique, without gaps, whole revisions, resumable; whatever the consumer or the
//! nodes do.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{bytes, compact, delete, prefix_end, present, put, put_request, text},
    cluster::Cluster,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    api::{
        etcdserverpb::{
            PutRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchResponse, request_op,
            watch_create_request::FilterType,
        },
        mvccpb::{Event, event::EventType},
    },
    wire::{Client, WatchStream},
};
use std::time::Duration;

/// A watch of all keys that begin with "w/", from a revision (0 = now).
fn from(revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes("w/"), range_end: prefix_end("w/"), start_revision: revision, ..Default::default() }
}

async fn message(stream: &mut WatchStream) -> Result<WatchResponse> {
    within("a watch message", SOON, stream.next()).await??.context("the watch stream ended")
}

/// Opens a stream with one watch that stands.
async fn watch(client: &Client, request: WatchCreateRequest) -> Result<WatchStream> {
    let mut stream = client.watch().open();
    stream.create(request).await?;
    let created = message(&mut stream).await?;
    ensure!(created.created && !created.canceled && created.events.is_empty(), "{created:?}");
    Ok(stream)
}

/// At least `count` events, in whole messages.
async fn events(stream: &mut WatchStream, count: usize) -> Result<Vec<Event>> {
    let mut all = Vec::new();
    while all.len() < count {
        let next = message(stream).await.with_context(|| format!("after {} of {count} events", all.len()))?;
        ensure!(!next.canceled, "cancelled: {next:?}");
        all.extend(next.events);
    }
    Ok(all)
}

async fn silent(stream: &mut WatchStream) -> Result<()> {
    match within("silence", Duration::from_millis(500), stream.next()).await {
        Err(_) => Ok(()),
        Ok(next) => anyhow::bail!("expected nothing, got {next:?}"),
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn value_of(event: &Event) -> String {
    event.kv.as_ref().map_or_else(String::new, |kv| text(&kv.value))
}

/// Values "0", "1", … as the tests write them one after another.
fn in_order(events: &[Event], from: usize) -> Result<()> {
    for (i, event) in events.iter().enumerate() {
        ensure!(value_of(event) == (from + i).to_string(), "event {i} is {event:?}, expected {}", from + i);
    }
    Ok(())
}

/// Writes the values `from..to` under "w/", many at a time but in this order of revisions.
async fn write(client: &Client, range: std::ops::Range<usize>) -> Result<()> {
    for i in range {
        put(client, &format!("w/{}", i % 7), &i.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn history_then_live_without_a_seam() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    write(&cluster.client(0)?, 0..1500).await?;
    let mut streams = Vec::new();
    for i in 0..3 {
        streams.push(watch(&cluster.client(i)?, from(1)).await?);
    }
    // Goes on while the watches catch up.
    write(&cluster.client(1)?, 1500..2000).await?;
    for stream in &mut streams {
        let all = events(stream, 2000).await?;
        assert_eq!(all.len(), 2000);
        in_order(&all, 0)?;
        silent(stream).await?;
    }
    Ok(())
}

#[tokio::test]
async fn from_now_and_from_the_future() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    write(&client, 0..3).await?;
    let now = present(&client).await?;
    let mut live = watch(&cluster.client(1)?, from(0)).await?;
    let mut future = watch(&cluster.client(2)?, from(now + 3)).await?;
    write(&client, 3..8).await?;
    in_order(&events(&mut live, 5).await?, 3)?;
    in_order(&events(&mut future, 3).await?, 5)?;
    Ok(())
}

#[tokio::test]
async fn compacted_history_is_told() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    write(&client, 0..5).await?;
    delete(&client, b"w/0").await?;
    let at = present(&client).await?;
    write(&client, 5..8).await?;
    compact(&client, at).await?;
    for i in 0..3 {
        // Compaction is replicated: the other nodes come to it in a moment.
        let told = async || {
            let mut stream = watch(&cluster.client(i)?, from(at - 1)).await?;
            let told = message(&mut stream).await?;
            ensure!(told.canceled && told.compact_revision == at && told.events.is_empty(), "{told:?}");
            Ok(())
        };
        eventually("the word of compaction", SOON, told).await?;
        let mut stream = watch(&cluster.client(i)?, from(at)).await?;
        let all = events(&mut stream, 4).await?;
        assert_eq!((all[0].r#type(), revision_of(&all[0])), (EventType::Delete, at), "the deletion at the compaction");
        in_order(&all[1..], 5)?;
    }
    Ok(())
}

fn transaction(puts: Vec<PutRequest>) -> TxnRequest {
    let op = |put| RequestOp { request: Some(request_op::Request::RequestPut(put)) };
    TxnRequest { success: puts.into_iter().map(op).collect(), ..Default::default() }
}

/// `count` puts of `size` bytes each.
fn large(count: usize, size: usize) -> TxnRequest {
    transaction((0..count).map(|i| put_request(&format!("w/{i:03}"), &"x".repeat(size))).collect())
}

#[tokio::test]
async fn a_revision_comes_whole() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let mut live = watch(&cluster.client(1)?, from(0)).await?;
    let before = present(&client).await?;
    for _ in 0..3 {
        client.kv().txn(large(100, 1000)).await?;
    }
    let mut past = watch(&cluster.client(2)?, from(before + 1)).await?;
    for stream in [&mut live, &mut past] {
        let mut revisions = 0;
        while revisions < 3 {
            let whole = message(stream).await?;
            ensure!(
                whole.events.len() % 100 == 0 && !whole.events.is_empty(),
                "{} events in a message",
                whole.events.len()
            );
            let keys: Vec<_> =
                whole.events.iter().map(|e| (revision_of(e), e.kv.as_ref().map(|kv| kv.key.clone()))).collect();
            ensure!(keys.is_sorted(), "not in the order of the operations");
            revisions += whole.events.len() / 100;
        }
    }
    Ok(())
}

#[tokio::test]
async fn fragments_on_request_only() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    client.kv().txn(large(100, 12_000)).await?;
    let mut pieces = watch(&client, WatchCreateRequest { fragment: true, prev_kv: true, ..from(0) }).await?;
    let mut whole = watch(&client, WatchCreateRequest { prev_kv: true, ..from(0) }).await?;
    // With previous values the one revision is larger than the largest request.
    client.kv().txn(large(100, 12_000)).await?;
    let mut flags = Vec::new();
    let mut seen = 0;
    while seen < 100 {
        let piece = message(&mut pieces).await?;
        flags.push(piece.fragment);
        seen += piece.events.len();
    }
    assert_eq!(seen, 100);
    ensure!(flags.len() > 1, "2.4 MB came in one piece");
    let (last, others) = flags.split_last().context("no message")?;
    ensure!(!last && others.iter().all(|flag| *flag), "fragment flags: {flags:?}");
    let one = message(&mut whole).await?;
    assert_eq!((one.events.len(), one.fragment), (100, false));
    Ok(())
}

#[tokio::test]
async fn previous_values() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let mut live = watch(&cluster.client(1)?, WatchCreateRequest { prev_kv: true, ..from(0) }).await?;
    let first = put(&client, "w/a", "1").await?;
    put(&client, "w/a", "2").await?;
    delete(&client, b"w/a").await?;
    put(&client, "w/a", "3").await?;
    let mut past = watch(&cluster.client(2)?, WatchCreateRequest { prev_kv: true, ..from(first) }).await?;
    for stream in [&mut live, &mut past] {
        let all = events(stream, 4).await?;
        let previous: Vec<_> = all.iter().map(|event| event.prev_kv.as_ref().map(|kv| text(&kv.value))).collect();
        assert_eq!(previous, [None, Some("1".into()), Some("2".into()), None]);
    }
    Ok(())
}

#[tokio::test]
async fn filters() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let filtered = |filter: FilterType| WatchCreateRequest { filters: vec![filter.into()], ..from(0) };
    let mut puts = watch(&client, filtered(FilterType::Nodelete)).await?;
    let mut deletes = watch(&client, filtered(FilterType::Noput)).await?;
    let neither =
        WatchCreateRequest { filters: vec![FilterType::Noput.into(), FilterType::Nodelete.into()], ..from(0) };
    let mut neither = watch(&client, neither).await?;
    put(&client, "w/a", "1").await?;
    delete(&client, b"w/a").await?;
    put(&client, "w/a", "2").await?;
    let all = events(&mut puts, 2).await?;
    assert_eq!(all.iter().map(value_of).collect::<Vec<_>>(), ["1", "2"]);
    let all = events(&mut deletes, 1).await?;
    assert_eq!((all.len(), all[0].r#type()), (1, EventType::Delete));
    silent(&mut neither).await?;
    silent(&mut deletes).await
}

#[tokio::test]
async fn progress_comes_after_everything_before_it() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let mut stream = watch(&cluster.client(1)?, from(0)).await?;
    write(&client, 0..200).await?;
    let written = present(&client).await?;
    let mut seen = 0;
    let mut asked = 0;
    loop {
        stream.request_progress().await?;
        asked += 1;
        let next = message(&mut stream).await?;
        if next.events.is_empty() {
            assert_eq!(next.watch_id, -1, "{next:?}");
            let told = next.header.context("no header")?.revision;
            ensure!(told < written || seen == 200, "progress {told} after {seen} events");
            if told >= written {
                break;
            }
        }
        seen += next.events.len();
        ensure!(asked < 1000, "no progress");
    }
    Ok(())
}

#[tokio::test]
async fn many_watches_on_one_stream() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let mut stream = client.watch().open();
    let one = |key: &str, watch_id| WatchCreateRequest { key: bytes(key), watch_id, ..Default::default() };
    let mut ids = Vec::new();
    for request in [one("a", 0), one("b", 0), one("a", 7), one("c", 0)] {
        stream.create(request).await?;
        let created = message(&mut stream).await?;
        ensure!(created.created && !created.canceled, "{created:?}");
        ids.push(created.watch_id);
    }
    ensure!(ids[2] == 7 && ids.iter().collect::<std::collections::BTreeSet<_>>().len() == 4, "{ids:?}");
    stream.create(one("d", 7)).await?;
    let refused = message(&mut stream).await?;
    ensure!(refused.created && refused.canceled && refused.watch_id == -1, "a taken id: {refused:?}");
    put(&client, "a", "1").await?;
    let mut both = [message(&mut stream).await?.watch_id, message(&mut stream).await?.watch_id];
    both.sort_unstable();
    assert_eq!(both, [ids[0], 7]);
    stream.cancel(ids[0]).await?;
    let cancelled = message(&mut stream).await?;
    ensure!(cancelled.canceled && cancelled.watch_id == ids[0], "{cancelled:?}");
    stream.cancel(4711).await?;
    put(&client, "a", "2").await?;
    put(&client, "c", "3").await?;
    assert_eq!((message(&mut stream).await?.watch_id, message(&mut stream).await?.watch_id), (7, ids[3]));
    silent(&mut stream).await
}

/// Nobody waits for a watcher that does not read, and it misses nothing.
#[tokio::test]
async fn a_slow_consumer_holds_up_nobody() -> Result<()> {
    const WRITES: usize = 1500;
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let mut slow = watch(&client, from(0)).await?;
    let mut quick = watch(&client, from(0)).await?;
    let filler = "x".repeat(20_000);
    for i in 0..WRITES {
        put(&client, "w/k", &format!("{i} {filler}")).await?;
        let next = within("an event for who reads", SOON, events(&mut quick, 1)).await??;
        ensure!(next.len() == 1 && value_of(&next[0]).starts_with(&format!("{i} ")), "event {i} is another");
    }
    let all = events(&mut slow, WRITES).await?;
    for (i, event) in all.iter().enumerate() {
        ensure!(value_of(event).starts_with(&format!("{i} ")), "the slow one's event {i} is another");
    }
    assert_eq!(all.len(), WRITES);
    Ok(())
}

/// Through a node that stays, the leader's death is invisible; through the one that dies, a client
/// resumes where it was.
#[tokio::test]
async fn across_restarts() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let victim = cluster.leader().await?;
    let stays = (victim + 1) % 3;
    let writer = cluster.client(stays)?;
    let mut at_survivor = watch(&writer, from(0)).await?;
    let mut at_victim = watch(&cluster.client(victim)?, from(0)).await?;
    write(&writer, 0..50).await?;
    let first = events(&mut at_victim, 50).await?;
    in_order(&first, 0)?;
    cluster.node(victim).kill()?;
    let ended = within("the end of a stream", SOON, at_victim.next()).await?;
    ensure!(!matches!(ended, Ok(Some(_))), "a dead node says {ended:?}");
    cluster.leader_other_than(victim).await?;
    // The first write may still be refused.
    eventually("a write", SOON, async || put(&writer, "w/0", "50").await).await?;
    write(&writer, 51..100).await?;
    cluster.restart(victim).await?;
    let resume = revision_of(first.last().context("no event")?) + 1;
    let mut resumed = watch(&cluster.client(victim)?, from(resume)).await?;
    write(&writer, 100..120).await?;
    let (rest, all) = (events(&mut resumed, 70).await?, events(&mut at_survivor, 120).await?);
    in_order(&rest, 50)?;
    in_order(&all, 0)?;
    Ok(())
}

/// A node that was stopped so long that it needs a snapshot leaves its watchers without a gap.
#[tokio::test]
async fn across_a_snapshot() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &["--snapshot-count", "100"]).await?;
    let leader = cluster.leader().await?;
    let sleeper = (leader + 1) % 3;
    let writer = cluster.client(leader)?;
    let mut stream = watch(&cluster.client(sleeper)?, from(0)).await?;
    write(&writer, 0..20).await?;
    in_order(&events(&mut stream, 20).await?, 0)?;
    cluster.node(sleeper).pause()?;
    write(&writer, 20..6000).await?;
    cluster.node(sleeper).resume()?;
    let rest = within("the rest", LONG, events(&mut stream, 5980)).await??;
    in_order(&rest, 20)?;
    ensure!(cluster.node(sleeper).life()?.contains("receiving a snapshot"), "it caught up, but not by a snapshot");
    write(&writer, 6000..6010).await?;
    in_order(&events(&mut stream, 10).await?, 6000)?;
    Ok(())
}
