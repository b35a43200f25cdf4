//! A cluster in etcd's place: started under etcd's name by etcd's variables alone, seen by what
//! looks at etcd from outside.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcdctl::Etcdctl,
    process::binary,
    wait::{SOON, eventually},
};
use serde_json::Value;
use std::process::{Command, Output};

fn run(program: &std::path::Path, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program).args(arguments).env_clear().output()?)
}

/// `--initial-cluster x` as `ETCD_INITIAL_CLUSTER=x`.
fn as_variables(args: &[String]) -> Vec<(String, String)> {
    let name = |flag: &str| format!("ETCD_{}", flag.trim_start_matches('-').to_ascii_uppercase().replace('-', "_"));
    args.chunks_exact(2).map(|pair| (name(&pair[0]), pair[1].clone())).collect()
}

fn curl(url: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("curl").args(["-s", "--max-time", "20", "-D-"]).args(arguments).arg(url).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn etcds_name_and_variables() -> Result<()> {
    let mut cluster = Cluster::plan(3, &[])?;
    let etcd = cluster.dir().join("etcd");
    std::os::unix::fs::symlink(std::fs::canonicalize(binary())?, &etcd)?;
    for i in 0..3 {
        let mut variables = as_variables(cluster.node(i).args());
        variables.push(("ETCD_HEARTBEAT_INTERVAL".to_owned(), "60".to_owned()));
        variables.push(("ETCD_WAL_DIR".to_owned(), cluster.dir().join(format!("wal{i}")).display().to_string()));
        let node = cluster.node(i);
        node.set_binary(etcd.clone());
        node.set_args(Vec::new());
        node.set_variables(variables);
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    assert_eq!(etcdctl.ok(&["put", "a", "1"]).await?, "OK");

    // Its log, as scripts read that of etcd.
    let log = cluster.node(0).life()?;
    let records =
        log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context("each line is JSON")?;
    let said =
        |words: &str| records.iter().find(|record| record["msg"].as_str().is_some_and(|msg| msg.contains(words)));
    for words in
        ["starting an etcd server", "ready to serve client requests", "ETCD_INITIAL_CLUSTER", "--election-timeout is"]
    {
        let record = said(words).with_context(|| format!("{words:?} is not in the log:\n{log}"))?;
        ensure!(["level", "ts", "caller"].iter().all(|key| record[key].is_string()), "{record}");
    }
    ensure!(cluster.dir().join("wal0/CURRENT").is_file(), "the log is not in ETCD_WAL_DIR");
    let version = String::from_utf8(run(&etcd, &["--version"])?.stdout)?;
    ensure!(version.starts_with("etcd Version: 3.") && version.contains("\nGo OS/Arch: linux/"), "{version}");
    let refused = run(&etcd, &["-discovery", "http://example.org/x"])?;
    ensure!(
        refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("no discovery service"),
        "{refused:?}"
    );

    // Its metrics, as Prometheus asks for them and as curl does.
    let url = format!("{}/metrics", cluster.endpoint(0));
    let text = curl(&url, &[])?;
    ensure!(text.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{text}");
    for series in [
        "# TYPE grpc_server_started_total counter",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"DeleteRange\",grpc_code=\"Unavailable\"} 0",
        "grpc_server_started_total{grpc_type=\"bidi_stream\",grpc_service=\"etcdserverpb.Watch\",grpc_method=\"Watch\"} 0",
        "etcd_server_has_leader 1",
        "etcd_network_known_peers{",
    ] {
        ensure!(text.contains(series), "{series:?} is missing in {text}");
    }
    let open = curl(&url, &["-H", "Accept: application/openmetrics-text;version=1.0.0"])?;
    ensure!(open.contains("application/openmetrics-text") && open.ends_with("# EOF\n"), "{open}");

    // A clean stop is no error.
    cluster.node(0).terminate(SOON).await?;
    let log = cluster.node(0).life()?;
    ensure!(!log.contains("\"level\":\"error\""), "a clean stop logs errors:\n{log}");

    // A quota of one member's own counts, whichever member is written through.
    let mut variables = as_variables(&["--quota-backend-bytes".to_owned(), "1".to_owned()]);
    variables.extend(cluster.node(0).variables().to_vec());
    cluster.node(0).set_variables(variables);
    cluster.restart(0).await?;
    let others = Etcdctl::new(&cluster.endpoints()[1..]);
    eventually("the alarm of the member with a quota of its own", SOON, async || {
        let refused = others.fails(&["put", "b", "2"]).await?;
        ensure!(refused.contains("etcdserver: mvcc: database space exceeded"), "{refused}");
        Ok(())
    })
    .await?;
    cluster.terminate_all().await
}
