//! The web console of a cluster, through HTTP as a browser asks, and in a browser.
//!
//! The last test needs Debian's `chromium`; where it is missing the test says so and passes.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client,
    cluster::Cluster,
    kit::{self, Node, claims, elections, locks},
    wait::{LONG, SOON, eventually, within},
};
use conclave_api::conclave::v1::{ClaimItem, Name};
use std::process::Stdio;
use tokio::process::Command;

/// The body of a page, which must be one.
async fn page(cluster: &Cluster, i: usize, address: &str) -> Result<String> {
    let url = format!("{}/ui/{address}", cluster.endpoint(i));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "20", &url]);
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Asks until a page has all of that.
async fn shows(cluster: &Cluster, i: usize, address: &str, parts: &[&str]) -> Result<()> {
    let look = async || {
        let page = page(cluster, i, address).await?;
        let missing: Vec<_> = parts.iter().filter(|part| !page.contains(**part)).collect();
        ensure!(missing.is_empty(), "{address} lacks {missing:?}: {page}");
        Ok(())
    };
    eventually(address, SOON, look).await
}

/// Elections, locks, claims, queues, keys and leases, each with some who wait.
async fn fill(cluster: &Cluster, nodes: &[Node]) -> Result<i64> {
    let node = &nodes[0];
    let (first, second) = (node.lasting().await?, node.lasting().await?);
    let mut at = elections::elections(cluster, 0).await?;
    elections::enter(&mut at, "candidate-a", first).await?;
    elections::enter(&mut at, "candidate-b", second).await?;
    node.take(first, vec![locks::alone(locks::L)]).await?;
    let waits = node.queue(locks::asking(second, vec![locks::alone(locks::L)])).await?;
    waits.abort();
    node.take(first, vec![locks::permits("semaphore", 2, 5)]).await?;
    let name = |name: &str| Some(Name { namespace: "default".into(), name: name.into() });
    let item = |claim: &str, holder: &str| {
        let (claim, holder, instance) = (name(claim), holder.to_owned(), "1".to_owned());
        ClaimItem { claim, holder, instance, duration_ms: 300_000, wait: true, ..ClaimItem::default() }
    };
    // A call with several items is answered while one of them waits.
    for (holder, other) in [("claimant-a", "claim-of-a"), ("claimant-b", "claim-of-b")] {
        node.bulk(kit::by(first).unwrap_or_default(), vec![item("claim", holder), item(other, holder)]).await?;
    }
    let etcd = cluster.client(0)?;
    for (lease, value) in [(first, "leader-of-etcd"), (second, "next-of-etcd")] {
        client::put_leased(&etcd, &format!("service/{lease:x}"), value, lease).await?;
    }
    client::put(&etcd, "config/a/x", "one\ntwo").await?;
    client::put(&etcd, "config/a/x", "one\n2").await?;
    client::put(&etcd, "config/b", "b").await?;
    Ok(first)
}

/// Every page of the console, and what it shows of what [`fill`] made.
fn pages(session: i64) -> Vec<(String, Vec<String>)> {
    let of = |address: &str, parts: &[&str]| (address.to_owned(), parts.iter().map(|&part| part.to_owned()).collect());
    let hex = format!(">{session:x}<");
    vec![
        of("", &["Members", ">leader<", ">follower<", "this one", "Links from this member"]),
        of("coordination", &["name?kind=election", ">candidate-a<"]),
        of("coordination?kind=lock", &[">semaphore<", "2 of 5 permits", "name?kind=lock"]),
        of("coordination?kind=claim", &[">claim<", ">claimant-a<"]),
        of("coordination?kind=queue", &[">service<", ">leader-of-etcd<"]),
        of("coordination?prefix=x", &["There are none that fit."]),
        of("name?kind=election&namespace=default&name=e", &[">candidate-a<", ">candidate-b<", "begins", &hex]),
        of("name?kind=lock&namespace=default&name=l", &["owner", "Nobody waits.", "begins", &hex]),
        of("name?kind=claim&namespace=default&name=claim", &[">claimant-a<", ">claimant-b<", "begins"]),
        of("name?kind=queue&name=service", &[">leader-of-etcd<", ">next-of-etcd<", "begins", &hex]),
        of("sessions", &[&hex, "5 min 0 s"]),
        of(&format!("session?id={session:x}"), &["Time left", "key?key=service/"]),
        of("keys", &["keys?prefix=config/", "keys?prefix=service/"]),
        of("keys?prefix=config/", &["keys?prefix=config/a/", "key?key=config/b"]),
        of("key?key=config/a/x", &["- two", "+ 2", "Versions"]),
    ]
}

#[tokio::test]
async fn every_page_shows_what_there_is_on_every_member() -> Result<()> {
    let (mut cluster, nodes) = kit::start(3).await?;
    let session = fill(&cluster, &nodes).await?;
    for (address, parts) in pages(session) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        for i in 0..cluster.size() {
            shows(&cluster, i, &address, &parts).await?;
        }
    }
    // The one that leads knows how far the others are.
    let leader = cluster.leader().await?;
    shows(&cluster, leader, "", &["ago"]).await?;
    // An end is seen with its cause, and the next one.
    nodes[0].close(session).await?;
    let turns = ["begins", "ends", "session closed", ">candidate-b<"];
    shows(&cluster, 0, "name?kind=election&namespace=default&name=e", &turns).await?;
    shows(&cluster, 0, "name?kind=queue&name=service", &["ends", ">next-of-etcd<"]).await?;
    // A member without a majority still says what it has, and that this may be old.
    let last = (0..cluster.size()).find(|i| *i != leader).context("three members")?;
    for i in (0..cluster.size()).filter(|i| *i != last) {
        cluster.node(i).kill()?;
    }
    let look = async || {
        let page = page(&cluster, last, "keys?prefix=config/").await?;
        ensure!(page.contains("No leader.") && page.contains("key?key=config/b"), "{page}");
        Ok(())
    };
    eventually("a page that says there is no leader", LONG, look).await
}

#[tokio::test]
async fn it_is_switched_off_by_a_flag() -> Result<()> {
    let cluster = Cluster::start_with(1, &["--console=false"]).await?;
    let url = format!("{}/ui/", cluster.endpoint(0));
    let output = Command::new("curl").args(["--silent", "--write-out", "%{http_code}", &url]).output().await?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.ends_with("404"), "{said}");
    Ok(())
}

/// What a browser makes of a page after its script has run for a time: the page, and what it wrote
/// to its log.
async fn browse(dir: &std::path::Path, url: &str) -> Result<(String, String)> {
    let mut command = Command::new("chromium");
    let profile = format!("--user-data-dir={}", dir.display());
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &profile]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", url]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within("a page in chromium", LONG, output).await??;
    ensure!(output.status.success(), "{url}: {output:?}");
    Ok((String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[tokio::test]
async fn a_browser_has_nothing_to_complain_about() -> Result<()> {
    if Command::new("chromium").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        println!("chromium is not installed: the console is NOT tested in a browser");
        return Ok(());
    }
    let (cluster, nodes) = kit::start(1).await?;
    let session = fill(&cluster, &nodes).await?;
    let profile = tempfile::tempdir()?;
    let mut all: Vec<String> = pages(session).into_iter().map(|(address, _)| address).collect();
    all.push("nothing".to_owned());
    for address in all {
        let (page, log) = browse(profile.path(), &format!("{}/ui/{address}", cluster.endpoint(0))).await?;
        let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        // What does not exist is an error of the console by itself.
        ensure!(complaints.is_empty() || address == "nothing", "{address}: {complaints:?}");
        // The script runs, and the page is still a whole one.
        let live = page.contains("role=\"status\">Live</span>") && page.contains(">Pause</button>");
        ensure!(live && page.contains("As member"), "{address}: {page}");
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_of_its_own() -> Result<()> {
    let (cluster, nodes) = claims::start(1).await?;
    nodes[0].claim("one", "holder", 60_000).await?;
    shows(&cluster, 0, "coordination?kind=claim&namespace=short", &[">one<", ">holder<"]).await?;
    shows(&cluster, 0, "coordination?kind=claim&namespace=other", &["There are none that fit."]).await
}
