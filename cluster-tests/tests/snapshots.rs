//! Snapshots of a running cluster: saved by etcdctl and by conclavectl, read and restored by etcd's
//! own tools.
//!
//! The tests with etcd 3.7 need Go (`scripts/etcd-tools`); where it is missing they say so and
//! pass.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{self, all, bytes, present},
    cluster::{Address, Cluster, arguments, initial_cluster},
    conclavectl::Ctl,
    etcd_tools::{enable_users, run, tools, users_are_checked},
    etcdctl::Etcdctl,
    process::Process,
    wait::{LONG, SOON, eventually},
};
use conclave_client::api::etcdserverpb::LeaseTimeToLiveRequest;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::JoinSet;

/// Writers that go on until they are stopped.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    fn start(cluster: &Cluster, count: usize) -> Result<Writers> {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for writer in 0..count {
            let (client, stop) = (cluster.client(writer % cluster.size())?, stop.clone());
            tasks.spawn(async move {
                for n in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("load/{writer}/{}", n % 50);
                    client::put(&client, &key, &format!("{n}")).await?;
                    if n % 9 == 0 {
                        client::delete(&client, key.as_bytes()).await?;
                    }
                }
                Ok(())
            });
        }
        Ok(Writers { stop, tasks })
    }

    async fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done??;
        }
        Ok(())
    }
}

/// Each member gives a sound snapshot, to etcdctl 3.4 and to conclavectl, while it is written to.
#[tokio::test]
async fn every_member_gives_one_under_load() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let writers = Writers::start(&cluster, 6)?;
    for i in 0..3 {
        let endpoint = [cluster.endpoint(i)];
        let path = |name: &str| cluster.dir().join(format!("{name}-{i}.db")).display().to_string();
        let (theirs, ours) = (path("etcdctl"), path("conclavectl"));
        let said = Etcdctl::new(&endpoint).ok(&["snapshot", "save", &theirs]).await?;
        ensure!(said.contains("Snapshot saved at"), "{said}");
        let ctl = Ctl::new(&endpoint);
        let said = ctl.ok(&["snapshot", "save", &ours]).await?;
        assert_eq!(said, format!("Snapshot saved at {ours}\nServer version 3.6.0"));
        for file in [&theirs, &ours] {
            let verified = ctl.json(&["snapshot", "verify", file]).await?;
            let status = ctl.json(&["snapshot", "status", file]).await?;
            assert_eq!((&verified["keys"], &verified["revision"]), (&status["totalKey"], &status["revision"]));
            assert_eq!(verified["conclave"], true);
            // Debian's etcdctl counts pairs of all buckets, and finds the same revision and size.
            let by_etcdctl = Etcdctl::new(&endpoint).json(&["snapshot", "status", file]).await?;
            assert_eq!(by_etcdctl["revision"], status["revision"]);
            assert_eq!(by_etcdctl["hash"], status["hash"]);
        }
    }
    writers.stop().await?;
    let left: Vec<_> = std::fs::read_dir(cluster.dir())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    ensure!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
    Ok(())
}

/// A member of etcd 3.7 that runs on a restored file, and its endpoint.
async fn etcd_on(tools: &Path, cluster: &Cluster, file: &str) -> Result<(Process, String)> {
    let address = [Address::new("m1")?];
    let (members, data) = (initial_cluster(&address), cluster.dir().join("restored").display().to_string());
    let peer = address[0].peer_url();
    let restore = ["snapshot", "restore", file, "--name", "m1", "--data-dir", &data];
    let bootstrap = ["--initial-cluster", &members, "--initial-advertise-peer-urls", &peer];
    let token = ["--initial-cluster-token", "t"];
    run(&tools.join("etcdutl"), &[&restore[..], &bootstrap, &token].concat())?;
    let mut etcd =
        Process::new(arguments(&address[0], Path::new(&data), &members, "t", &[]), cluster.dir().join("etcd.log"));
    etcd.set_binary(tools.join("etcd"));
    etcd.spawn()?;
    etcd.ready(LONG).await?;
    Ok((etcd, address[0].endpoint()))
}

/// etcd 3.7 restores the file, and then checks the users of the cluster by their passwords and
/// roles.
#[tokio::test]
async fn etcd_checks_the_same_users() -> Result<()> {
    let Some(tools) = tools()? else { return Ok(()) };
    let cluster = Cluster::start_with(1, &["--bcrypt-cost=4"]).await?;
    enable_users(&tools, &cluster.endpoints())?;
    users_are_checked(&tools, &cluster.endpoint(0))?;
    let file = cluster.dir().join("snapshot.db").display().to_string();
    let from = cluster.endpoint(0);
    run(&tools.join("etcdctl"), &["--endpoints", &from, "--user=root:r", "snapshot", "save", &file])?;
    let (mut etcd, endpoint) = etcd_on(&tools, &cluster, &file).await?;
    users_are_checked(&tools, &endpoint)?;
    etcd.kill()?;
    Ok(())
}

/// etcd 3.7 restores the file and answers each read as the cluster does: key by key, revision by
/// revision, with its leases.
#[tokio::test]
async fn etcd_runs_on_it() -> Result<()> {
    let Some(tools) = tools()? else { return Ok(()) };
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(1)?;
    let lease = client::grant(&client, 600).await?;
    client::put_leased(&client, "with a lease", "v", lease).await?;
    let session = client::grant(&client, 600).await?;
    client::lock(&client, "a lock", session).await?;
    for n in 0..40 {
        client::put(&client, &format!("k{}", n % 10), &format!("v{n}")).await?;
    }
    client::delete(&client, b"k3").await?;
    let compacted = present(&client).await? - 20;
    client::compact(&client, compacted).await?;
    let writers = Writers::start(&cluster, 6)?;
    let path = |name: &str| cluster.dir().join(name).display().to_string();
    let file = path("snapshot.db");
    run(&tools.join("etcdctl"), &["--endpoints", &cluster.endpoint(2), "snapshot", "save", &file])?;
    writers.stop().await?;

    let status: serde_json::Value =
        serde_json::from_str(&run(&tools.join("etcdutl"), &["snapshot", "status", &file, "-w", "json"])?)?;
    assert_eq!(status, Ctl::new(&cluster.endpoints()).json(&["snapshot", "status", &file]).await?);
    let revision = status["revision"].as_i64().context("a revision")?;

    let (mut etcd, endpoint) = etcd_on(&tools, &cluster, &file).await?;
    let restored = client::connect(&[endpoint])?;
    assert_eq!(present(&restored).await?, revision, "exactly one revision's state");
    for at in compacted..=revision {
        assert_eq!(all(&restored, at).await?, all(&client, at).await?, "revision {at}");
    }
    ensure!(all(&restored, compacted - 1).await.is_err(), "compacted");
    let asked = LeaseTimeToLiveRequest { id: lease, keys: true };
    let life = restored.lease().time_to_live(asked).await?;
    assert_eq!((life.granted_ttl, life.keys), (600, vec![bytes("with a lease")]));
    eventually("the restored etcd takes writes", SOON, async || client::put(&restored, "new", "v").await).await?;
    etcd.kill()?;
    Ok(())
}

/// A snapshot and the cluster that it came from, before and after a change; and two files, offline.
#[tokio::test]
async fn what_changed_since_a_snapshot() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let client = cluster.client(0)?;
    let ctl = Ctl::new(&cluster.endpoints());
    let path = |name: &str| cluster.dir().join(name).display().to_string();
    let (a, b) = (path("a.db"), path("b.db"));
    client::put(&client, "stays", "1").await?;
    client::put(&client, "changes", "1").await?;
    ctl.ok(&["snapshot", "save", &a]).await?;
    let same = ctl.json(&["snapshot", "diff", &a, "--live"]).await?;
    assert_eq!((&same["equal"], &same["differences"]), (&true.into(), &serde_json::json!([])));
    client::put(&client, "changes", "2").await?;
    ctl.ok(&["claim", "take", "c", "--holder", "h", "--for", "60s"]).await?;
    ctl.ok(&["snapshot", "save", &b]).await?;
    for other in [&b[..], "--live"] {
        let ended = ctl.run(&["snapshot", "diff", &a, other, "-w", "json"]).await?;
        ensure!(ended.code == Some(1), "{ended:?}");
        let found: serde_json::Value = serde_json::from_str(&ended.stdout)?;
        let differences = found["differences"].as_array().context("a list")?;
        let kinds: Vec<_> = differences.iter().map(|one| (&one["change"], &one["kind"])).collect();
        assert_eq!(kinds, [(&"changed".into(), &"key".into()), (&"added".into(), &"claim".into())], "{found}");
        assert_eq!(differences[0]["what"], serde_json::json!(["value", "revision"]));
        assert_eq!(differences[1]["name"], "default/c");
    }
    let table = ctl.run(&["snapshot", "diff", &a, &b]).await?;
    ensure!(table.stdout.contains("changed  key    changes"), "{}", table.stdout);
    let server = |args: &[&str]| std::process::Command::new(cluster_tests::process::binary()).args(args).output();
    let offline = server(&["snapshot", "diff", &a, &b])?;
    ensure!(offline.status.code() == Some(1) && offline.stdout.starts_with(b"A revision"), "{offline:?}");
    ensure!(server(&["snapshot", "diff", &a, &a])?.status.success());
    std::fs::write(&b, "no snapshot")?;
    let bad = ctl.run(&["snapshot", "diff", &a, &b]).await?;
    ensure!(bad.code == Some(3), "{bad:?}");
    Ok(())
}
