//! Which member leads: labels, the policy, maintenance; and `conclavectl drain`, which moves the
//! leaderships of clients.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::Ctl,
    wait::{LONG, SOON, eventually},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ZONES: [&str; 3] = ["a", "b", "c"];

/// What plain HTTP answers.
async fn page(cluster: &Cluster, i: usize, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.address(i).client)).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn leads(cluster: &Cluster, member: usize) -> Result<()> {
    eventually(&format!("n{} leads", member + 1), LONG, async || {
        let leader = cluster.leader().await?;
        ensure!(leader == member, "n{} leads", leader + 1);
        Ok(())
    })
    .await
}

/// The members as `member list` has them, by name.
async fn members(ctl: &Ctl) -> Result<Vec<Value>> {
    let mut members = ctl.json(&["member", "list"]).await?["members"].as_array().context("no members")?.clone();
    members.sort_by_key(|member| member["name"].to_string());
    Ok(members)
}

#[tokio::test]
async fn the_preferred_member_leads_and_maintenance_moves_leadership_away_and_back() -> Result<()> {
    let mut cluster = Cluster::plan(3, &[])?;
    for (i, zone) in ZONES.iter().enumerate() {
        cluster.node(i).set_variable(Some(("CONCLAVE_MEMBER_LABEL", &format!("zone={zone},region=eu"))));
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let ctl = Ctl::new(&cluster.endpoints());
    eventually("all labels are known", LONG, async || {
        for (member, zone) in members(&ctl).await?.iter().zip(ZONES) {
            ensure!(member["labels"] == serde_json::json!({"region": "eu", "zone": zone}), "{member}");
        }
        Ok(())
    })
    .await?;

    let first = cluster.leader().await?;
    let preferred = (first + 1) % 3;
    let name = cluster.address(preferred).name.clone();
    let rule = format!("zone={}:10", ZONES[preferred]);
    ctl.ok(&["placement", "set", "--prefer", &rule, "--prefer", "region=eu", "--calm", "1s"]).await?;
    leads(&cluster, preferred).await?;
    let shown = ctl.json(&["placement", "show"]).await?;
    let weights: Vec<u64> =
        shown["members"].as_array().into_iter().flatten().filter_map(|member| member["weight"].as_u64()).collect();
    assert_eq!(weights.iter().sum::<u64>(), 13, "{shown}");

    // It gives leadership away, stays so over a restart, and is not chosen.
    ctl.ok(&["member", "maintenance", &name, "on"]).await?;
    cluster.leader_other_than(preferred).await?;
    assert_eq!(members(&ctl).await?[preferred]["maintenance"], true);
    eventually("a transfer to it is refused", SOON, async || {
        let asked = ctl.run(&["move-leader", &name]).await?;
        ensure!(asked.code == Some(1) && asked.stderr.contains("in maintenance"), "{asked:?}");
        Ok(())
    })
    .await?;
    cluster.restart(preferred).await?;
    ensure!(page(&cluster, preferred, "/status").await?.contains("\"maintenance\":true"), "it forgot its maintenance");
    ensure!(page(&cluster, preferred, "/metrics").await?.contains("conclave_member_in_maintenance 1"), "no metric");
    ensure!(cluster.leader().await? != preferred, "it leads");

    ctl.ok(&["member", "maintenance", &name, "off"]).await?;
    leads(&cluster, preferred).await?;

    // The only one that can lead leads, maintenance or not.
    ctl.ok(&["member", "maintenance", &name, "on"]).await?;
    let last = cluster.leader_other_than(preferred).await?;
    let spare = 3 - preferred - last;
    ctl.ok(&["member", "maintenance", &cluster.address(spare).name.clone(), "on"]).await?;
    cluster.node(last).kill()?;
    let left = Ctl::new(&[cluster.endpoint(preferred), cluster.endpoint(spare)]);
    eventually("the two in maintenance serve", LONG, async || left.ok(&["put", "k", "v"]).await).await?;
    Ok(())
}

#[tokio::test]
async fn a_drained_host_leads_nothing_that_another_one_can() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    let enter = |election, candidate| ctl.start(&["election", "enter", election, "--candidate", candidate]);
    let mut old = enter("job", "host-7/1")?;
    old.line_with("host-7/1 leads", SOON).await?;
    let _neighbour = enter("job", "host-7/2")?;
    eventually("the neighbour waits", SOON, async || {
        ensure!(ctl.json(&["election", "show", "job"]).await?["term"]["waiting"] == 1);
        Ok(())
    })
    .await?;
    let _next = enter("job", "host-8/1")?;
    let mut alone = enter("solo", "host-7/3")?;
    alone.line_with("host-7/3 leads", SOON).await?;
    let mut elsewhere = enter("other", "host-70/1")?;
    elsewhere.line_with("host-70/1 leads", SOON).await?;
    eventually("all wait", SOON, async || {
        ensure!(ctl.json(&["election", "show", "job"]).await?["term"]["waiting"] == 2);
        Ok(())
    })
    .await?;

    let plan = ctl.json(&["drain", "host-7", "--dry-run"]).await?["drained"].clone();
    assert_eq!((&plan[0]["to"], &plan[0]["outcome"]), (&"host-8/1".into(), &"would move".into()), "{plan}");
    assert_eq!(
        (&plan[1]["name"], &plan[1]["outcome"], plan.as_array().map(Vec::len)),
        (&"solo".into(), &"stayed".into(), Some(2))
    );

    let drained = ctl.run(&["drain", "host-7", "--wait", "20s", "-w", "json"]).await?;
    assert_eq!(drained.code, Some(8), "solo stayed: {}", drained.stderr);
    let report: Value = serde_json::from_str(&drained.stdout)?;
    assert_eq!(report["drained"][0]["outcome"], "stayed", "{report}");
    assert_eq!((&report["drained"][1]["to"], &report["drained"][1]["outcome"]), (&"host-8/1".into(), &"moved".into()));
    assert_eq!(ctl.json(&["election", "show", "job"]).await?["term"]["leader"], "host-8/1");

    let rest = ctl.json(&["drain", "host-7", "--evict"]).await?["drained"].clone();
    assert_eq!((&rest[0]["name"], &rest[0]["outcome"]), (&"solo".into(), &"evicted".into()), "{rest}");
    assert_eq!(ctl.ok(&["drain", "--candidate", "host-7*", "--dry-run"]).await?.lines().count(), 2, "host-70 alone");
    Ok(())
}
