//! What `conclavectl` holds, gives back and refuses: whatever ends it, and whatever stands in its
//! way.

use super::kit::three;
use anyhow::{Context, Result, ensure};
use cluster_tests::{
    conclavectl::Ctl,
    wait::{LONG, SOON, eventually},
};
use rustix::process::Signal;
use std::{process::Stdio, time::Duration};

/// Standard outputs that cannot be written: a full disk, and a reader that has gone.
fn broken_outputs() -> Result<Vec<(&'static str, Stdio)>> {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ok(vec![("/dev/full", full.into()), ("a closed pipe", writer.into())])
}

#[tokio::test]
async fn a_holder_whose_output_fails_gives_back_before_it_ends() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    // Longer than the test: nothing becomes free by itself.
    let holders: [&[&str]; 7] = [
        &["lock", "job", "--ttl", "5m"],
        &["lock", "own", "--exclusive", "--ttl", "5m"],
        &["elect", "printing", "me", "--ttl", "5m"],
        &["election", "enter", "queue", "--candidate", "me", "--ttl", "5m"],
        &["claim", "take", "app", "--holder", "me", "--for", "5m"],
        &["session", "open", "--ttl", "5m"],
        &["session", "open", "--ttl", "5m", "--keep"],
    ];
    for args in holders {
        for (what, stdout) in broken_outputs()? {
            let ended = ctl.run_into(args, stdout).await?;
            assert_eq!(ended.code, Some(6), "{args:?} into {what}: {}", ended.stderr);
            assert_eq!(ended.stderr.is_empty(), what == "a closed pipe", "{args:?} into {what}: {}", ended.stderr);
        }
    }
    assert_eq!(ctl.ok(&["session", "ls"]).await?, "no sessions");
    ctl.ok(&["lock", "job", "--try", "--", "true"]).await?;
    ctl.ok(&["lock", "own", "--exclusive", "--try", "--", "true"]).await?;
    ctl.ok(&["elect", "printing", "--try", "--", "true"]).await?;
    ctl.ok(&["election", "enter", "queue", "--candidate", "other", "--try", "--", "true"]).await?;
    ctl.ok(&["claim", "take", "app", "--holder", "other", "--for", "5s"]).await?;
    // Entered under a session that goes on.
    let session = ctl.ok(&["session", "open", "--ttl", "5m"]).await?;
    for (what, stdout) in broken_outputs()? {
        let args = ["election", "enter", "queue", "--candidate", "me", "--session", &session];
        assert_eq!(ctl.run_into(&args, stdout).await?.code, Some(6), "into {what}");
        assert_eq!(ctl.json(&["election", "show", "queue"]).await?["term"]["leader"], "", "into {what}");
    }
    ctl.ok(&["session", "close", &session]).await?;
    // A lease of which nobody knows the id.
    for (_, stdout) in broken_outputs()? {
        ctl.run_into(&["lease", "grant", "300"], stdout).await?;
    }
    assert_eq!(ctl.ok(&["session", "ls"]).await?, "no sessions");
    Ok(())
}

#[tokio::test]
async fn only_what_somebody_holds_now_is_worth_trying_later() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let mut permit = ctl.start(&["lock", "sem", "--permits", "1/1", "--", "sh", "-c", "echo holds; exec sleep 60"])?;
    permit.line_with("holds", SOON).await?;
    let leads = ["election", "enter", "queue", "--candidate", "a", "--", "sh", "-c", "echo leads; exec sleep 60"];
    let mut leader = ctl.start(&leads)?;
    leader.line_with("leads", SOON).await?;
    let mut elected = ctl.start(&["elect", "printing", "--", "sh", "-c", "echo leads; exec sleep 60"])?;
    elected.line_with("leads", SOON).await?;
    let mut holder = ctl.start(&["lock", "etcds", "--", "sh", "-c", "echo holds; exec sleep 60"])?;
    holder.line_with("holds", SOON).await?;
    ctl.ok(&["election", "enter", "queue", "--candidate", "c", "--session", &ctl.ok(&["session", "open"]).await?])
        .await?;
    ctl.ok(&["election", "evict", "queue", "c", "--cooldown", "5m"]).await?;
    ctl.ok(&["put", "plain/config", "v"]).await?;
    ensure!(ctl.run(&["lock", "show", "plain"]).await?.stderr.contains("\"plain/config\" stands before"));
    let mut nested = ctl.start(&["lock", "deploy/web", "--", "sh", "-c", "echo holds; exec sleep 60"])?;
    nested.line_with("holds", SOON).await?;
    let mut claim = vec!["claim", "take", "claimed", "--holder", "a", "--for", "60s"];
    ctl.ok(&claim).await?;
    claim[4] = "b";
    claim.extend(["--wait", "0s"]);
    let ended = ctl.run(&claim).await?;
    ensure!(ended.code == Some(8) && ended.stderr.contains("is held by a"), "{ended:?}");
    ctl.ok(&["claim", "await", "nobody's", "--wait", "0s"]).await?;
    ensure!(ctl.run(&["claim", "await", "claimed", "--wait", "0s"]).await?.stderr.contains("is still held"));
    let enter = |candidate: &'static str| ["election", "enter", "queue", "--candidate", candidate];
    let cases: Vec<(Vec<&str>, i32, i32, &str)> = vec![
        (vec!["lock", "sem", "--permits", "1/1", "--try"], 8, 123, "somebody else holds"),
        (vec!["lock", "sem", "--permits", "1/1", "--wait", "2s"], 8, 123, "not in time"),
        (vec!["elect", "printing", "--try", "me"], 8, 123, "somebody else leads"),
        (vec!["elect", "printing", "--wait", "2s", "me"], 8, 123, "not in time"),
        ([&enter("b")[..], &["--try"]].concat(), 8, 123, "somebody else leads"),
        ([&enter("b")[..], &["--wait", "2s"]].concat(), 8, 123, "not in time"),
        (vec!["lock", "sem", "--permits", "1/1", "--wait", "0s"], 8, 123, "not in time"),
        (vec!["lock", "etcds", "--wait", "1ms"], 8, 123, "not in time: somebody else holds"),
        (vec!["elect", "printing", "--wait", "0s", "me"], 8, 123, "not in time"),
        ([&enter("b")[..], &["--wait", "0s"]].concat(), 8, 123, "not in time"),
        ([&enter("b")[..], &["--wait", "5ms"]].concat(), 8, 123, "not in time"),
        // These do not pass by waiting.
        (vec!["lock", "sem", "--permits", "1/2", "--try"], 1, 125, "capacity"),
        (enter("c").to_vec(), 1, 125, "s left\n  the cool-down"),
        (enter("a").to_vec(), 1, 125, "Error:"),
        ([&enter("d")[..], &["--expect-holder", "nobody"]].concat(), 8, 125, "not as expected"),
        (vec!["lock", "job", "--namespace", "ns", "--try"], 128, 128, "only Conclave's own locks"),
        // All keys below an etcd lock's name are in its line, as with etcd.
        (vec!["lock", "plain", "--try"], 8, 125, "\"plain/config\" stands before \"plain\", and ends with no lease"),
        (vec!["lock", "plain", "--wait", "100ms"], 8, 125, "\"plain/config\" stands before \"plain\""),
        (vec!["elect", "plain", "--try", "me"], 8, 125, "\"plain/config\" stands before \"plain\""),
        (vec!["lock", "deploy", "--wait", "0s"], 8, 123, "of another lock stands before \"deploy\""),
    ];
    for (args, alone, with_command, says) in cases {
        let ended = ctl.run(&args).await?;
        assert_eq!(ended.code, Some(alone), "{args:?}: {}", ended.stderr);
        let args = [&args[..], &["--", "true"]].concat();
        let ended = ctl.run(&args).await?;
        assert_eq!(ended.code, Some(with_command), "{args:?}: {}", ended.stderr);
        ensure!(ended.stderr.contains(says), "{args:?}: {says:?} is missing in {}", ended.stderr);
    }
    // What nobody holds is taken however short the wait is.
    let free: [&[&str]; 4] = [
        &["lock", "free", "--wait", "0s", "--", "true"],
        &["lock", "free", "--exclusive", "--wait", "0s", "--", "true"],
        &["elect", "free", "--wait", "0s", "--", "true"],
        &["election", "enter", "free", "--wait", "0s", "--", "true"],
    ];
    for args in free {
        ctl.ok(args).await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_a_leader_of_the_cluster_the_cause_is_named() -> Result<()> {
    let (mut cluster, ctl) = three().await?;
    let mut holder = ctl.start(&["lock", "held", "--exclusive", "--ttl", "4s"])?;
    holder.line_with("held with fence", SOON).await?;
    cluster.node(1).kill()?;
    cluster.node(2).kill()?;
    let alone = async || {
        ensure!(ctl.run(&["status"]).await?.code == Some(1), "it still knows a leader");
        Ok(())
    };
    eventually("the loss of the leader", LONG, alone).await?;
    let cause = "the cluster has no leader: 1 of 3 members answers, 2 are needed";
    let cases: [(&[&str], i32, &str); 12] = [
        (&["put", "a", "1"], 7, "the outcome is unknown"),
        (&["session", "open"], 7, "nothing is held by it, and it ends after 1m0s"),
        (&["session", "close", "7"], 7, "closing it again does no harm"),
        (
            &["claim", "take", "x", "--holder", "h", "--for", "10s", "--wait=1s"],
            2,
            "nothing can be read or written until",
        ),
        (&["election", "watch", "x"], 2, "nothing can be read or written until"),
        (&["move-leader", "n1"], 2, "there is no leadership to hand over"),
        (&["lock", "x", "--try", "--", "true"], 125, "the lock \"x\" was not taken"),
        (&["get", "a"], 2, "nothing can be read or written until"),
        (&["lock", "x", "--", "true"], 125, "the lock \"x\" was not taken"),
        (&["lock", "x", "--wait", "1s", "--exclusive", "--", "true"], 125, "nothing is held; what was asked for ends"),
        (&["elect", "x", "--", "true"], 125, "the leadership of \"x\" was not taken"),
        (&["election", "enter", "x", "--", "true"], 125, "nothing is held; what was asked for ends"),
    ];
    for (args, code, says) in cases {
        let ended = ctl.run(&[&["--command-timeout", "2s"], args].concat()).await?;
        // A write may be refused at once: then it surely had no effect.
        let known = ended.code == Some(code) || (code == 7 && ended.code == Some(2));
        ensure!(known, "{args:?}: {:?} {}", ended.code, ended.stderr);
        ensure!(ended.stderr.contains(cause), "{args:?}: {}", ended.stderr);
        ensure!(ended.code == Some(2) && code == 7 || ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
    // A signal is obeyed at once, while a session is asked for too.
    let mut opening = ctl.start(&["lock", "x", "--", "true"])?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    opening.signal(Signal::TERM)?;
    assert_eq!(opening.ended(SOON).await?.code(), Some(143));
    let said = holder.said().await?;
    ensure!(said.contains(cause) && said.contains("lost the lock \"held\""), "{said}");
    assert_eq!(holder.ended(SOON).await?.code(), Some(9));
    Ok(())
}

#[tokio::test]
async fn who_holds_an_etcd_lock_is_shown() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let ctl = ctl.with("LOGNAME", "operator");
    let mut holder = ctl.start(&["lock", "job", "--", "sh", "-c", "echo $PPID; exec sleep 60"])?;
    let process = holder.line().await?;
    let listed = ctl.ok(&["lock", "list"]).await?;
    ensure!(listed.contains("operator@") && listed.contains(&format!("/{process}")), "{listed}");
    ensure!(ctl.ok(&["status"]).await?.contains(&format!("/{process}")));
    let late = ctl.run(&["lock", "job", "--wait", "4s", "--", "true"]).await?;
    ensure!(late.code == Some(123) && late.stderr.contains("held by operator@"), "{}", late.stderr);
    // The other kind of lock does not exclude it, and says so.
    let other = ctl.run(&["lock", "job", "--exclusive", "--", "true"]).await?;
    ensure!(other.code == Some(0) && other.stderr.contains("it is another lock"), "{}", other.stderr);
    Ok(())
}

#[tokio::test]
async fn a_deposed_leader_may_stay_in_line_and_lead_again() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let script = "trap 'echo asked; exit 3' TERM; echo leads $CONCLAVE_FENCE; while :; do sleep 0.05; done";
    let stand = |id, more: &[&str]| {
        let args = [&["election", "enter", "pool", "--candidate", id], more, &["--", "sh", "-c", script]].concat();
        ctl.start(&args)
    };
    let fence = |line: String| line.split(' ').nth(1).and_then(|text| text.parse::<i64>().ok()).context("no fence");
    let line = async || {
        let shown = ctl.json(&["election", "show", "pool"]).await?;
        let candidates = shown["term"]["candidates"].as_array().cloned().unwrap_or_default();
        let ids = candidates.iter().map(|one| one["id"].as_str().unwrap_or("?").to_owned());
        Ok::<_, anyhow::Error>(ids.collect::<Vec<_>>())
    };
    let mut a = stand("a", &["--again", "--takeover"])?;
    let first = fence(a.line_with("leads", SOON).await?)?;
    let session = ctl.ok(&["session", "open", "--ttl", "5m"]).await?;
    ctl.ok(&["election", "enter", "pool", "--candidate", "b", "--session", &session]).await?;
    // Deposed by hand.
    ctl.ok(&["election", "anoint", "pool", "b"]).await?;
    a.line_with("asked", SOON).await?;
    assert_eq!(line().await?, ["b", "a"]);
    ctl.ok(&["election", "leave", "pool", "b"]).await?;
    let second = fence(a.line_with("leads", SOON).await?)?;
    ensure!(second > first, "{first} then {second}");
    // Asked to hand over: it is first in line afterwards.
    for other in ["c", "d"] {
        ctl.ok(&["election", "enter", "pool", "--candidate", other, "--session", &session]).await?;
    }
    ctl.ok(&["election", "transfer", "pool", "d"]).await?;
    a.line_with("asked", SOON).await?;
    let handed = async || {
        ensure!(line().await? == ["d", "a", "c"], "{:?}", line().await?);
        Ok(())
    };
    eventually("the hand-over", SOON, handed).await?;
    ctl.ok(&["election", "evict", "pool", "d"]).await?;
    a.line_with("leads", SOON).await?;
    // A signal ends it, and it leaves.
    a.signal(Signal::TERM)?;
    assert_eq!(a.ended(SOON).await?.code(), Some(3));
    assert_eq!(line().await?, ["c"]);
    // Taken out, it does not come back; it says why.
    ctl.ok(&["election", "leave", "pool", "c"]).await?;
    let orders: [(&[&str], &str); 3] = [
        (&["evict", "--everywhere", "e"], "evicted"),
        (&["leave", "pool", "e"], "left"),
        (&["delete", "pool"], "the election was deleted"),
    ];
    for (order, why) in orders {
        let mut e = stand("e", &["--again"])?;
        e.line_with("leads", SOON).await?;
        ctl.ok(&[&["election"], order].concat()).await?;
        let said = e.said().await?;
        ensure!(said.contains(why) && !said.contains("again"), "{order:?}: {said}");
        assert_eq!(e.ended(SOON).await?.code(), Some(124), "{order:?}: {said}");
        let there = ctl.run(&["election", "show", "pool"]).await?.code == Some(0);
        ensure!(there == (order[0] != "delete"), "{order:?}");
        ensure!(!there || line().await?.is_empty(), "{order:?}: {:?}", line().await?);
    }
    // It was moved back, and taken out while its command was being stopped.
    let slow = "trap 'echo asked; sleep 2; exit 3' TERM; echo leads; while :; do sleep 0.05; done";
    let args = ["election", "enter", "pool", "--candidate", "g", "--again", "--ttl", "30s", "--", "sh", "-c", slow];
    ctl.ok(&["election", "enter", "pool", "--candidate", "h", "--session", &session]).await?;
    let mut g = ctl.start(&args)?;
    let stands = async || {
        ensure!(line().await?.contains(&"g".to_owned()), "{:?}", line().await?);
        Ok(())
    };
    eventually("g stands in line", SOON, stands).await?;
    ctl.ok(&["election", "anoint", "pool", "g"]).await?;
    g.line_with("leads", SOON).await?;
    ctl.ok(&["election", "demote", "pool", "g"]).await?;
    g.line_with("asked", SOON).await?;
    ctl.ok(&["election", "evict", "pool", "g", "--cooldown", "5m", "--reason", "disk full"]).await?;
    let said = g.said().await?;
    ensure!(
        said.contains("cannot stand for \"pool\" again: it was taken out meanwhile (evicted: disk full)"),
        "{said}"
    );
    assert_eq!(g.ended(SOON).await?.code(), Some(124), "{said}");
    ctl.ok(&["election", "leave", "pool", "h"]).await?;
    // Held for as long as it may, it enters again.
    let mut f = stand("f", &["--again", "--max-hold", "1s"])?;
    let first = fence(f.line_with("leads", SOON).await?)?;
    let second = fence(f.line_with("leads", SOON).await?)?;
    ensure!(second > first, "{first} then {second}");
    f.signal(Signal::TERM)?;
    f.ended(SOON).await?;
    // It does not make an election anew that was deleted while its command was being stopped.
    let more = ["--again", "--max-hold", "1s", "--ttl", "30s"];
    let args = [&["election", "enter", "pool", "--candidate", "f"], &more[..], &["--", "sh", "-c", slow]].concat();
    let mut f = ctl.start(&args)?;
    f.line_with("asked", SOON).await?;
    ctl.ok(&["election", "delete", "pool"]).await?;
    let said = f.said().await?;
    ensure!(said.contains("cannot stand for \"pool\" again: the election was deleted meanwhile"), "{said}");
    assert_eq!(f.ended(SOON).await?.code(), Some(124), "{said}");
    assert_eq!(ctl.run(&["election", "show", "pool"]).await?.code, Some(8), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_process_whose_place_was_taken_over_does_not_take_out_its_successor() -> Result<()> {
    let (_cluster, ctl) = three().await?;
    let stand = |more: &[&str]| {
        let command = ["--", "sh", "-c", "echo leads; exec sleep 60"];
        ctl.start(&[&["election", "enter", "pool", "--candidate", "host-7"], more, &command].concat())
    };
    let mut before = stand(&["--again"])?;
    before.line_with("leads", SOON).await?;
    let mut after = stand(&["--takeover"])?;
    after.line_with("leads", SOON).await?;
    let said = before.said().await?;
    ensure!(said.contains("another session or instance took over"), "{said}");
    assert_eq!(before.ended(SOON).await?.code(), Some(124));
    assert_eq!(ctl.json(&["election", "show", "pool"]).await?["term"]["leader"], "host-7");
    after.signal(Signal::TERM)?;
    after.ended(SOON).await?;
    assert_eq!(ctl.json(&["election", "show", "pool"]).await?["term"]["leader"], "");
    Ok(())
}

#[tokio::test]
async fn refusals_say_how_things_stand() -> Result<()> {
    let (cluster, ctl) = three().await?;
    let session = ctl.ok(&["session", "open", "--ttl", "5m"]).await?;
    ctl.ok(&["election", "enter", "pool", "--candidate", "a", "--session", &session]).await?;
    // What a shell asks after TAB, as the script of `completion bash` does.
    let tab = async |index: &str, words: &[&str]| {
        let asking = Ctl::new(&cluster.endpoints()).with("CONCLAVECTL_COMPLETE", "bash").with("_CLAP_IFS", "\n");
        asking.with("_CLAP_COMPLETE_INDEX", index).ok(&[&["--", "conclavectl"], words].concat()).await
    };
    assert_eq!(tab("3", &["election", "leave", "po"]).await?, "pool");
    assert_eq!(tab("3", &["claim", "show", "po"]).await?, "");
    ensure!(tab("3", &["session", "close", ""]).await?.lines().any(|line| line == session));
    ensure!(ctl.run(&["election", "leave", "none", "z"]).await?.stderr.contains("there is no election \"none\""));
    let long = "a".repeat(300);
    let cases: [(&[&str], i32, &str); 17] = [
        (&["election", "enter", "pool", "--candidate", ""], 128, "--candidate"),
        (
            &["election", "enter", "pool", "--candidate", "a", "--session", &session, "--instance", "i"],
            1,
            "stands under it already, as instance",
        ),
        (&["claim", "take", "c", "--holder", "", "--for", "10s"], 128, "--holder is empty"),
        (&["lock", &long, "--exclusive", "--", "true"], 128, "the name has 300 bytes"),
        (&["put", "/_conclave/x", "1"], 1, "choose another key"),
        (&["lease", "keep-alive", "7"], 9, "lease 0000000000000007 is gone"),
        (&["lease", "keep-alive", "7", "--once"], 9, "requested lease not found"),
        (&["--cacert", "/nope", "get", "a"], 128, "--cacert"),
        (&["election", "anoint", "pool", "z"], 8, "\"z\" is not a candidate of \"pool\": a leads with fence"),
        (&["election", "evict", "none", "z"], 8, "there is no election \"none\""),
        (&["election", "delete", "none"], 8, "there is no election \"none\""),
        (&["election", "anoint", "pool", "a", "--expect-holder", "z"], 8, "not as expected: a leads with fence"),
        (&["election", "anoint", "", "a"], 128, "<NAME>"),
        (&["defrag"], 4, "is not implemented yet"),
        (&["member", "add", "n4"], 128, "--peer-urls"),
        (&["move-leader", "n9"], 128, "the members are n1, n2, n3"),
        (&["get", "a", "--rev", "999999"], 1, "conclavectl status"),
    ];
    for (args, code, says) in cases {
        let ended = ctl.run(args).await?;
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        ensure!(ended.stderr.contains(says), "{args:?}: {says:?} is missing in {}", ended.stderr);
        ensure!(ended.stderr.starts_with("Error:"), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(ctl.ok(&["election", "evict", "--everywhere", "a"]).await?, "a evicted from 1 election");
    ensure!(ctl.ok(&["status"]).await?.contains("1 election without candidates"));
    assert_eq!(ctl.json(&["version"]).await?["api_version"], "3.6");
    // Everything but what elections, locks and claims have written.
    ctl.ok(&["put", "a", "1"]).await?;
    ctl.ok(&["put", "z", "1"]).await?;
    let all = ctl.run(&["del", "", "--prefix"]).await?;
    ensure!(all.code == Some(1) && all.stderr.contains("leave them out of the range"), "{}", all.stderr);
    assert_eq!(ctl.ok(&["del", "", "/_conclave/"]).await?, "0");
    assert_eq!(ctl.ok(&["del", "/_conclave0", "--from-key"]).await?, "2");
    for group in ["election", "claim", "lock", "session", "member", "lease", "alarm"] {
        ctl.ok(&[group, "list"]).await?;
    }
    Ok(())
}
