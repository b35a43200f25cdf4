//! Two versions in one cluster: a rolling upgrade and the way back, under load.
//!
//! The later version is the same server with `CONCLAVE_TEST_VERSION=0.2`: it writes commands in a
//! form that a server without it cannot read. Needs a server with the feature `failpoints`; any
//! other is not asked for this.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    check,
    client::{get, put},
    cluster::{Address, Cluster, arguments, initial_cluster},
    conclavectl::Ctl,
    etcd_tools,
    load::Load,
    process::{Process, binary},
    report,
    status::{PATIENCE, cluster_version, metric},
    wait::{LONG, eventually},
};
use conclave_client::api::etcdserverpb::StatusRequest;
use std::process::Command;

const LATER: (&str, &str) = ("CONCLAVE_TEST_VERSION", "0.2");

/// Replaces the program of a member, as an operator does.
async fn restart(cluster: &mut Cluster, i: usize, later: bool) -> Result<()> {
    let node = cluster.node(i);
    let (status, _) = node.terminate(LONG).await?;
    ensure!(status.success(), "n{} ended with {status}", i + 1);
    node.set_variable(later.then_some(LATER));
    node.spawn()?;
    node.ready(LONG).await
}

async fn is_of_version(cluster: &Cluster, version: &str) -> Result<()> {
    let all = async || {
        for endpoint in cluster.endpoints() {
            let shown = cluster_version(&endpoint, PATIENCE)?;
            ensure!(shown == version, "{endpoint} shows {shown}");
        }
        Ok(())
    };
    eventually(&format!("version {version}"), LONG, all).await
}

/// A start that is refused because the cluster's version is later.
async fn is_too_old(node: &mut Process) -> Result<()> {
    node.set_variable(None);
    node.spawn()?;
    ensure!(!node.exit(LONG).await?.success(), "a program that is too old ended well");
    let said = node.life()?;
    ensure!(said.contains("the cluster is of version 0.2") && said.contains("too old"), "{said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

async fn downgrading(cluster: &Cluster) -> Result<Option<String>> {
    let info = cluster.client(0)?.maintenance().status(StatusRequest {}).await?.downgrade_info.context("no info")?;
    Ok(info.enabled.then_some(info.target_version))
}

/// etcd's own tool says the same.
fn by_etcdctl(cluster: &Cluster, args: &[&str]) -> Result<Option<String>> {
    let Some(tools) = etcd_tools::tools()? else { return Ok(None) };
    let endpoints = cluster.endpoints().join(",");
    let ran = Command::new(tools.join("etcdctl")).args(["--endpoints", &endpoints, "downgrade"]).args(args).output()?;
    Ok(Some(String::from_utf8([ran.stdout, ran.stderr].concat())?))
}

#[tokio::test]
async fn a_rolling_upgrade_and_the_way_back_under_load() -> Result<()> {
    let server = std::fs::read(binary())?;
    if !server.windows(LATER.0.len()).any(|window| window == LATER.0.as_bytes()) {
        report("this server cannot be another version: build it with --features failpoints");
        return Ok(());
    }
    let mut cluster = Cluster::start(3).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    is_of_version(&cluster, "0.1").await?;
    let decided = async || {
        let said = ctl.run(&["downgrade", "validate", "0.1"]).await?;
        ensure!(said.code != Some(0) && said.stderr.contains("invalid downgrade target version"), "{said:?}");
        Ok(())
    };
    eventually("a version to go back from", LONG, decided).await?;
    let said = ctl.run(&["downgrade", "validate", "first"]).await?;
    ensure!(said.stderr.contains("etcdserver: wrong downgrade target version format"), "{said:?}");
    let load = Load::default();
    let running = load.start(&cluster.endpoints())?;

    // Until the last member has the later program, nothing is written that the earlier one cannot
    // read: it would say so.
    for i in 0..2 {
        restart(&mut cluster, i, true).await?;
    }
    put(&cluster.client(0)?, "mixed", "1").await?;
    is_of_version(&cluster, "0.1").await?;
    ensure!(get(&cluster.client(2)?, "mixed").await?.is_some(), "the earlier program serves");
    restart(&mut cluster, 2, true).await?;
    is_of_version(&cluster, "0.2").await?;
    ensure!(
        metric(&cluster.endpoint(1), "conclave_cluster_version{cluster_version=\"0.2\"}", PATIENCE)? == 1.0,
        "metric"
    );
    put(&cluster.client_of_all()?, "later", "1").await?;

    // The earlier program is refused: in a directory of this cluster, and as a new member.
    cluster.node(0).terminate(LONG).await?;
    is_too_old(cluster.node(0)).await?;
    let dumped = Command::new(binary()).args(["dump-log", "--data-dir"]).arg(cluster.data_dir(0)).output()?;
    let dumped = String::from_utf8_lossy(&dumped.stdout).into_owned();
    ensure!(dumped.contains("form 2 is unknown"), "nothing of the later version was written: {dumped}");
    cluster.node(0).set_variable(Some(LATER));
    cluster.node(0).spawn()?;
    cluster.node(0).ready(LONG).await?;
    refused_as_new_member(&cluster, &ctl).await?;

    // Back again.
    let said = ctl.run(&["downgrade", "validate", "0.1"]).await?;
    ensure!(said.stdout == "Downgrade validate success, cluster version 0.2\n", "{said:?}");
    if let Some(theirs) = by_etcdctl(&cluster, &["validate", "0.1"])? {
        ensure!(theirs == said.stdout, "{theirs}");
    }
    let said = ctl.run(&["downgrade", "enable", "0.1"]).await?;
    ensure!(said.stdout == "Downgrade enable success, cluster version 0.2\n", "{said:?}");
    is_of_version(&cluster, "0.1").await?;
    ensure!(downgrading(&cluster).await?.as_deref() == Some("0.1"), "no target");
    let said = ctl.run(&["downgrade", "enable", "0.1"]).await?;
    ensure!(said.stderr.contains("etcdserver: cluster has a downgrade job in progress"), "{said:?}");
    for i in 0..3 {
        restart(&mut cluster, i, false).await?;
        put(&cluster.client(i)?, &format!("back{i}"), "1").await?;
    }
    let ended = async || {
        ensure!(downgrading(&cluster).await?.is_none(), "it is under way");
        Ok(())
    };
    eventually("the end of the downgrade", LONG, ended).await?;
    is_of_version(&cluster, "0.1").await?;
    let said = ctl.run(&["downgrade", "cancel"]).await?;
    ensure!(said.stdout == "Downgrade cancel success, cluster version 0.1\n", "{said:?}");

    let (acknowledged, _) = check::everything(&cluster, &running.stop().await?, &load.prefix).await?;
    ensure!(acknowledged > 100, "only {acknowledged} operations");
    Ok(())
}

async fn refused_as_new_member(cluster: &Cluster, ctl: &Ctl) -> Result<()> {
    let address = Address::new("n4")?;
    let url = address.peer_url();
    let added = ctl.run(&["member", "add", "n4", "--learner", "--peer-urls", &url]).await?;
    ensure!(added.code == Some(0), "{added:?}");
    let known: Vec<Address> = (0..3).map(|i| cluster.address(i).clone()).chain([address.clone()]).collect();
    let data = cluster.dir().join("n4");
    let mut args = arguments(&address, &data, &initial_cluster(&known), "joined", &[]);
    args.iter_mut().filter(|arg| *arg == "new").for_each(|arg| "existing".clone_into(arg));
    let mut node = Process::new(args, data.with_extension("log"));
    is_too_old(&mut node).await?;
    // It holds nobody back, and starts with the right program.
    node.set_variable(Some(LATER));
    node.spawn()?;
    node.ready(LONG).await?;
    let listed = ctl.run(&["member", "list"]).await?.stdout;
    let id = listed.lines().find(|line| line.contains(&url)).and_then(|line| line.split(',').next());
    let removed = ctl.run(&["member", "remove", id.context("no n4")?]).await?;
    ensure!(removed.code == Some(0), "{removed:?}");
    Ok(())
}
