//! Watches, and commands that wait, go on through the loss of a member.

use super::kit::{FORMATS, comparable, three};
use anyhow::{Context, Result, ensure};
use cluster_tests::{
    conclavectl::Ctl,
    wait::{LONG, SOON, eventually},
};
use std::time::Duration;

#[tokio::test]
async fn watches_as_etcdctl_does_and_through_the_loss_of_a_member() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    let etcdctl = Ctl::etcdctl(&cluster.endpoints());
    let first = ctl.json(&["put", "w", "1"]).await?["header"]["revision"].as_i64().context("no revision")?;
    ctl.ok(&["put", "w", "2"]).await?;
    ctl.ok(&["del", "w"]).await?;
    for format in FORMATS {
        let args = ["watch", "w", "--prev-kv", "--rev", &first.to_string(), "-w", format];
        let (mut theirs, mut ours) = (etcdctl.start(&args)?, ctl.start(&args)?);
        let lines = if format == "simple" { 13 } else { 1 };
        for _ in 0..lines {
            assert_eq!(comparable(&theirs.line().await?), comparable(&ours.line().await?), "{format}");
        }
    }
    let mut watch = ctl.start(&["watch", "w", "--", "sh", "-c", "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_VALUE"])?;
    // The watch stands once it sees something.
    let seen = async {
        loop {
            ctl.ok(&["put", "w", "first"]).await?;
            if watch.line_within(Duration::from_secs(1)).await.is_ok() {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(LONG, seen).await??;
    watch.line_with("\"PUT\" \"first\"", SOON).await?;
    cluster.node(0).kill()?;
    let put = async || {
        ctl.ok(&["put", "w", "second"]).await?;
        Ok(())
    };
    eventually("a put through the others", LONG, put).await?;
    watch.line_with("\"PUT\" \"second\"", LONG).await?;
    Ok(())
}

#[tokio::test]
async fn an_interactive_watch_goes_on_through_the_loss_of_a_member() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    let mut watch = ctl.start_listening(&["watch", "-i"])?;
    watch.tell("watch w --rev 1").await?;
    watch.tell("watch no such line").await?;
    watch.tell("watch v/ --prefix -- sh -c 'echo ran for $ETCD_WATCH_KEY'").await?;
    let put = async |key: &str, value: &str| {
        let put = async || {
            ctl.ok(&["put", key, value]).await?;
            Ok(())
        };
        eventually("a put", LONG, put).await
    };
    put("w", "1").await?;
    watch.line_with("1", SOON).await?;
    // Both watches are there: the second begins at some time from now on.
    let seen = async {
        loop {
            put("v/a", "x").await?;
            if watch.line_within(Duration::from_secs(1)).await.is_ok() {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(LONG, seen).await??;
    watch.line_with("ran for \"v/a\"", SOON).await?;
    cluster.node(0).kill()?;
    // While it looks for another member, much happens.
    for i in 2..8 {
        put("w", &i.to_string()).await?;
    }
    put("v/b", "y").await?;
    // Each in its turn, none twice.
    let mut values = Vec::new();
    while values.len() < 6 {
        if watch.line_within(LONG).await? == "w" {
            values.push(watch.line().await?);
        }
    }
    assert_eq!(values, ["2", "3", "4", "5", "6", "7"]);
    watch.tell("progress").await?;
    watch.line_with("progress notify", LONG).await?;
    Ok(())
}

#[tokio::test]
async fn what_waits_or_follows_goes_on_through_the_loss_of_its_member() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    // The first one given is the one in use.
    let mut election = ctl.start(&["election", "watch", "e"])?;
    let mut claim = ctl.start(&["claim", "watch", "c"])?;
    ctl.ok(&["claim", "take", "c", "--holder", "a", "--for", "40s"]).await?;
    let mut free = ctl.start(&["claim", "await", "c"])?;
    let mut next = ctl.start(&["claim", "take", "c", "--holder", "b", "--for", "40s", "--wait"])?;
    let mut leader = ctl.start(&["election", "enter", "e", "--candidate", "a"])?;
    leader.line_with("a leads", SOON).await?;
    let mut candidate = ctl.start(&["election", "enter", "e", "--candidate", "b"])?;
    let both_wait = async || {
        ensure!(ctl.json(&["claim", "show", "c"]).await?["waiting_count"] == 1, "b does not wait for the claim");
        ensure!(ctl.ok(&["election", "show", "e"]).await?.contains("1 waiting"), "b does not wait to lead");
        Ok(())
    };
    eventually("all in line", LONG, both_wait).await?;
    election.line_with("a", SOON).await?;
    claim.line_with("a holds it", SOON).await?;
    cluster.node(0).kill()?;
    let revoked = async || {
        ctl.ok(&["claim", "revoke", "c", "--holder", "a"]).await?;
        Ok(())
    };
    eventually("an order through the others", LONG, revoked).await?;
    free.line_with("free at revision", LONG).await?;
    next.line_with("c taken", LONG).await?;
    claim.line_with("b holds it", LONG).await?;
    ctl.ok(&["election", "anoint", "e", "b"]).await?;
    candidate.line_with("b leads", LONG).await?;
    election.line_with("b", LONG).await?;
    Ok(())
}
