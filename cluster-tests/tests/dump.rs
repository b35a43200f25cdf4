//! `conclave dump-log` and `/status`: what an operator sees of members that are stopped, run, were
//! killed, or have a damaged log.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::put,
    cluster::Cluster,
    process::binary,
    status::{PATIENCE, Standing, standing},
    wait::{LONG, eventually},
};
use serde_json::Value;
use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn dump(dir: &Path, more: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()).arg("dump-log").arg("--data-dir").arg(dir).args(more).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The member, and its entries.
fn json(output: &Output) -> Result<(Value, Vec<Value>)> {
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    let mut lines = text(&output.stdout).lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok((lines.remove(0)["member"].take(), lines))
}

async fn cluster_with_writes(size: usize, count: usize) -> Result<Cluster> {
    let cluster = Cluster::start(size).await?;
    let client = cluster.client_of_all()?;
    for i in 0..count {
        put(&client, &format!("key{i}"), &format!("value{i}")).await?;
    }
    Ok(cluster)
}

async fn equal_standings(cluster: &Cluster) -> Result<Standing> {
    eventually("equal standings", LONG, async || {
        let all = (0..cluster.size()).map(|i| standing(&cluster.endpoint(i), PATIENCE)).collect::<Result<Vec<_>>>()?;
        ensure!(all.iter().all(|one| one.applied_index == all[0].applied_index), "{all:?}");
        ensure!(all.iter().all(|one| one == &all[0]), "members differ: {all:?}");
        Ok(all[0].clone())
    })
    .await
}

#[tokio::test]
async fn members_that_were_stopped_have_one_log_and_one_state() -> Result<()> {
    let mut cluster = cluster_with_writes(3, 80).await?;
    let standing = equal_standings(&cluster).await?;
    ensure!(standing.digests.contains_key(&64), "{standing:?}");
    let running = dump(&cluster.data_dir(0), &[])?;
    ensure!(running.status.code() == Some(1), "{running:?}");
    ensure!(text(&running.stderr).contains("in use by another process"), "{running:?}");
    cluster.terminate_all().await?;

    let mut logs = Vec::new();
    for i in 0..3 {
        let (member, entries) = json(&dump(&cluster.data_dir(i), &["--json"])?)?;
        ensure!(member["name"] == format!("n{}", i + 1), "{member}");
        ensure!(member["state"]["digest"] == standing.digest.as_str(), "{member} {standing:?}");
        ensure!(member["state"]["revision"] == standing.revision, "{member} {standing:?}");
        ensure!(member["state"]["applied"]["index"] == standing.applied_index, "{member} {standing:?}");
        let records =
            entries.iter().map(|entry| (entry["index"].clone(), entry["term"].clone(), entry["crc32c"].clone()));
        logs.push(records.collect::<Vec<_>>());
        let put = entries.iter().flat_map(|entry| entry["segments"].as_array().cloned().unwrap_or_default());
        let put = put.flat_map(|segment| segment["commands"].as_array().cloned().unwrap_or_default());
        let put = put.filter(|command| command["Put"]["key"] == "key7" && command["Put"]["value"] == "value7");
        ensure!(put.count() == 1, "key7 was not put once");
    }
    ensure!(logs[0] == logs[1] && logs[1] == logs[2], "the logs differ");

    let some = text(&dump(&cluster.data_dir(1), &["--from", "10", "--limit", "2"])?.stdout);
    let shown: Vec<&str> = some.lines().filter(|line| line.contains("  term ")).collect();
    ensure!(shown.len() == 2 && shown[0].trim_start().starts_with("10 "), "{some}");
    // Looking has changed nothing: it starts, and has what it had.
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    ensure!(equal_standings(&cluster).await?.revision == standing.revision, "something was lost");
    Ok(())
}

#[tokio::test]
async fn a_member_that_was_killed_shows_what_it_acknowledged() -> Result<()> {
    let mut cluster = cluster_with_writes(1, 30).await?;
    cluster.kill_all()?;
    let (_, entries) = json(&dump(&cluster.data_dir(0), &["--json"])?)?;
    let all = serde_json::to_string(&entries)?;
    for i in 0..30 {
        ensure!(all.contains(&format!("\"value{i}\"")), "value{i} is missing");
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_log_is_an_error_and_no_log_is_none() -> Result<()> {
    let mut cluster = cluster_with_writes(1, 30).await?;
    cluster.kill_all()?;
    let log = newest_log(&cluster.data_dir(0).join("log"))?;
    let file = std::fs::OpenOptions::new().write(true).open(&log)?;
    // In the middle of what was written ahead, with sound records behind it.
    file.write_all_at(&[0xa5; 16], file.metadata()?.len() / 2)?;
    let damaged = dump(&cluster.data_dir(0), &["--json"])?;
    ensure!(damaged.status.code() == Some(1), "{damaged:?}");
    ensure!(
        text(&damaged.stderr).contains("the log in") && text(&damaged.stderr).contains("cannot be read"),
        "{damaged:?}"
    );

    let nothing = dump(cluster.dir(), &[])?;
    ensure!(nothing.status.code() == Some(1), "{nothing:?}");
    ensure!(text(&nothing.stderr).contains("is not the data directory of a member"), "{nothing:?}");
    ensure!(dump(cluster.dir(), &["--sideways"])?.status.code() == Some(2), "an unknown flag");
    Ok(())
}

/// The file that RocksDB wrote ahead last, with something in it.
fn newest_log(dir: &Path) -> Result<PathBuf> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") && path.metadata()?.len() > 0 {
            logs.push(path);
        }
    }
    logs.sort();
    logs.pop().context("no log was written")
}
