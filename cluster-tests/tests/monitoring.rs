//! The alerts and the dashboard of `scripts/deploy/monitoring`: they name metrics that a member
//! has, and the alerts fire when they should.
//!
//! What the alerts do needs `promtool` (Debian's package `prometheus`); where it is missing the
//! test says so and passes.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client,
    cluster::Cluster,
    wait::{LONG, within},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(path)
}

fn read(path: &str) -> Result<String> {
    let path = repository(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| ["etcd_", "conclave_", "grpc_server_", "process_"].iter().any(|start| word.starts_with(start)))
        .collect()
}

/// The section of operations.md that lists metrics and alerts.
fn section<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str> {
    let (_, rest) = text.split_once(from).with_context(|| format!("{from:?} is missing"))?;
    Ok(rest.split_once(to).with_context(|| format!("{to:?} is missing"))?.0)
}

#[tokio::test]
async fn metrics_that_are_named_exist() -> Result<()> {
    // Metrics of TLS are there where a port has TLS, those of peers where there are some, and those of
    // followed files, limits and the audit log where a member has these.
    let key = tempfile::NamedTempFile::new()?;
    std::fs::write(&key, "a key for tokens that nobody asks for")?;
    let tokens = format!("--auth-token=jwt,sign-method=HS256,priv-key={}", key.path().display());
    let mut cluster =
        Cluster::plan(2, &["--peer-auto-tls", &tokens, "--connection-limits=requests=1000000", "--audit-log=stderr"])?;
    let peers: Vec<String> = (0..2).map(|i| cluster.address(i).peer_url()).collect();
    for i in 0..2 {
        let secure = |argument: &String| {
            peers.iter().fold(argument.clone(), |text, peer| text.replace(peer, &peer.replace("http:", "https:")))
        };
        let arguments = cluster.node(i).args().iter().map(secure).collect();
        cluster.node(i).set_args(arguments);
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    client::put(&cluster.client(0)?, "key", "value").await?;
    let url = format!("{}/metrics", cluster.endpoint(cluster.leader().await?));
    let mut curl = tokio::process::Command::new("curl");
    let output = within("curl", LONG, curl.args(["--silent", "--fail", &url]).output()).await??;
    ensure!(output.status.success(), "curl: {output:?}");
    let text = String::from_utf8(output.stdout)?;
    let there: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let operations = read("docs/operations.md")?;
    let monitored = section(&operations, "What to monitor:", "### Alerts")?;
    for (what, text) in [
        ("alerts.yml", read("scripts/deploy/monitoring/alerts.yml")?),
        ("dashboard.json", read("scripts/deploy/monitoring/dashboard.json")?),
        ("docs/operations.md", monitored.to_owned()),
    ] {
        let names = named(&text);
        ensure!(names.len() > 10, "{what} names {} metrics", names.len());
        for name in names {
            let buckets = format!("{name}_bucket");
            ensure!(there.contains(name) || there.contains(&*buckets), "{what}: a member has no metric {name}");
        }
    }
    Ok(())
}

#[test]
fn every_alert_has_an_entry_in_the_manual_and_a_test() -> Result<()> {
    let (alerts, operations) = (read("scripts/deploy/monitoring/alerts.yml")?, read("docs/operations.md")?);
    let tests = read("scripts/deploy/monitoring/alerts.test.yml")?;
    let entries = section(&operations, "### Alerts", "\n## ")?;
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    ensure!(named.len() == 17, "{named:?}");
    for alert in named {
        ensure!(entries.contains(&format!("| `{alert}` |")), "docs/operations.md: no entry for {alert}");
        ensure!(tests.contains(&format!("ALERTS{{alertname=\"{alert}\"")), "alerts.test.yml: no test of {alert}");
    }
    Ok(())
}

#[test]
fn alerts_fire_when_they_should() -> Result<()> {
    let Ok(version) = Command::new("promtool").arg("--version").output() else {
        println!("promtool is not installed: the alerts are NOT tested");
        return Ok(());
    };
    ensure!(version.status.success(), "{version:?}");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let dir = repository("scripts/deploy/monitoring");
        let output = Command::new("promtool").args(arguments).current_dir(dir).output()?;
        ensure!(output.status.success(), "promtool {arguments:?}: {output:?}");
    }
    Ok(())
}
