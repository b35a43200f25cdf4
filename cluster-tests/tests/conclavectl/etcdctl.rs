//! What etcdctl's users know comes out the same.

use super::kit::{FORMATS, comparable, three};
use anyhow::{Context, Result, ensure};
use cluster_tests::{
    conclavectl::{Ctl, Ended},
    wait::{SOON, eventually},
};
use rustix::process::Signal;

#[tokio::test]
async fn prints_what_etcdctl_prints() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let etcdctl = Ctl::etcdctl(&cluster.endpoints());
    let lease = etcdctl.json(&["lease", "grant", "5000"]).await?["ID"].as_i64().context("no id")?;
    let lease = format!("{lease:x}");
    for (key, value) in [("a", "1"), ("b", "two words"), ("c", "<&>\"\\\n\t\u{e9}\u{200b}'"), ("d", "")] {
        etcdctl.ok(&["put", key, value]).await?;
    }
    etcdctl.ok(&["put", "leased", "x", "--lease", &lease]).await?;
    let revision = etcdctl.json(&["get", "a"]).await?["header"]["revision"].as_i64().context("no revision")?;
    let (rev, future) = (format!("--rev={}", revision - 1), format!("--rev={}", revision + 1000));
    let commands: Vec<Vec<&str>> = vec![
        vec!["get", "a"],
        vec!["get", "nothing"],
        vec!["get", "a", "c"],
        vec!["get", "--prefix=true", ""],
        vec!["get", "b", "--from-key", "--limit=2"],
        vec!["get", "", "--from-key", "--keys-only"],
        vec!["get", "", "--prefix", "--print-value-only"],
        vec!["get", "c", "--hex"],
        vec!["get", "c"],
        vec!["get", "", "--prefix", "--order=DESCEND", "--sort-by=VALUE"],
        vec!["get", "", "--prefix", "--sort-by=modify", "--limit", "3"],
        vec!["get", "a", "--consistency=s"],
        vec!["get", "leased", &rev],
        vec!["get", "a", &future],
        vec!["get"],
        vec!["get", "a", "--prefix", "--from-key"],
        vec!["get", "a", "b", "--prefix"],
        vec!["put", "x"],
        vec!["put"],
        vec!["put", "x", "y", "--lease=zz"],
        vec!["put", "x", "y", "--lease=12"],
        vec!["put", "--ignore-value", "nokey"],
        vec!["put", "--ignore-value", "x", "y"],
        vec!["put", "", "y"],
        vec!["del"],
        vec!["del", "nothing"],
        vec!["lease", "timetolive", &lease],
        vec!["lease", "timetolive", &lease, "--keys"],
        vec!["lease", "timetolive", "12"],
        vec!["lease", "keep-alive", "--once", &lease],
        vec!["lease", "list"],
        vec!["lease", "revoke", "12"],
        vec!["lease", "grant", "x"],
        vec!["lease", "grant"],
        vec!["member", "list"],
        vec!["endpoint", "hashkv"],
        vec!["endpoint", "health"],
        vec!["alarm", "list"],
        vec!["alarm", "disarm"],
        vec!["move-leader", "xyz"],
        vec!["move-leader", "12"],
    ];
    for command in &commands {
        for format in FORMATS {
            let args = [command.as_slice(), &["-w", format]].concat();
            let (theirs, ours) = at_one_second(&etcdctl, &ctl, &args).await?;
            // It crashes there.
            if theirs.code != Some(2) {
                compare(&args, &theirs, &ours)?;
            }
        }
    }
    for table in [&["member", "list"][..], &["endpoint", "hashkv"], &["endpoint", "status"]] {
        let args = [table, &["-w", "table"]].concat();
        compare(&args, &etcdctl.run(&args).await?, &ctl.run(&args).await?)?;
    }
    Ok(())
}

/// What both print. The seconds that a lease has left must not change between the two: `etcdctl` is
/// asked before and after, until its two answers are the same.
async fn at_one_second(etcdctl: &Ctl, ctl: &Ctl, args: &[&str]) -> Result<(Ended, Ended)> {
    let mut theirs = etcdctl.run(args).await?;
    loop {
        let ours = ctl.run(args).await?;
        if !args.contains(&"timetolive") {
            return Ok((theirs, ours));
        }
        let again = etcdctl.run(args).await?;
        if comparable(&theirs.stdout) == comparable(&again.stdout) {
            return Ok((theirs, ours));
        }
        theirs = again;
    }
}

/// The same on standard output, and success or failure alike. Health comes in the order of answers
/// there.
fn compare(args: &[&str], theirs: &Ended, ours: &Ended) -> Result<()> {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = comparable(text).lines().map(str::to_owned).collect();
        if args.contains(&"health") {
            lines.sort();
        }
        lines
    };
    if args.contains(&"health") && args.contains(&"json") {
        ensure!(ours.stdout.starts_with("[{\"endpoint\":"), "{}", ours.stdout);
    } else if args.contains(&"health") && args.contains(&"simple") {
        // 3.4 writes it to standard error, 3.5 to standard output.
        assert_eq!(sorted(&(theirs.stdout.clone() + &theirs.stderr)), sorted(&ours.stdout), "{args:?}");
    } else {
        assert_eq!(
            sorted(&theirs.stdout),
            sorted(&ours.stdout),
            "{args:?}: etcdctl says {} we {}",
            theirs.stderr,
            ours.stderr
        );
    }
    ensure!(
        (theirs.code == Some(0)) == (ours.code == Some(0)),
        "{args:?}: {:?} here, {:?} there",
        ours.code,
        theirs.code
    );
    // The server's words reach the user.
    if let Some(at) = theirs.stderr.find("etcdserver: ") {
        let words = theirs.stderr[at..].split(['"', '\n', ')']).next().unwrap_or_default();
        ensure!(ours.stderr.contains(words), "{args:?}: {words:?} is missing in {:?}", ours.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn writes_what_etcdctl_writes() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let etcdctl = Ctl::etcdctl(&cluster.endpoints());
    // The same commands, one after the other, on keys of each one's own: what is printed must not
    // differ but for the key.
    let script: [(&[&str], &str); 9] = [
        (&["put", "KEY", "1"], ""),
        (&["put", "KEY"], "from stdin\n"),
        (&["put", "KEY", "3", "--prev-kv"], ""),
        (&["put", "KEY", "--", "--dashes"], ""),
        (
            &["txn"],
            "value(\"KEY\") = \"--dashes\"\nversion(\"KEY\") > \"1\"\n\nput KEY new\nget KEY\ndel nothing\n\nput KEY never\n\n",
        ),
        (&["txn"], "mod(\"KEY\") = \"1\"\n\nput KEY never\n\nput KEY \"a b\" --prev-kv\nget KEY --keys-only\n\n"),
        (&["txn", "-i"], "\nget KEY\n\n\n"),
        (&["get", "KEY"], ""),
        (&["del", "KEY", "--prev-kv"], ""),
    ];
    for (args, input) in script {
        let on = async |ctl: &Ctl, key: &str| {
            let args: Vec<String> = args.iter().map(|arg| arg.replace("KEY", key)).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let ended = ctl.run_with(&args, &input.replace("KEY", key), SOON).await?;
            Ok::<_, anyhow::Error>((ended.code, ended.stdout.replace(key, "KEY")))
        };
        assert_eq!(on(&etcdctl, "theirs").await?, on(&ctl, "ours").await?, "{args:?} {input}");
    }
    let grant = ctl.ok(&["lease", "grant", "60"]).await?;
    let id = grant.split(' ').nth(1).context("no id")?;
    assert_eq!(grant, format!("lease {id} granted with TTL(60s)"));
    assert_eq!(ctl.ok(&["lease", "revoke", id]).await?, format!("lease {id} revoked"));
    assert_eq!(ctl.ok(&["compaction", "3"]).await?, "compacted revision 3");
    Ok(())
}

#[tokio::test]
async fn etcdctl_stands_in_the_same_line() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let etcdctl = Ctl::etcdctl(&cluster.endpoints());
    let mut theirs = etcdctl.start(&["lock", "job"])?;
    theirs.line_with("job/", SOON).await?;
    assert_eq!(ctl.run(&["lock", "job", "--try"]).await?.code, Some(8));
    let mut ours = ctl.start(&["lock", "job"])?;
    theirs.signal(Signal::INT)?;
    ours.line_with("job/", SOON).await?;
    let shown = ctl.json(&["lock", "ls"]).await?;
    assert_eq!(
        (shown["locks"][0]["name"].as_str(), shown["locks"][0]["holders"][0]["mode"].as_str()),
        (Some("job"), Some("etcd")),
        "{shown}"
    );
    // A wait that is interrupted leaves the line at once, with the exit code that shells have for
    // the signal.
    let places = |count: i64| {
        let ctl = &ctl;
        async move {
            let found = ctl.json(&["get", "job/", "--prefix", "--count-only"]).await?["count"].as_i64();
            ensure!(found == Some(count), "{found:?} places");
            Ok(())
        }
    };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut waits = ctl.start(&["lock", "job", "--ttl", "1m", "--", "true"])?;
        eventually("it waits in the queue", SOON, || places(2)).await?;
        waits.signal(signal)?;
        assert_eq!(waits.ended(SOON).await?.code(), Some(code));
        places(1).await?;
    }
    ours.signal(Signal::INT)?;
    assert_eq!(ours.ended(SOON).await?.code(), Some(0));
    // Elections: they lead, we follow; both observers see both.
    let (mut theirs, mut watching) = (etcdctl.start(&["elect", "e", "they"])?, ctl.start(&["elect", "-l", "e"])?);
    theirs.line_with("they", SOON).await?;
    watching.line_with("they", SOON).await?;
    let mut ours = ctl.start(&["elect", "e", "we"])?;
    theirs.signal(Signal::INT)?;
    ours.line_with("we", SOON).await?;
    watching.line_with("we", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn etcdctls_environment_is_understood() -> Result<()> {
    let (cluster, _) = three().await?;
    let env = Ctl::new(&[]).with("ETCDCTL_ENDPOINTS", cluster.endpoint(0)).with("ETCDCTL_WRITE_OUT", "json");
    ensure!(env.ok(&["put", "a", "1"]).await?.starts_with("{\"header\""));
    assert_eq!(env.clone().with("CONCLAVECTL_WRITE_OUT", "simple").ok(&["put", "a", "1"]).await?, "OK");
    assert_eq!(env.ok(&["get", "a", "-w", "simple"]).await?, "a\n1");
    let wrong = env.with("ETCDCTL_DIAL_TIMEOUT", "soon").run(&["get", "a"]).await?;
    assert_eq!(wrong.code, Some(128));
    ensure!(wrong.stderr.contains("ETCDCTL_DIAL_TIMEOUT: \"soon\" is not a time"), "{}", wrong.stderr);
    Ok(())
}
