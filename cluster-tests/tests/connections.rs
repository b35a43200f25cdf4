//! Many silent connections and few file descriptors: the databases keep their files, and active
//! clients are served.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{get, put},
    cluster::Cluster,
    process,
    wait::{LONG, SOON, within},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The server, started by a shell that allows it so many open files.
fn with_few_files(dir: &Path, soft: usize, hard: usize) -> Result<PathBuf> {
    let script = dir.join(format!("conclave-{soft}-{hard}"));
    let server = process::binary();
    fs::write(
        &script,
        format!("#!/bin/sh\nulimit -Sn {soft} && ulimit -Hn {hard} && exec '{}' \"$@\"\n", server.display()),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

async fn cluster(size: usize, soft: usize, hard: usize) -> Result<Cluster> {
    let mut cluster = Cluster::plan(size, &["--max-log-bytes", "16777216"])?;
    let script = with_few_files(cluster.dir(), soft, hard)?;
    for i in 0..size {
        cluster.node(i).set_binary(script.clone());
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    Ok(cluster)
}

fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Connects, says this much, and waits.
async fn silent(address: &str, count: usize, words: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        if let Ok(Ok(mut stream)) = within("a connection", SOON, TcpStream::connect(address)).await {
            let _ = stream.write_all(words).await;
            streams.push(stream);
        }
    }
    streams
}

#[tokio::test]
async fn silent_connections_take_no_file_from_the_databases() -> Result<()> {
    let mut cluster = cluster(1, 128, 128).await?;
    let (clients, peers) = (cluster.address(0).endpoint(), cluster.address(0).peer_url());
    let mut held = Vec::new();
    // Enough is written for the databases to need new files again and again.
    for round in 0..6 {
        held.extend(silent(address(&clients), 120, b"").await);
        held.extend(silent(address(&clients), 20, b"PRI * HTTP/2.0\r\n").await);
        held.extend(silent(address(&peers), 120, b"").await);
        held.extend(silent(address(&peers), 20, b"PRI * HTTP/2.0\r\n").await);
        for n in 0..40 {
            let client = cluster.client(0)?;
            put(&client, &format!("key/{round}/{n}"), &"x".repeat(200_000)).await?;
        }
        ensure!(cluster.node(0).running()?, "it ended:\n{}", cluster.node(0).tail(10));
    }
    cluster.restart(0).await?;
    ensure!(get(&cluster.client(0)?, "key/5/39").await?.is_some(), "what was written is there");
    Ok(())
}

#[tokio::test]
async fn members_reach_each_other_through_a_crowd() -> Result<()> {
    let mut cluster = cluster(3, 128, 128).await?;
    let leader = cluster.leader().await?;
    let mut held = Vec::new();
    for i in 0..3 {
        let (clients, peers) = (cluster.address(i).endpoint(), cluster.address(i).peer_url());
        held.extend(silent(address(&peers), 100, b"").await);
        held.extend(silent(address(&clients), 100, b"").await);
    }
    // A member that comes back has to be let in.
    cluster.restart((leader + 1) % 3).await?;
    for i in 0..3 {
        put(&cluster.client(i)?, &format!("key/{i}"), "v").await?;
        ensure!(cluster.node(i).running()?, "it ended:\n{}", cluster.node(i).tail(10));
    }
    cluster.serves_everywhere().await
}

#[tokio::test]
async fn the_limit_is_raised_as_far_as_it_may_be() -> Result<()> {
    let mut cluster = cluster(1, 100, 1_000).await?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", cluster.node(0).id()?))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("the limit")?;
    let soft = line.split_whitespace().nth(3).context("a number")?;
    ensure!(soft == "1000", "{line}");
    ensure!(cluster.node(0).life()?.contains("few files may be open"), "it warns below 4,096");
    Ok(())
}

#[tokio::test]
async fn a_limit_that_is_too_low_is_refused_at_the_start() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = with_few_files(dir.path(), 64, 64)?;
    let output = tokio::process::Command::new(script).arg("--data-dir").arg(dir.path().join("data")).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("only 64 files"), "{said}");
    Ok(())
}

/// Whether the server closes the connection in time.
async fn is_closed(url: &str, words: &[u8]) -> Result<bool> {
    let mut stream = TcpStream::connect(address(url)).await?;
    stream.write_all(words).await?;
    let mut answer = Vec::new();
    Ok(within("the end", LONG, stream.read_to_end(&mut answer)).await.is_ok())
}

#[tokio::test]
async fn silent_and_incomplete_connections_are_closed_on_every_port() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let peer = cluster.address(0).peer_url();
    let words: [&[u8]; 3] = [b"", b"PRI * HTTP", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"];
    let client = cluster.endpoint(0);
    let all = [&client, &peer].into_iter().flat_map(|url| words.map(|words| is_closed(url, words)));
    for closed in futures::future::join_all(all).await {
        ensure!(closed?, "a connection was kept");
    }
    Ok(())
}
