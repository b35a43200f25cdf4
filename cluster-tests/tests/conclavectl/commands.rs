//! A command under a lock runs alone, and ends with the lock.

use super::kit::three;
use anyhow::{Context, Result, ensure};
use cluster_tests::wait::{LONG, SOON, eventually};
use rustix::process::Signal;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Waits until a file exists.
async fn exists(file: &Path) -> Result<()> {
    let look = async || {
        ensure!(file.exists(), "{} is not there", file.display());
        Ok(())
    };
    eventually("a file", LONG, look).await
}

#[tokio::test]
async fn one_at_a_time_with_rising_fences() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let busy = cluster.dir().join("busy");
    let script = format!("mkdir {0} || exit 9; echo $CONCLAVE_FENCE; sleep 0.2; rmdir {0}", busy.display());
    let command = ["lock", "job", "--", "sh", "-c", &script];
    let runs = (0..5).map(|_| ctl.run(&command));
    let mut fences = Vec::new();
    for ended in futures::future::join_all(runs).await {
        let ended = ended?;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        fences.push(ended.stdout.trim().parse::<i64>()?);
    }
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), 5, "each has a fence of its own: {fences:?}");
    // In two terminals, the second sees the greater.
    let mut first = ctl.start(&["lock", "job", "--", "sh", "-c", "echo $CONCLAVE_FENCE; exec sleep 1"])?;
    let held: i64 = first.line().await?.parse()?;
    let second: i64 = ctl.ok(&["lock", "job", "--", "sh", "-c", "echo $CONCLAVE_FENCE"]).await?.parse()?;
    ensure!(held > fences[4] && second > held, "{fences:?} {held} {second}");
    ensure!(ctl.ok(&["get", "job/", "--prefix"]).await?.is_empty(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn a_killed_holder_frees_the_lock_after_its_ttl_and_its_command_dies() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let alive = cluster.dir().join("alive");
    let script = format!("echo holds; while :; do touch {}; sleep 0.05; done", alive.display());
    let mut first = ctl.start(&["lock", "job", "--ttl", "3", "--", "sh", "-c", &script])?;
    first.line_with("holds", SOON).await?;
    let busy = ctl.run(&["lock", "job", "--try", "--", "echo"]).await?;
    assert_eq!(busy.code, Some(123), "{}", busy.stderr);
    let late = ctl.run(&["lock", "job", "--wait", "300ms"]).await?;
    assert_eq!(late.code, Some(8), "{}", late.stderr);
    first.signal(Signal::KILL)?;
    let killed = Instant::now();
    first.ended(SOON).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::remove_file(&alive)?;
    ctl.ok(&["lock", "job", "--", "echo"]).await?;
    let waited = killed.elapsed();
    ensure!(waited > Duration::from_millis(1500) && waited < Duration::from_secs(15), "after {waited:?}");
    ensure!(!alive.exists(), "its command ran on");
    Ok(())
}

#[tokio::test]
async fn a_lost_lock_stops_the_command() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let script = "trap 'echo asked; exit 3' TERM; echo holds $CONCLAVE_FENCE; while :; do sleep 0.05; done";
    let mut holder = ctl.start(&["lock", "job", "--", "sh", "-c", script])?;
    let line = holder.line_with("holds", SOON).await?;
    let fence = line.split(' ').nth(1).context("no fence")?.to_owned();
    let wrong = ctl.run(&["lock", "release", "job", "1"]).await?;
    assert_eq!(wrong.code, Some(8), "{}", wrong.stderr);
    ctl.ok(&["lock", "release", "job", &fence]).await?;
    holder.line_with("asked", SOON).await?;
    assert_eq!(holder.ended(SOON).await?.code(), Some(124));
    ensure!(holder.said().await?.contains("its key is gone"), "it says why");
    // One that does not listen is killed.
    let script = "trap '' TERM; echo holds; while :; do sleep 0.05; done";
    let mut deaf = ctl.start(&["elect", "job", "me", "--ttl", "6", "--grace", "1s", "--", "sh", "-c", script])?;
    deaf.line_with("holds", SOON).await?;
    ctl.ok(&["del", "job/", "--prefix"]).await?;
    assert_eq!(deaf.ended(SOON).await?.code(), Some(124));
    Ok(())
}

#[tokio::test]
async fn without_the_cluster_the_command_ends_before_the_deadline() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    let script = "trap 'echo asked; exit 3' TERM; echo holds; while :; do sleep 0.05; done";
    let mut holder = ctl.start(&["lock", "job", "--ttl", "5", "--", "sh", "-c", script])?;
    holder.line_with("holds", SOON).await?;
    for i in 0..3 {
        cluster.node(i).pause()?;
    }
    let stopped = Instant::now();
    holder.line_with("asked", SOON).await?;
    ensure!(stopped.elapsed() < Duration::from_secs(5), "asked {:?} after the last sign of life", stopped.elapsed());
    for i in 0..3 {
        cluster.node(i).resume()?;
    }
    assert_eq!(holder.ended(LONG).await?.code(), Some(124));
    Ok(())
}

#[tokio::test]
async fn signals_stop_the_command_first_and_its_code_is_passed_on() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let done = cluster.dir().join("done");
    let script = format!(
        "trap 'sleep 0.3; touch {}; exit 42' TERM INT; echo holds; while :; do sleep 0.05; done",
        done.display()
    );
    for signal in [Signal::TERM, Signal::INT] {
        let mut holder = ctl.start(&["lock", "job", "--", "sh", "-c", &script])?;
        holder.line_with("holds", SOON).await?;
        holder.signal(signal)?;
        let after = format!("test -e {} && echo after", done.display());
        let mut next = ctl.start(&["lock", "job", "--", "sh", "-c", &after])?;
        assert_eq!(holder.ended(SOON).await?.code(), Some(42));
        next.line_with("after", SOON).await.context("the lock was given back before the command had ended")?;
        // It gives the lock back, too.
        assert_eq!(next.ended(SOON).await?.code(), Some(0));
        exists(&done).await?;
        std::fs::remove_file(&done)?;
    }
    let code = async |args: &[&str]| Ok::<_, anyhow::Error>(ctl.run(&[&["lock", "job"], args].concat()).await?.code);
    assert_eq!(code(&["--", "sh", "-c", "exit 7"]).await?, Some(7));
    assert_eq!(code(&["sh", "-c", "exit 8"]).await?, Some(8));
    assert_eq!(code(&["--", "sh", "-c", "kill -9 $$"]).await?, Some(137));
    assert_eq!(code(&["no-such-command"]).await?, Some(127));
    assert_eq!(code(&["/etc/passwd"]).await?, Some(126));
    Ok(())
}
