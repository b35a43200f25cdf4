//! Snapshots of Conclave and of etcd, restored into a new cluster of Conclave.
//!
//! The tests with etcd 3.7 need Go (`scripts/etcd-tools`); where it is missing they say so and
//! pass.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{self, all, bytes, present},
    cluster::Cluster,
    conclavectl::{Ctl, Ended},
    etcd::Server,
    etcd_tools::{enable_users, run, tools, users_are_checked},
    etcdctl::Etcdctl,
    status::{PATIENCE, metric},
    wait::{LONG, SOON, eventually},
};
use conclave_client::api::etcdserverpb::{LeaseTimeToLiveRequest, StatusRequest};
use conclave_client::wire::Client;
use std::path::Path;

const AS_IT_IS: [&str; 3] = ["--bump-revision", "0", "--mark-compacted=false"];

/// Runs `conclavectl snapshot restore` for member `i` of a cluster that is not started.
async fn restore(cluster: &mut Cluster, i: usize, file: &Path, flags: &[&str]) -> Result<Ended> {
    let args = cluster.node(i).args().to_vec();
    let mut given = vec!["snapshot", "restore", file.to_str().context("a path")?];
    for flag in
        ["--name", "--data-dir", "--initial-cluster", "--initial-cluster-token", "--initial-advertise-peer-urls"]
    {
        let at = args.iter().position(|arg| arg == flag).context("a flag")?;
        given.extend([flag, &args[at + 1]]);
    }
    Ctl::new(&[]).run(&[&given, flags].concat()).await
}

/// Restores all members and starts them.
async fn restored(size: usize, file: &Path, flags: &[&str]) -> Result<Cluster> {
    let mut cluster = Cluster::plan(size, &[])?;
    for i in 0..size {
        let ended = restore(&mut cluster, i, file, flags).await?;
        ensure!(ended.code == Some(0), "{ended:?}");
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    Ok(cluster)
}

/// Keys with history, deletions, a lease and a compaction; gives the lease.
async fn fill(cluster: &Cluster) -> Result<i64> {
    let client = cluster.client(0)?;
    let lease = client::grant(&client, 600).await?;
    client::put_leased(&client, "with a lease", "v", lease).await?;
    for n in 0..60 {
        client::put(&client, &format!("k{}", n % 7), &format!("v{n}")).await?;
        if n % 5 == 0 {
            client::delete(&client, format!("k{}", (n + 3) % 7).as_bytes()).await?;
        }
        if n == 30 {
            client::compact(&client, present(&client).await? - 10).await?;
        }
    }
    Ok(lease)
}

/// Every read of a restored etcd is answered as etcd answers it: key by key, revision by revision.
async fn reads_are_the_same(etcd: &Cluster, save: impl AsyncFnOnce(&str) -> Result<()>) -> Result<()> {
    let lease = fill(etcd).await?;
    let file = etcd.dir().join("etcd.db");
    save(file.to_str().context("a path")?).await?;
    let (theirs, cluster) = (etcd.client(0)?, restored(3, &file, &AS_IT_IS).await?);
    let revision = present(&theirs).await?;
    for i in 0..3 {
        let ours = cluster.client(i)?;
        assert_eq!(present(&ours).await?, revision);
        let mut readable = 0;
        for at in 1..=revision {
            match (all(&theirs, at).await, all(&ours, at).await) {
                (Ok(theirs), Ok(ours)) => {
                    assert_eq!(ours, theirs, "revision {at}");
                    readable += 1;
                }
                (Err(theirs), Err(ours)) => assert_eq!(ours.to_string(), theirs.to_string(), "revision {at}"),
                (theirs, ours) => anyhow::bail!("revision {at}: {theirs:?} and {ours:?}"),
            }
        }
        ensure!(readable > 30 && readable < revision, "{readable} of {revision} revisions can be read");
    }
    let life = cluster.client(1)?.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
    assert_eq!((life.granted_ttl, life.keys), (600, vec![bytes("with a lease")]));
    // The lease is alive, and its end ends the key.
    client::revoke(&cluster.client(2)?, lease).await?;
    assert_eq!(client::get(&cluster.client(0)?, "with a lease").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_snapshot_of_etcd_3_4() -> Result<()> {
    let etcd = Server::Etcd.start(1).await?;
    let save = async |file: &str| Etcdctl::new(&etcd.endpoints()).ok(&["snapshot", "save", file]).await.map(drop);
    reads_are_the_same(&etcd, save).await
}

#[tokio::test]
async fn a_snapshot_of_etcd_3_7() -> Result<()> {
    let Some(tools) = tools()? else { return Ok(()) };
    let mut etcd = Cluster::plan(1, &[])?;
    etcd.node(0).set_binary(tools.join("etcd"));
    etcd.spawn_all()?;
    etcd.ready_all().await?;
    let save = async |file: &str| Ctl::new(&etcd.endpoints()).ok(&["snapshot", "save", file]).await.map(drop);
    reads_are_the_same(&etcd, save).await
}

/// Users of etcd 3.7 are checked after the restore as before; so are they after a restore of what
/// was restored.
#[tokio::test]
async fn users_of_etcd_3_7() -> Result<()> {
    let Some(tools) = tools()? else { return Ok(()) };
    let mut etcd = Cluster::plan(1, &[])?;
    etcd.node(0).set_binary(tools.join("etcd"));
    etcd.spawn_all()?;
    etcd.ready_all().await?;
    enable_users(&tools, &etcd.endpoints())?;
    users_are_checked(&tools, &etcd.endpoint(0))?;
    let save = |from: &Cluster, name: &str| {
        let file = from.dir().join(name);
        let to = file.to_str().context("a path")?.to_owned();
        run(&tools.join("etcdctl"), &["--endpoints", &from.endpoint(0), "--user=root:r", "snapshot", "save", &to])?;
        anyhow::Ok(file)
    };
    let file = save(&etcd, "etcd.db")?;
    let said = restore(&mut Cluster::plan(1, &[])?, 0, &file, &[]).await?;
    let told = "3 users and 2 roles were restored; authentication is ON";
    ensure!(said.code == Some(0) && said.stdout.contains(told), "{said:?}");
    let first = restored(1, &file, &AS_IT_IS).await?;
    users_are_checked(&tools, &first.endpoint(0))?;
    let second = restored(1, &save(&first, "conclave.db")?, &[]).await?;
    users_are_checked(&tools, &second.endpoint(0))?;
    Ok(())
}

/// The database of a stopped etcd, which has no hash behind it.
#[tokio::test]
async fn a_file_of_a_stopped_etcd() -> Result<()> {
    let mut etcd = Server::Etcd.start(1).await?;
    let lease = fill(&etcd).await?;
    let before = all(&etcd.client(0)?, 0).await?;
    // etcd stores what it has and then ends itself by the signal, which counts as a failure here.
    let _ = etcd.terminate_all().await;
    let file = etcd.data_dir(0).join("member/snap/db");
    let refused = restore(&mut Cluster::plan(1, &[])?, 0, &file, &[]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("--skip-hash-check"), "{refused:?}");
    let cluster = restored(1, &file, &["--skip-hash-check"]).await?;
    let client = cluster.client(0)?;
    assert_eq!(all(&client, 0).await?, before);
    let life = client.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
    assert_eq!(life.granted_ttl, 600);
    Ok(())
}

/// Three members restore a snapshot of Conclave: no revision comes again, and no place in a queue
/// keeps its fence.
#[tokio::test]
async fn a_snapshot_of_conclave() -> Result<()> {
    let original = Cluster::start(3).await?;
    let lease = fill(&original).await?;
    let client = original.client(0)?;
    let (first, second) = (client::grant(&client, 600).await?, client::grant(&client, 600).await?);
    let key = client::lock(&client, "a lock", first).await?;
    client::enqueue_by_recipe(&client, "a lock", second, "").await?;
    let file = original.dir().join("snapshot.db");
    Ctl::new(&original.endpoints()).ok(&["snapshot", "save", file.to_str().context("a path")?]).await?;
    let revision = present(&client).await?;
    let before: Vec<_> = all(&client, 0).await?.into_iter().filter(|kv| !kv.key.starts_with(b"a lock/")).collect();

    let mut cluster = restored(3, &file, &[]).await?;
    let raised = revision + 1_000_000_000;
    for i in 0..3 {
        let client = cluster.client(i)?;
        let found = all(&client, 0).await?;
        let (places, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|kv| kv.key.starts_with(b"a lock/"));
        assert_eq!(rest, before, "member {i}");
        let fence = |lease| {
            let key = client::queue_key("a lock", lease);
            places.iter().find(|kv| kv.key == key.as_bytes()).map(|kv| kv.create_revision)
        };
        let (holder, waiter) = (fence(first).context("the holder")?, fence(second).context("the waiter")?);
        ensure!(raised < holder && holder < waiter, "{raised} {holder} {waiter}");
        ensure!(present(&client).await? > raised);
        ensure!(all(&client, revision).await.is_err(), "compacted");
    }
    let client = cluster.client(0)?;
    let life = client.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
    assert_eq!((life.granted_ttl, life.keys), (600, vec![bytes("with a lease")]));
    client::unlock(&client, &key).await?;
    // It is a cluster like any other: it loses a member, goes on, and starts again as a whole.
    cluster.node(1).kill()?;
    let client = cluster.client(0)?;
    eventually("two members serve", SOON, async || client::put(&client, "new", "v").await).await?;
    cluster.kill_all()?;
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    ensure!(client::get(&cluster.client(1)?, "new").await?.is_some());
    let again = cluster.dir().join("again.db");
    let ctl = Ctl::new(&cluster.endpoints());
    ctl.ok(&["snapshot", "save", again.to_str().context("a path")?]).await?;
    ctl.ok(&["snapshot", "verify", again.to_str().context("a path")?]).await?;
    Ok(())
}

/// A directory in use, and files that are damaged or something else: an error, and nothing is left.
#[tokio::test]
async fn what_cannot_be_restored_leaves_nothing() -> Result<()> {
    let original = Cluster::start(1).await?;
    fill(&original).await?;
    let file = original.dir().join("snapshot.db");
    Ctl::new(&original.endpoints()).ok(&["snapshot", "save", file.to_str().context("a path")?]).await?;
    let sound = std::fs::read(&file)?;
    let mut cluster = Cluster::plan(1, &[])?;
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 4;
    let cut = sound[..sound.len() / 2].to_vec();
    for (name, bytes) in
        [("flipped", flipped), ("cut", cut), ("foreign", b"not a snapshot".repeat(99)), ("empty", vec![])]
    {
        let bad = cluster.dir().join(name);
        std::fs::write(&bad, bytes)?;
        for flags in [&[][..], &["--skip-hash-check"]] {
            let ended = restore(&mut cluster, 0, &bad, flags).await?;
            if name == "flipped" && !flags.is_empty() {
                // Without the hash a flipped bit may be in a value, where nobody can tell.
                continue;
            }
            ensure!(ended.code == Some(1) && ended.stderr.contains(name), "{name}: {ended:?}");
        }
        if name == "flipped" {
            let _ = std::fs::remove_dir_all(cluster.data_dir(0));
        }
        let left: Vec<_> =
            std::fs::read_dir(cluster.dir())?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>()?;
        ensure!(!left.iter().any(|left| left.to_string_lossy().starts_with("n1")), "{left:?}");
    }
    let ended = restore(&mut cluster, 0, &file, &[]).await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let again = restore(&mut cluster, 0, &file, &[]).await?;
    ensure!(again.code == Some(1) && again.stderr.contains("is not empty"), "{again:?}");
    let flags = restore(&mut cluster, 0, &file, &["--no-such-flag"]).await?;
    ensure!(flags.code == Some(128), "{flags:?}");
    Ok(())
}

/// Two of three directories are gone for good: the third goes on as a cluster of one, with every
/// acknowledged key and larger revisions.
#[tokio::test]
async fn a_lost_majority_is_recovered() -> Result<()> {
    let mut original = Cluster::start(3).await?;
    let lease = fill(&original).await?;
    let client = original.client(1)?;
    for n in 0..50 {
        client::put(&client, &format!("late/{n}"), "v").await?;
    }
    let (before, revision) = (all(&client, 0).await?, present(&client).await?);
    eventually("member 2 has applied it", SOON, async || {
        ensure!(present(&original.client(2)?).await? == revision);
        Ok(())
    })
    .await?;
    original.kill_all()?;
    original.wipe(0)?;
    original.wipe(1)?;
    let survivor = original.data_dir(2);
    let mut alone = Cluster::plan(1, &[])?;
    let to = alone.data_dir(0);
    let args = alone.node(0).args().to_vec();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].clone()).context("a flag");
    let ran = std::process::Command::new(cluster_tests::process::binary())
        .args(["recover", "--data-dir"])
        .arg(&survivor)
        .arg("--to")
        .arg(&to)
        .args(["--name", &value("--name")?, "--initial-cluster-token", &value("--initial-cluster-token")?])
        .args(["--initial-advertise-peer-urls", &value("--initial-advertise-peer-urls")?])
        .output()?;
    let said = String::from_utf8(ran.stdout)?;
    ensure!(ran.status.success(), "{said} {}", String::from_utf8_lossy(&ran.stderr));
    ensure!(said.contains("taken: ") && said.contains("count from now on"), "{said}");
    alone.spawn_all()?;
    alone.ready_all().await?;
    let client = alone.client(0)?;
    assert_eq!(all(&client, 0).await?, before);
    ensure!(present(&client).await? > revision);
    ensure!(client::put(&client, "new", "v").await? > revision);
    let life = client.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
    assert_eq!((life.granted_ttl, life.keys), (600, vec![bytes("with a lease")]));
    let left: Vec<_> = std::fs::read_dir(alone.dir())?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    ensure!(left.iter().all(|name| name == "n1" || name == "n1.log"), "{left:?}");
    Ok(())
}

/// The names of finished backups in a directory, oldest first.
fn backups_in(dir: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.retain(|name| name.ends_with(".db"));
    names.sort();
    Ok(names)
}

/// Three members make backups one at a time, keep the newest, and go on without one of them; a new
/// cluster starts from one.
#[tokio::test]
async fn backups_on_a_schedule_and_a_start_from_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = format!("--backup-dir=file://{}", dir.path().display());
    let mut cluster = Cluster::start_with(3, &[&target, "--backup-interval=1s", "--backup-retention=3"]).await?;
    let client = cluster.client_of_all()?;
    client::put(&client, "a key", "its value").await?;
    let revision = present(&client).await?;
    let revision_of = |name: &str| name.split("-r").nth(1)?.split('-').next()?.parse::<i64>().ok();
    let newer_than = async |old: i64| {
        eventually("a backup of what was written", LONG, async || {
            let newest = backups_in(dir.path())?.pop().context("no backup")?;
            ensure!(revision_of(&newest).context(newest.clone())? > old, "{newest}");
            Ok(newest)
        })
        .await
    };
    newer_than(revision - 1).await?;
    // Enough of them that some are too old, each at a time of its own.
    let times = std::cell::RefCell::new(std::collections::BTreeSet::new());
    eventually("five backups", LONG, async || {
        let names = backups_in(dir.path())?;
        ensure!(names.len() <= 4, "{names:?}");
        let mut times = times.borrow_mut();
        times.extend(names.into_iter().map(|name| name.split("-r").next().map(str::to_owned)));
        ensure!(times.len() >= 5, "{times:?}");
        Ok(())
    })
    .await?;
    // A file has its name a moment before it is counted.
    eventually("five backups that are counted", LONG, async || {
        let mut made = 0.0;
        for i in 0..3 {
            made += metric(&cluster.endpoint(i), "conclave_backups_total", PATIENCE)?;
        }
        ensure!(made >= 5.0, "{made}");
        Ok(())
    })
    .await?;
    for i in 0..3 {
        ensure!(metric(&cluster.endpoint(i), "conclave_backup_last_success_timestamp_seconds", PATIENCE)? > 1.7e9);
        ensure!(metric(&cluster.endpoint(i), "conclave_backup_failures_total", PATIENCE)? == 0.0);
    }
    // Without a member, whichever it is.
    let leader = cluster.leader().await?;
    cluster.node(leader).kill()?;
    let client = cluster.client((leader + 1) % 3)?;
    eventually("a write", LONG, async || client::put(&client, "later", "value").await).await?;
    let newest = newer_than(present(&client).await? - 1).await?;
    let file = cluster.dir().join("kept.db");
    // Another one may have come, and this one gone.
    let newest = if dir.path().join(&newest).exists() { newest } else { newer_than(0).await? };
    std::fs::copy(dir.path().join(newest), &file)?;
    let ctl = Ctl::new(&[]);
    ctl.ok(&["snapshot", "verify", file.to_str().context("a path")?]).await?;

    let damaged = cluster.dir().join("damaged.db");
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes)?;
    let refused = Cluster::start_with(1, &[&format!("--restore-from={}", damaged.display())]).await;
    ensure!(refused.is_err(), "it started from a damaged file");
    let mut next = Cluster::start_with(3, &[&format!("--restore-from={}", file.display())]).await?;
    for i in 0..3 {
        let found = client::get(&next.client(i)?, "later").await?.context("the key")?;
        assert_eq!(found.value, "value");
    }
    client::put(&next.client(0)?, "after", "v").await?;
    next.restart(1).await?;
    ensure!(client::get(&next.client(1)?, "after").await?.is_some());
    ensure!(next.node(1).tail(200).contains("--restore-from is ignored"), "{}", next.node(1).tail(200));
    Ok(())
}

/// The same at the start of the member that is left, in its own directory, and once.
#[tokio::test]
async fn a_survivor_becomes_a_cluster_of_its_own_when_it_is_forced() -> Result<()> {
    const FLAG: &str = "--force-new-cluster";
    let mut cluster = Cluster::start(3).await?;
    fill(&cluster).await?;
    let client = cluster.client(2)?;
    let (before, revision) = (all(&client, 0).await?, present(&client).await?);
    let id = async |client: &Client| {
        let status = client.maintenance().status(StatusRequest {}).await?;
        anyhow::Ok(status.header.context("a header")?.cluster_id)
    };
    let old = id(&client).await?;
    cluster.kill_all()?;
    cluster.wipe(0)?;
    cluster.wipe(1)?;
    for i in [0, 2] {
        let args = [cluster.node(i).args(), &[FLAG.to_owned()][..]].concat();
        cluster.node(i).set_args(args);
        cluster.node(i).spawn()?;
    }
    ensure!(!cluster.node(0).exit(LONG).await?.success(), "an empty directory was forced");
    ensure!(cluster.node(0).life()?.contains("is empty"), "without a reason");
    cluster.node(2).ready(LONG).await?;
    assert_eq!(all(&client, 0).await?, before);
    ensure!(client::put(&client, "new", "v").await? > revision, "revisions went back");
    let new = id(&client).await?;
    ensure!(new != old, "the same cluster");
    ensure!(cluster.data_dir(2).join("OLD-CLUSTER/IDENTITY").exists(), "the old data is gone");
    // The flag still stands: it is harmless.
    cluster.restart(2).await?;
    ensure!(cluster.node(2).life()?.contains("was done before"), "{}", cluster.node(2).life()?);
    ensure!(id(&client).await? == new && client::get(&client, "new").await?.is_some(), "it was done again");
    // And without it the member is what it is now.
    let args = cluster.node(2).args().iter().filter(|arg| *arg != FLAG).cloned().collect();
    cluster.node(2).set_args(args);
    cluster.restart(2).await?;
    ensure!(id(&client).await? == new && client::get(&client, "new").await?.is_some(), "after a start without it");
    Ok(())
}
