//! `make-mirror` and `migrate`, between Conclave and stock etcd, while the source is written.

use anyhow::{Result, ensure};
use cluster_tests::{
    client::{self, all, present},
    cluster::Cluster,
    conclavectl::{Ctl, Running},
    etcd::Server,
    etcd_tools::tools,
    wait::{LONG, SOON, eventually},
};
use conclave_client::{
    api::{etcdserverpb::LeaseTimeToLiveRequest, mvccpb::KeyValue},
    wire::Client,
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// One member of another etcd.
async fn etcd(binary: PathBuf) -> Result<Cluster> {
    let mut cluster = Cluster::plan(1, &[])?;
    cluster.node(0).set_binary(binary);
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    Ok(cluster)
}

/// Writes and deletes until it is told to stop; gives the number of writes.
fn writer(client: Client, name: &'static str, stop: Arc<AtomicBool>) -> JoinHandle<Result<u32>> {
    tokio::spawn(async move {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            let key = format!("{name}/{}", written % 49);
            match written % 5 {
                4 => drop(client::delete(&client, key.as_bytes()).await?),
                _ => drop(client::put(&client, &key, &format!("v{written}")).await?),
            }
            written += 1;
        }
        Ok(written)
    })
}

/// Keys with what a migration carries of them: value and lease.
fn carried(kvs: Vec<KeyValue>) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
    let own = |kv: &KeyValue| !kv.key.starts_with(b"/_conclave/") && kv.key != b"conclave-mirror"[..];
    let one = |kv: KeyValue| (kv.key.to_vec(), (kv.value.to_vec(), kv.lease));
    kvs.into_iter().filter(own).map(one).collect()
}

async fn contents(of: &Cluster) -> Result<BTreeMap<Vec<u8>, (Vec<u8>, i64)>> {
    Ok(carried(all(&of.client(0)?, 0).await?))
}

fn migrate(from: &Cluster, to: &Cluster, flags: &[&str]) -> Result<Running> {
    let (from, to) = (from.endpoint(0), to.endpoint(0));
    Ctl::new(&["127.0.0.1:1".into()])
        .start(&[&["migrate", "--from", &from, "--to", &to, "--interval", "100ms"], flags].concat())
}

/// Everything is carried under writes, over a `kill -9` and a compaction; and it says when to
/// switch.
async fn migrated_under_writes(from: &Cluster, to: &Cluster) -> Result<()> {
    let source = from.client(0)?;
    for n in 0..150 {
        client::put(&source, &format!("base/{n:03}"), &"x".repeat(n * 20)).await?;
    }
    let lease = client::grant(&source, 600).await?;
    client::put_leased(&source, "leased", "v", lease).await?;
    let short = client::grant(&source, 600).await?;
    client::put_leased(&source, "ends with its lease", "v", short).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = ["w", "x"].map(|name| writer(source.clone(), name, stop.clone()));

    let mut running = migrate(from, to, &[])?;
    running.line_with("lag", LONG).await?;
    running.signal(Signal::KILL)?;
    running.ended(SOON).await?;
    // What happens meanwhile is found by comparing: keys that went, and history that is gone.
    client::delete(&source, b"base/007").await?;
    client::revoke(&source, short).await?;
    let now = present(&source).await?;
    client::compact(&source, now).await?;

    let refused = Ctl::new(&to.endpoints()).run(&["migrate", "--from", &from.endpoint(0)]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("nothing was written"), "{refused:?}");
    let mut running = migrate(from, to, &["--prune"])?;
    running.line_with("lag", LONG).await?;
    running.signal(Signal::USR1)?;
    // It does not end while the source is written, however small the lag is.
    let written = present(&source).await?;
    running.line_with("lag", LONG).await?;
    eventually("writes", SOON, async || {
        ensure!(present(&source).await? > written + 20);
        Ok(())
    })
    .await?;
    running.says("both sides are the same at revision", LONG).await?;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        ensure!(writer.await?? > 20);
    }
    running.line_with("Switch now", LONG).await?;
    ensure!(running.ended(SOON).await?.success());
    let said = running.said().await?;
    // Under writes, and after them.
    ensure!(said.matches("both sides are the same at revision").count() >= 2, "{said}");

    let (theirs, ours) = (contents(from).await?, contents(to).await?);
    assert_eq!(ours, theirs);
    ensure!(
        ours.len() > 150 && !ours.contains_key(&b"base/007"[..]) && !ours.contains_key(&b"ends with its lease"[..])
    );
    assert_eq!(ours[&b"leased"[..]].1, lease);
    let mark = client::get(&to.client(0)?, "conclave-mirror").await?;
    ensure!(mark.is_none(), "{mark:?}");
    let life = to.client(0)?.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
    ensure!(life.granted_ttl == 600 && life.ttl > 500 && life.keys == [client::bytes("leased")], "{life:?}");
    Ok(())
}

#[tokio::test]
async fn from_etcd_3_4_and_back() -> Result<()> {
    let (etcd, conclave) = (Server::Etcd.start(1).await?, Cluster::start(1).await?);
    migrated_under_writes(&etcd, &conclave).await?;
    // Elections of Conclave's own stay behind.
    let ctl = Ctl::new(&conclave.endpoints());
    ctl.ok(&["claim", "take", "c", "--holder", "h", "--for", "60s"]).await?;
    let back = Server::Etcd.start(1).await?;
    migrated_under_writes(&conclave, &back).await
}

#[tokio::test]
async fn from_etcd_3_7_and_back() -> Result<()> {
    let Some(tools) = tools()? else { return Ok(()) };
    let (there, conclave) = (etcd(tools.join("etcd")).await?, Cluster::start(1).await?);
    migrated_under_writes(&there, &conclave).await?;
    let back = etcd(tools.join("etcd")).await?;
    migrated_under_writes(&conclave, &back).await
}

/// Prefixes, revisions, history that is gone, and a second mirror.
#[tokio::test]
async fn a_mirror_as_of_etcdctl() -> Result<()> {
    let (conclave, etcd) = (Cluster::start(1).await?, Server::Etcd.start(1).await?);
    let (ours, theirs) = (conclave.client(0)?, etcd.client(0)?);
    let ctl = Ctl::new(&conclave.endpoints());
    let to = etcd.endpoint(0);
    for n in 0..10 {
        client::put(&ours, &format!("a/{n}"), "v").await?;
        client::put(&ours, &format!("b/{n}"), "v").await?;
    }
    client::put(&theirs, "copy/other", "stays").await?;
    let values = async |prefix: &str| {
        let found = client::list(&theirs, prefix).await?;
        Ok::<_, anyhow::Error>(
            found.into_iter().map(|kv| (client::text(&kv.key), client::text(&kv.value))).collect::<BTreeMap<_, _>>(),
        )
    };
    let own = |mirror: &BTreeMap<String, String>| mirror.keys().filter(|key| !key.ends_with("conclave-mirror")).count();

    let args =
        ["make-mirror", &to, "--prefix", "a/", "--dest-prefix", "copy/", "--interval", "100ms", "--max-txn-ops", "4"];
    let mut first = ctl.start(&args)?;
    first.line_with("10", SOON).await?;
    client::put(&ours, "a/1", "new").await?;
    client::delete(&ours, b"a/2").await?;
    eventually("the changes", SOON, async || {
        let mirror = values("copy/").await?;
        ensure!(
            mirror["copy/1"] == "new" && !mirror.contains_key("copy/2") && mirror["copy/other"] == "stays",
            "{mirror:?}"
        );
        ensure!(own(&mirror) == 10);
        Ok(())
    })
    .await?;
    // The second one takes over, and removes what the source has not.
    let mut second = ctl.start(&[&args[..], &["--prune"]].concat())?;
    eventually("the removal", SOON, async || {
        let mirror = values("copy/").await?;
        ensure!(own(&mirror) == 9, "{mirror:?}");
        Ok(())
    })
    .await?;
    client::put(&ours, "a/3", "again").await?;
    let lost = first.ended(SOON).await?;
    assert_eq!(lost.code(), Some(9), "{}", first.said().await?);
    eventually("the change", SOON, async || {
        let mirror = values("copy/").await?;
        ensure!(mirror["copy/3"] == "again", "{mirror:?}");
        Ok(())
    })
    .await?;
    second.signal(Signal::INT)?;
    assert_eq!(second.ended(SOON).await?.code(), Some(130));
    assert_eq!(values("copy/").await?.len(), 9, "the mirror's own key is gone");

    only_what_came_later(&ctl, &ours, &theirs, &to).await?;
    for flags in [&["--dest-prefix", "x", "--no-dest-prefix"][..], &["--rev", "-1"], &["--max-txn-ops", "1"]] {
        let refused = ctl.run(&[&["make-mirror", &to], flags].concat()).await?;
        assert_eq!(refused.code, Some(128), "{refused:?}");
    }
    Ok(())
}

/// From a revision on: history that is gone ends it, and what is there is not carried.
async fn only_what_came_later(ctl: &Ctl, ours: &Client, theirs: &Client, to: &str) -> Result<()> {
    let revision = present(ours).await?;
    client::put(ours, "b/1", "later").await?;
    client::compact(ours, revision).await?;
    let gone = ctl.run(&["make-mirror", to, "--rev", "2"]).await?;
    ensure!(gone.code == Some(1) && gone.stderr.contains("compacted") && gone.stderr.contains("--prune"), "{gone:?}");
    let from = (revision + 1).to_string();
    let mut later = ctl.start(&["make-mirror", to, "--prefix", "b/", "--no-dest-prefix", "--rev", &from])?;
    eventually("what came later, and nothing else", SOON, async || {
        let mirror = carried(all(theirs, 0).await?);
        ensure!(
            mirror.get(&b"1"[..]).is_some_and(|(value, _)| value == b"later") && !mirror.contains_key(&b"0"[..]),
            "{mirror:?}"
        );
        Ok(())
    })
    .await?;
    later.signal(Signal::TERM)?;
    assert_eq!(later.ended(Duration::from_secs(5)).await?.code(), Some(143));
    Ok(())
}
