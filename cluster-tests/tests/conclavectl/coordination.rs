//! Elections with an order, claims, sessions and modes of locks.

use super::kit::three;
use anyhow::{Context, Result, ensure};
use cluster_tests::wait::{SOON, eventually};

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
