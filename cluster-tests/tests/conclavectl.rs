//! `conclavectl` against three nodes: what etcdctl's users know comes out the same, and what runs under a lock runs alone.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::{Ctl, Ended},
    wait::{LONG, SOON, eventually},
};
use rustix::process::Signal;
use std::{
    path::Path,
    time::{Duration, Instant},
};

const FORMATS: [&str; 3] = ["simple", "json", "fields"];

async fn three() -> Result<(Cluster, Ctl)> {
    let cluster = Cluster::start(3).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    Ok((cluster, ctl))
}

/// What differs from call to call: who answered, in which term, how long it took.
fn comparable(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, keep) in [
        ("\"member_id\":", "M"),
        ("\"MemberID\" : ", "M"),
        // A busy machine may have another leader in between.
        ("\"raft_term\":", "N"),
        ("\"RaftTerm\" : ", "N"),
        ("took = ", "T"),
        ("\"took\":", "T"),
        ("\"Took\" : ", "T"),
    ] {
        let mut rest = text.as_str();
        let mut cleaned = String::new();
        while let Some(at) = rest.find(before) {
            cleaned += &rest[..at + before.len()];
            cleaned += keep;
            rest = &rest[at + before.len()..];
            rest = &rest[rest.find([',', '\n', '}']).unwrap_or(rest.len())..];
        }
        cleaned += rest;
        text = cleaned;
    }
    text
}

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
            let (theirs, ours) = (etcdctl.run(&args).await?, ctl.run(&args).await?);
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

/// The same on standard output, and success or failure alike. Health comes in the order of answers there.
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
    // The same commands, one after the other, on keys of each one's own: what is printed must not differ but for the key.
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

#[tokio::test]
async fn limits_of_claims_are_shown_and_set() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    assert_eq!(
        ctl.ok(&["claim", "limits", "show"]).await?,
        "default: for 5s to 5m0s, at most 100000 waiting (the defaults)"
    );
    let short = ["claim", "take", "c", "-n", "a/b", "--holder", "h", "--for", "1s"];
    let refused = ctl.run(&short).await?;
    ensure!(refused.code == Some(128) && refused.stderr.contains("this namespace allows 5s to"), "{}", refused.stderr);
    ctl.ok(&["claim", "limits", "set", "a/b", "--min", "500ms"]).await?;
    ctl.ok(&["claim", "limits", "set", "a/b", "--max-waiting", "3"]).await?;
    let shown = ctl.json(&["claim", "limits", "show", "a/b"]).await?;
    let read = |name: &str| shown[name].as_u64();
    assert_eq!((read("min_ms"), read("max_ms"), read("max_waiting")), (Some(500), Some(300_000), Some(3)), "{shown}");
    ctl.ok(&short).await?;
    assert_eq!(ctl.json(&["claim", "limits", "set", "a/b", "--max-waiting", "3"]).await?["changed"], false);
    let none = ctl.run(&["claim", "limits", "set", "a/b", "--min", "1h"]).await?;
    ensure!(none.code == Some(128) && none.stderr.contains("nothing is left"), "{}", none.stderr);
    assert_eq!(ctl.run(&["claim", "limits", "set", "a/b"]).await?.code, Some(128));
    ctl.ok(&["claim", "limits", "reset", "a/b"]).await?;
    assert_eq!(ctl.json(&["claim", "limits", "show", "a/b"]).await?["set"], false);
    Ok(())
}

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
        (vec!["get", "a", "--endpoints", "https://127.0.0.1:2379"], 128, "TLS is not implemented yet"),
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
        (vec!["get", "a", "--user", "root:x"], 128, "authentication is not implemented yet"),
        (vec!["get", "a", "--cacert", "/x", "--endpoints", &live], 128, "TLS is not implemented yet"),
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

#[tokio::test]
async fn a_line_that_can_be_reordered() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let mut watch = ctl.start(&["election", "watch", "printing"])?;
    watch.line_with("nobody leads", SOON).await?;
    let stand = |id| {
        let script = "trap 'echo asked; exit 3' TERM; echo leads $CONCLAVE_FENCE; while :; do sleep 0.05; done";
        ctl.start(&["election", "enter", "printing", "--candidate", id, "--", "sh", "-c", script])
    };
    let mut a = stand("a")?;
    let first: i64 = a.line_with("leads", SOON).await?.split(' ').nth(1).context("no fence")?.parse()?;
    let mut b = stand("b")?;
    watch.line_with("b entered", SOON).await?;
    let mut c = stand("c")?;
    watch.line_with("c entered", SOON).await?;
    let line = async || {
        let shown = ctl.json(&["election", "show", "printing"]).await?;
        let candidates = shown["term"]["candidates"].as_array().cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(
            candidates.iter().map(|one| one["id"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(line().await?, ["a", "b", "c"]);
    ctl.ok(&["election", "promote", "printing", "c"]).await?;
    assert_eq!(line().await?, ["a", "c", "b"]);
    let refused = ctl.run(&["election", "anoint", "printing", "b", "--expect-holder", "z"]).await?;
    assert_eq!(refused.code, Some(8), "{}", refused.stderr);
    // Anointed: the leader is stopped, because it leads no longer.
    ctl.ok(&["election", "anoint", "printing", "b"]).await?;
    let second: i64 = b.line_with("leads", SOON).await?.split(' ').nth(1).context("no fence")?.parse()?;
    ensure!(second > first, "{first} then {second}");
    assert_eq!(a.ended(SOON).await?.code(), Some(124));
    // Asked to hand over: the leader stops its command first, and leaves with the command's code.
    ctl.ok(&["election", "transfer", "printing", "c"]).await?;
    c.line_with("leads", SOON).await?;
    assert_eq!(b.ended(SOON).await?.code(), Some(3));
    ctl.ok(&["election", "evict", "printing", "c", "--reason", "disk full", "--cooldown", "1m"]).await?;
    watch.line_with("c evicted (disk full)", SOON).await?;
    assert_eq!(c.ended(SOON).await?.code(), Some(124));
    let back = ctl.run(&["election", "enter", "printing", "--candidate", "c", "--try"]).await?;
    assert_eq!(back.code, Some(1), "{}", back.stderr);
    Ok(())
}

/// Issue: both led under one fence, and neither was told.
#[tokio::test]
async fn a_second_process_under_one_candidate_id_is_refused() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let enter = |more: &[&'static str]| {
        let script = "echo \"leads $CONCLAVE_FENCE\"; exec sleep 300";
        [&["election", "enter", "twice", "--candidate", "host-7"][..], more, &["--", "sh", "-c", script]].concat()
    };
    let fence = |line: &str| -> Result<i64> { Ok(line.rsplit(' ').next().unwrap_or_default().trim().parse()?) };
    let mut first = ctl.start(&enter(&[]))?;
    let old = fence(&first.line_with("leads", SOON).await?)?;
    for more in [&[][..], &["--try"], &["--instance", "i"]] {
        let second = ctl.run(&enter(more)).await?;
        assert_eq!(second.code, Some(125), "{}", second.stderr);
        ensure!(!second.stdout.contains("leads"), "it ran: {}", second.stdout);
        for part in ["\"host-7\"", "for session", "--takeover", "election show"] {
            ensure!(second.stderr.contains(part), "{part} is not in {}", second.stderr);
        }
    }
    ensure!(ctl.json(&["election", "show", "twice"]).await?["term"]["id"] == old, "the first one leads");
    // Explicitly: another term, and the first one is stopped.
    let mut second = ctl.start(&enter(&["--takeover"]))?;
    let new = fence(&second.line_with("leads", SOON).await?)?;
    ensure!(new > old, "{new} after {old}");
    assert_eq!(first.ended(SOON).await?.code(), Some(124));
    let shown = ctl.json(&["election", "show", "twice"]).await?;
    ensure!(shown["term"]["id"] == new && shown["term"]["leader"] == "host-7", "the first one took it away: {shown}");
    Ok(())
}

#[tokio::test]
async fn claims_sessions_and_modes() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let take = |holder| ["claim", "take", "app", "--holder", holder, "--for", "5s"];
    let taken = ctl.json(&take("a")).await?;
    assert_eq!(taken["outcome"], "TAKEN", "{taken}");
    let instance = taken["instance"].as_str().context("no instance")?;
    let extending = [&take("a")[..], &["--instance", instance]].concat();
    assert_eq!(ctl.json(&extending).await?["outcome"], "EXTENDED");
    let twin = ctl.run(&take("a")).await?;
    assert_eq!(twin.code, Some(8));
    ensure!(
        twin.stderr.contains("another instance of a") && twin.stderr.contains("--twin take-over"),
        "{}",
        twin.stderr
    );
    let denied = ctl.run(&take("b")).await?;
    assert_eq!(denied.code, Some(8));
    ensure!(denied.stderr.contains("held by a"), "{}", denied.stderr);
    // The proof goes into a transaction as it is printed.
    let proof = ctl.ok(&["claim", "check", "app", "a"]).await?;
    let (fence, guard) = proof.split_once('\n').context("fence and guard")?;
    assert_eq!(taken["token"]["fence"].to_string(), fence);
    let script = format!("{guard}\n\nput x 1\n\n\n");
    ensure!(ctl.run_with(&["txn"], &script, SOON).await?.stdout.starts_with("SUCCESS"));
    let mut waiting = ctl.start(&["claim", "take", "app", "--holder", "b", "--for", "5s", "--wait"])?;
    let queued = async || {
        ensure!(ctl.json(&["claim", "show", "app"]).await?["waiting_count"] == 1, "not in line yet");
        Ok(())
    };
    eventually("b in line", SOON, queued).await?;
    ctl.ok(&["claim", "revoke", "app", "--holder", "a"]).await?;
    waiting.line_with("app taken", SOON).await?;
    assert_eq!(ctl.run(&["claim", "check", "app", "a"]).await?.code, Some(8));
    ensure!(ctl.run_with(&["txn"], &script, SOON).await?.stdout.starts_with("FAILURE"));
    ctl.ok(&["claim", "pin", "app", "upgrade", "--reason", "v2"]).await?;
    ensure!(ctl.ok(&["claim", "show", "app"]).await?.contains("pinned by upgrade: v2"));
    // Two read while nobody writes.
    let mut first = ctl.start(&["lock", "config", "--shared", "--", "sh", "-c", "echo reads; exec sleep 30"])?;
    first.line_with("reads", SOON).await?;
    ctl.ok(&["lock", "config", "--shared", "--", "true"]).await?;
    let writer = ctl.run(&["lock", "config", "--exclusive", "--try", "--", "true"]).await?;
    assert_eq!(writer.code, Some(123), "{}", writer.stderr);
    let shown = ctl.json(&["lock", "show", "config"]).await?;
    assert_eq!(shown["locks"][0]["holders"][0]["mode"], "shared", "{shown}");
    let fence = shown["locks"][0]["holders"][0]["fence"].to_string();
    ctl.ok(&["lock", "release", "config", &fence]).await?;
    assert_eq!(first.ended(SOON).await?.code(), Some(124));
    ctl.ok(&["lock", "config", "--exclusive", "--", "true"]).await?;
    let session = ctl.ok(&["session", "open", "--ttl", "30s"]).await?;
    ctl.ok(&["election", "enter", "e", "--candidate", "a", "--session", &session]).await?;
    ensure!(ctl.ok(&["session", "ls"]).await?.contains(&session));
    ensure!(ctl.ok(&["election", "ls"]).await?.contains("e     default    a"));
    ctl.ok(&["session", "close", &session]).await?;
    assert_eq!(ctl.json(&["election", "show", "e"]).await?["term"]["leader"], "");
    Ok(())
}
