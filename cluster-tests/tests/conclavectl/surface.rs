//! Status, help, and what is refused.

use super::kit::three;
use anyhow::{Context, Result, ensure};
use cluster_tests::{
    conclavectl::Ctl,
    wait::{LONG, SOON, eventually},
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn status_tells_what_is_happening() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    let leader = cluster.leader().await?;
    let name = cluster.address(leader).name.clone();
    let text = ctl.ok(&["status"]).await?;
    ensure!(text.contains(&format!("3 of 3 members up; {name} leads in term")), "{text}");
    let mut watch = ctl.start(&["status", "--watch", "--interval", "200ms"])?;
    watch.line_with("3 of 3", SOON).await?;
    let mut holder = ctl.start(&["elect", "printing", "spooler", "--", "sh", "-c", "echo leads; exec sleep 60"])?;
    holder.line_with("leads", SOON).await?;
    watch.line_with("spooler", SOON).await?;
    cluster.node(leader).kill()?;
    watch.line_with(&format!("{name} is down: "), SOON).await?;
    let other = cluster.leader_other_than(leader).await?;
    let led = async || ctl.json(&["status"]).await;
    let shown = eventually("a status with a leader", LONG, led).await?;
    let members = shown["members"].as_array().context("no members")?;
    assert_eq!(members.iter().filter(|member| member["up"] == true).count(), 2, "{shown}");
    assert_eq!(shown["elections"][0]["leader"], "spooler", "{shown}");
    let others = ["n1", "n2", "n3"].into_iter().filter(|other| *other != name);
    let mut leads = members.iter().filter(|member| member["leads"] == true);
    ensure!(leads.next().is_some_and(|member| others.clone().any(|other| member["name"] == other)), "{shown}");
    cluster.restart(leader).await?;
    watch.line_with(&format!("{name} is up again"), SOON).await?;
    // Without a majority.
    cluster.node(leader).kill()?;
    cluster.node(other).kill()?;
    watch.line_with("the cluster has no leader", LONG).await?;
    let alone = ctl.run(&["status"]).await?;
    assert_eq!(alone.code, Some(1), "{}{}", alone.stdout, alone.stderr);
    ensure!(alone.stdout.contains("1 of 3 members up; NO LEADER: 2 members are needed"), "{}", alone.stdout);
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_in_bounded_time() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    // Listens, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let silent = silent.local_addr()?.to_string();
    let (peer, dead) = (cluster.address(0).peer_url(), "127.0.0.1:1");
    let (mixed, live) = (format!("{dead},{silent},{}", cluster.endpoint(1)), cluster.endpoint(1));
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["get", "a", "--endpoints", dead], 2, "connection refused"),
        (vec!["get", "a", "--endpoints", &silent], 2, "no answer within 2s"),
        (vec!["get", "a", "--endpoints", &silent, "--dial-timeout", "300ms"], 2, "no answer within 300ms"),
        (vec!["get", "a", "--endpoints", &peer], 2, "peer port"),
        (vec!["get", "a", "--endpoints", "no.such.host.invalid:2379"], 2, "no.such.host.invalid:2379"),
        (vec!["get", "a", "--endpoints", "ftp://127.0.0.1:2379"], 128, "only http://, https:// and unix:// are known"),
        (vec!["get", "a", "--endpoints", "localhost"], 128, "the port is missing"),
        (vec!["get", "a", "--endpoints", ""], 128, "empty"),
        (vec!["get", "a", "--endpoints", &mixed], 0, ""),
        (vec!["lock", "job", "--endpoints", dead, "--", "true"], 125, "connection refused"),
        (vec!["watch", "a", "--endpoints", dead], 2, "connection refused"),
        (vec!["status", "--watch", "--endpoints", dead], 2, "connection refused"),
        (vec!["elect", "-l", "e", "--endpoints", dead], 2, "connection refused"),
        (vec!["endpoint", "health", "--endpoints", dead], 1, "unhealthy cluster"),
        (vec!["endpoint", "status", "--endpoints", dead], 2, "connection refused"),
        (vec!["get", "--bogus", "a"], 128, "--bogus"),
        (vec!["bogus"], 128, "bogus"),
        (vec!["get", "a", "-w", "xml"], 128, "xml"),
        (vec!["get", "a", "--limit=x"], 128, "--limit"),
        (vec!["get", "a", "--command-timeout=soon"], 128, "is not a time"),
        (vec!["get", "a", "--command-timeout=0s"], 128, "no time"),
        (vec!["get", "a", "--user", ":x"], 128, "the name is empty"),
        (vec!["get", "a", "--cacert", "/x", "--endpoints", &live], 128, "/x: no such file"),
        (vec!["lease", "grant", "0"], 128, "before it began"),
        (vec!["lease", "grant", "--", "-5"], 128, "negative"),
        (vec!["lease", "grant", "99999999999"], 128, "longest"),
        (vec!["lease", "grant", "99999999999999999999999"], 128, "not a time"),
        (vec!["lock", "job", "--ttl", "0"], 128, "before it began"),
        (vec!["lock", "job", "--ttl=-1"], 128, "negative"),
        (vec!["lock", "job", "--ttl", "1e9"], 128, "not a time"),
        (vec!["lock", "job", "--ttl", "9", "--grace", "5s"], 128, "at most a third"),
        (vec!["lock"], 128, "Usage"),
        (vec!["lock", "release", "job"], 128, "FENCE"),
        (vec!["elect", "e"], 128, "give a value"),
        (vec!["elect"], 128, "Usage"),
        (vec!["txn"], 3, "nothing was done"),
        (vec!["lock", "show", "nobodys"], 8, "nobody holds"),
        (vec!["session", "close", "12"], 1, "requested lease not found"),
    ];
    for (args, code, says) in cases {
        let started = Instant::now();
        let ended = ctl.run_with(&args, "", SOON).await?;
        let text = format!("{}{}", ended.stderr, ended.stdout);
        assert_eq!(ended.code, Some(code), "{args:?}: {text}");
        ensure!(text.contains(says), "{args:?}: {says:?} is missing in {text}");
        ensure!(started.elapsed() < Duration::from_secs(6), "{args:?} took {:?}", started.elapsed());
    }
    // A member that hangs: reads go elsewhere; a majority that hangs is told in time.
    cluster.node(0).pause()?;
    ctl.ok(&["get", "a"]).await?;
    cluster.node(1).pause()?;
    cluster.node(2).pause()?;
    let started = Instant::now();
    let ended = ctl.run(&["put", "a", "1"]).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    ensure!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn help_completions_and_pages() -> Result<()> {
    let ctl = Ctl::new(&[]);
    let help = ctl.ok(&["--help"]).await?;
    for text in ["Exit codes", "ETCDCTL_", "lock", "status", "--color"] {
        ensure!(help.contains(text), "{text} is missing in {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        ensure!(ctl.ok(&["completion", shell]).await?.contains("conclavectl"));
    }
    ensure!(ctl.ok(&["man"]).await?.contains(".TH CONCLAVECTL 1"));
    let dir = tempfile::tempdir()?;
    ctl.ok(&["man", "--dir", &dir.path().display().to_string()]).await?;
    let page = std::fs::read_to_string(dir.path().join("conclavectl-lock.1"))?;
    for section in ["SYNOPSIS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
        ensure!(page.contains(section), "{section} is missing in {page}");
    }
    // Colours only where they are asked for, or at a terminal.
    let coloured = ctl.run(&["status", "--color", "always", "--endpoints", "127.0.0.1:1"]).await?;
    ensure!(coloured.stderr.contains('\u{1b}'), "{}", coloured.stderr);
    let plain = ctl.run(&["status", "--endpoints", "127.0.0.1:1"]).await?;
    ensure!(plain.stderr.starts_with("Error: no endpoint"), "{}", plain.stderr);
    Ok(())
}
