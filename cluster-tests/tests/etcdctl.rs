//! Debian's `etcdctl` 3.4 against three nodes: every command that exists here, as people use it.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client,
    cluster::Cluster,
    conclavectl::Ctl,
    etcdctl::Etcdctl,
    report,
    wait::{SOON, eventually},
};
use conclave_client::Client;
use std::{os::unix::fs::PermissionsExt as _, time::Duration};

async fn three() -> Result<(Cluster, Etcdctl)> {
    let cluster = Cluster::start(3).await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    Ok((cluster, etcdctl))
}

/// The number in a JSON answer's header.
fn revision(answer: &serde_json::Value) -> Result<i64> {
    answer["header"]["revision"].as_i64().context("no revision in the header")
}

#[tokio::test]
async fn put_and_get() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    assert_eq!(etcdctl.ok(&["put", "a", "1"]).await?, "OK");
    assert_eq!(etcdctl.ok(&["put", "a", "2", "--prev-kv"]).await?, "OK\na\n1");
    assert_eq!(etcdctl.ok_with(&["put", "a"], "from stdin").await?, "OK");
    assert_eq!(etcdctl.ok(&["get", "a"]).await?, "a\nfrom stdin");
    assert_eq!(etcdctl.ok(&["get", "a", "--print-value-only", "--consistency=s"]).await?, "from stdin");
    assert_eq!(etcdctl.ok(&["get", "nothing"]).await?, "");
    assert_eq!(etcdctl.ok(&["put", "a", "--ignore-value"]).await?, "OK");
    let refused = etcdctl.fails(&["put", "b", "--ignore-value"]).await?;
    ensure!(refused.contains("etcdserver: key not found"), "{refused}");
    let refused = etcdctl.fails(&["put", "", "x"]).await?;
    ensure!(refused.contains("etcdserver: key is not provided"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn get_ranges() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    for (key, value) in [("p/b", "1"), ("p/a", "2"), ("p/c", "3"), ("q", "4")] {
        etcdctl.ok(&["put", key, value]).await?;
    }
    let get =
        async |flags: &[&str]| etcdctl.ok(&[&["get", "p/", "--prefix", "--print-value-only"], flags].concat()).await;
    assert_eq!(get(&[]).await?, "2\n1\n3");
    assert_eq!(get(&["--limit=2"]).await?, "2\n1");
    assert_eq!(get(&["--order=DESCEND"]).await?, "3\n1\n2");
    assert_eq!(get(&["--sort-by=CREATE", "--order=ASCEND"]).await?, "1\n2\n3");
    assert_eq!(get(&["--sort-by=VALUE", "--order=DESCEND", "--limit=1"]).await?, "3");
    assert_eq!(etcdctl.ok(&["get", "p/a", "p/c", "--print-value-only"]).await?, "2\n1");
    assert_eq!(etcdctl.ok(&["get", "p/c", "--from-key", "--print-value-only"]).await?, "3\n4");
    let keys = etcdctl.ok(&["get", "", "--prefix", "--keys-only"]).await?;
    assert_eq!(keys.split_whitespace().collect::<Vec<_>>(), ["p/a", "p/b", "p/c", "q"]);
    Ok(())
}

#[tokio::test]
async fn get_json_and_old_revisions() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let first = revision(&etcdctl.json(&["put", "k", "old"]).await?)?;
    let second = revision(&etcdctl.json(&["put", "k", "new"]).await?)?;
    assert_eq!(second, first + 1);
    let rev = format!("--rev={first}");
    assert_eq!(etcdctl.ok(&["get", "k", &rev, "--print-value-only"]).await?, "old");
    let answer = etcdctl.json(&["get", "k"]).await?;
    assert_eq!(answer["count"], 1);
    let kv = &answer["kvs"][0];
    // "k" and "new" in base64.
    assert_eq!((kv["key"].as_str(), kv["value"].as_str()), (Some("aw=="), Some("bmV3")));
    assert_eq!((kv["create_revision"].as_i64(), kv["mod_revision"].as_i64()), (Some(first), Some(second)));
    assert_eq!(kv["version"], 2);
    ensure!(answer["header"]["cluster_id"].as_u64().is_some_and(|id| id != 0), "no cluster id: {answer}");
    ensure!(answer["header"]["member_id"].as_u64().is_some_and(|id| id != 0), "no member id: {answer}");
    ensure!(answer["header"]["raft_term"].as_u64().is_some_and(|term| term > 0), "no term: {answer}");
    let refused = etcdctl.fails(&["get", "k", "--rev=1000000"]).await?;
    ensure!(refused.contains("etcdserver: mvcc: required revision is a future revision"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn del() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    for key in ["a", "d/1", "d/2", "e", "f"] {
        etcdctl.ok(&["put", key, "x"]).await?;
    }
    assert_eq!(etcdctl.ok(&["del", "a", "--prev-kv"]).await?, "1\na\nx");
    assert_eq!(etcdctl.ok(&["del", "a"]).await?, "0");
    assert_eq!(etcdctl.ok(&["del", "d/", "--prefix"]).await?, "2");
    assert_eq!(etcdctl.ok(&["del", "e", "--from-key"]).await?, "2");
    Ok(())
}

#[tokio::test]
async fn txn() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    etcdctl.ok(&["put", "k", "v"]).await?;
    let script = "value(\"k\") = \"v\"\nversion(\"k\") = \"1\"\n\nput k w\nget k\n\nput k never\n\n";
    let said = etcdctl.ok_with(&["txn"], script).await?;
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["SUCCESS", "OK", "k", "w"]);
    let said = etcdctl.ok_with(&["txn", "--interactive"], script).await?;
    ensure!(said.contains("FAILURE") && said.contains("success requests"), "{said}");
    assert_eq!(etcdctl.ok(&["get", "k", "--print-value-only"]).await?, "never");
    let said = etcdctl.ok_with(&["txn"], "create(\"new\") = \"0\"\n\nput new 1\ndel k\n\n\n").await?;
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["SUCCESS", "OK", "1"]);
    let twice = etcdctl.run_with(&["txn"], "\nput k 1\nput k 2\n\n\n", SOON).await?;
    ensure!(!twice.success && twice.stderr.contains("etcdserver: duplicate key given in txn request"), "{twice:?}");
    Ok(())
}

#[tokio::test]
async fn watch() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let first = revision(&etcdctl.json(&["put", "w/a", "1"]).await?)?;
    let mut watch = etcdctl.start(&["watch", "w/", "--prefix", &format!("--rev={first}"), "--prev-kv"])?;
    let mut one = etcdctl.start(&["watch", "w/b"])?;
    // The second watch has no revision: it sees what comes once it stands.
    one.silent_for(Duration::from_millis(500)).await?;
    etcdctl.ok(&["put", "w/a", "2"]).await?;
    etcdctl.ok(&["put", "w/b", "3"]).await?;
    etcdctl.ok(&["del", "w/a"]).await?;
    let expected = ["PUT", "", "", "w/a", "1", "PUT", "w/a", "1", "w/a", "2", "PUT", "", "", "w/b", "3"];
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "DELETE") {
        lines.push(watch.line().await?);
    }
    lines.pop();
    // A missing previous value is printed as blank lines, whose number is etcdctl's business.
    let full =
        |lines: &[&str]| lines.iter().filter(|line| !line.is_empty()).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(full(&lines.iter().map(String::as_str).collect::<Vec<_>>()), full(&expected));
    assert_eq!((watch.line().await?, watch.line().await?), ("w/a".into(), "2".into()));
    assert_eq!((one.line().await?, one.line().await?, one.line().await?), ("PUT".into(), "w/b".into(), "3".into()));
    Ok(())
}

#[tokio::test]
async fn lease() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let said = etcdctl.ok(&["lease", "grant", "60"]).await?;
    let id = said.split_whitespace().nth(1).context("no lease id")?.to_owned();
    assert_eq!(said, format!("lease {id} granted with TTL(60s)"));
    etcdctl.ok(&["put", "leased", "x", &format!("--lease={id}")]).await?;
    let said = etcdctl.ok(&["lease", "timetolive", &id, "--keys"]).await?;
    ensure!(said.starts_with(&format!("lease {id} granted with TTL(60s), remaining(")), "{said}");
    ensure!(said.ends_with("attached keys([leased])"), "{said}");
    let said = etcdctl.ok(&["lease", "keep-alive", "--once", &id]).await?;
    assert_eq!(said, format!("lease {id} keepalived with TTL(60)"));
    assert_eq!(etcdctl.ok(&["lease", "list"]).await?, format!("found 1 leases\n{id}"));
    assert_eq!(etcdctl.ok(&["lease", "revoke", &id]).await?, format!("lease {id} revoked"));
    assert_eq!(etcdctl.ok(&["get", "leased"]).await?, "");
    assert_eq!(etcdctl.ok(&["lease", "timetolive", &id]).await?, format!("lease {id} already expired"));
    let refused = etcdctl.fails(&["lease", "revoke", &id]).await?;
    ensure!(refused.contains("etcdserver: requested lease not found"), "{refused}");
    let refused = etcdctl.fails(&["put", "leased", "x", &format!("--lease={id}")]).await?;
    ensure!(refused.contains("etcdserver: requested lease not found"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn lock() -> Result<()> {
    let (cluster, etcdctl) = three().await?;
    let mut first = etcdctl.start(&["lock", "l"])?;
    let key = first.line().await?;
    ensure!(key.starts_with("l/"), "{key}");
    let mut second = etcdctl.start(&["lock", "l"])?;
    second.silent_for(Duration::from_millis(500)).await?;
    first.interrupt().await?;
    let other = second.line().await?;
    ensure!(other.starts_with("l/") && other != key, "{other}");
    second.interrupt().await?;
    let said = etcdctl.ok(&["lock", "l", "echo", "held"]).await?;
    assert_eq!(said, "held");
    assert_eq!(client::count(&cluster.client(0)?, "l/").await?, 0, "a lock was left behind");
    Ok(())
}

#[tokio::test]
async fn elect() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let mut listener = etcdctl.start(&["elect", "--listen", "e"])?;
    let mut first = etcdctl.start(&["elect", "e", "anna"])?;
    let key = first.line().await?;
    ensure!(key.starts_with("e/"), "{key}");
    assert_eq!(first.line().await?, "anna");
    assert_eq!((listener.line().await?, listener.line().await?), (key, "anna".into()));
    let mut second = etcdctl.start(&["elect", "e", "bert"])?;
    second.silent_for(Duration::from_millis(500)).await?;
    first.interrupt().await?;
    let key = second.line().await?;
    assert_eq!(second.line().await?, "bert");
    assert_eq!((listener.line().await?, listener.line().await?), (key, "bert".into()));
    Ok(())
}

#[tokio::test]
async fn compaction() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let first = revision(&etcdctl.json(&["put", "k", "1"]).await?)?;
    let second = revision(&etcdctl.json(&["put", "k", "2"]).await?)?;
    let said = etcdctl.ok(&["compaction", &second.to_string()]).await?;
    assert_eq!(said, format!("compacted revision {second}"));
    let refused = etcdctl.fails(&["get", "k", &format!("--rev={first}")]).await?;
    ensure!(refused.contains("etcdserver: mvcc: required revision has been compacted"), "{refused}");
    assert_eq!(etcdctl.ok(&["get", "k", &format!("--rev={second}"), "--print-value-only"]).await?, "2");
    let refused = etcdctl.fails(&["compaction", &first.to_string()]).await?;
    ensure!(refused.contains("etcdserver: mvcc: required revision has been compacted"), "{refused}");
    etcdctl.ok(&["put", "k", "3"]).await?;
    etcdctl.ok(&["compaction", "--physical", &(second + 1).to_string()]).await?;
    Ok(())
}

#[tokio::test]
async fn members_and_endpoints() -> Result<()> {
    let (cluster, etcdctl) = three().await?;
    etcdctl.ok(&["put", "k", "v"]).await?;
    // A member tells its name and client URLs once it runs: wait until all have.
    let list = eventually("three started members", SOON, async || {
        let list = etcdctl.ok(&["member", "list"]).await?;
        ensure!(list.matches(", started, ").count() == 3, "{list}");
        Ok(list)
    });
    let list = list.await?;
    for i in 0..3 {
        let address = cluster.address(i);
        let row = format!(", started, {}, {}, {}, false", address.name, address.peer_url(), address.endpoint());
        ensure!(list.contains(&row), "no {row} in {list}");
    }
    let status = etcdctl.json(&["endpoint", "status"]).await?;
    let status = status.as_array().context("no list")?;
    let leader = status[0]["Status"]["leader"].as_u64().context("no leader")?;
    for (i, one) in status.iter().enumerate() {
        assert_eq!(one["Endpoint"].as_str(), Some(cluster.endpoint(i).as_str()));
        let status = &one["Status"];
        assert_eq!(status["leader"].as_u64(), Some(leader));
        for field in ["raftIndex", "raftTerm", "raftAppliedIndex", "dbSize"] {
            ensure!(status[field].as_u64().is_some_and(|n| n > 0), "no {field} in {one}");
        }
        ensure!(status["version"].is_string(), "no version in {one}");
    }
    ensure!(
        status.iter().any(|one| one["Status"]["header"]["member_id"].as_u64() == Some(leader)),
        "the leader is no member"
    );
    ensure!(etcdctl.ok(&["endpoint", "status", "--cluster"]).await?.lines().count() == 3, "not all members");
    let health = etcdctl.run(&["endpoint", "health"]).await?;
    let healthy = (health.stdout + &health.stderr).matches("is healthy").count();
    assert_eq!((health.success, healthy), (true, 3));
    Ok(())
}

#[tokio::test]
async fn endpoint_hashkv() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let rev = revision(&etcdctl.json(&["put", "k", "v"]).await?)?;
    etcdctl.ok(&["put", "k", "w"]).await?;
    let equal = async || {
        let hashes = etcdctl.json(&["endpoint", "hashkv", &format!("--rev={rev}")]).await?;
        let hashes: Vec<_> =
            hashes.as_array().context("no list")?.iter().map(|one| one["HashKV"]["hash"].as_u64()).collect();
        ensure!(hashes.len() == 3 && hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        Ok(hashes[0])
    };
    let before = eventually("equal hashes", SOON, equal).await?;
    let now = etcdctl.json(&["endpoint", "hashkv"]).await?;
    ensure!(now[0]["HashKV"]["hash"].as_u64() != before, "another state has the same hash");
    Ok(())
}

/// Takes a minute by its nature; the figures are etcdctl's.
#[tokio::test]
async fn check_perf() -> Result<()> {
    let (_cluster, etcdctl) = three().await?;
    let checked = etcdctl.run_with(&["check", "perf", "--load=s"], "", Duration::from_secs(120)).await?;
    let said = checked.stdout + &checked.stderr;
    for line in said.lines().filter(|line| line.starts_with("PASS") || line.starts_with("FAIL")) {
        report(&format!("etcdctl check perf: {line}"));
    }
    ensure!(checked.success && !said.contains("FAIL"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_socket_of_the_machine() -> Result<()> {
    let mut cluster = Cluster::plan(1, &[])?;
    let path = cluster.dir().join("clients");
    let url = format!("unix://{}", path.display());
    let mut args = cluster.node(0).args().to_vec();
    let at = args.iter().position(|arg| arg == "--listen-client-urls").context("it is there")? + 1;
    args[at] = format!("{},{url}", args[at]);
    cluster.node(0).set_args(args);
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let etcdctl = Etcdctl::new(std::slice::from_ref(&url));
    assert_eq!(etcdctl.ok(&["put", "a", "1"]).await?, "OK");
    assert_eq!(Ctl::new(std::slice::from_ref(&url)).ok(&["get", "a"]).await?, "a\n1");
    let client = Client::builder().endpoints([url.as_str()]).build()?;
    ensure!(client.get("a").await?.is_some_and(|found| found.value == b"1"[..]));
    assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o660);
    // What a killed member leaves behind is in nobody's way.
    cluster.kill_all()?;
    ensure!(path.exists());
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    assert_eq!(etcdctl.ok(&["get", "a", "--print-value-only"]).await?, "1");
    cluster.terminate_all().await?;
    ensure!(!path.exists(), "it is still there");
    Ok(())
}
