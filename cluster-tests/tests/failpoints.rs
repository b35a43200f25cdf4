//! Members of a cluster end at every named crash point, as by a power switch, and start again:
//! nothing acknowledged is missing, and all members have the same digest.
//!
//! Needs a server with the feature `failpoints` (as `scripts/test` builds it); any other is not
//! asked for this.

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{
    client::{connect, grant, list, put, put_leased},
    cluster::{Address, Cluster, arguments, initial_cluster},
    etcdctl::Etcdctl,
    process::{Process, binary},
    status::{PATIENCE, standing},
    wait::{LONG, SOON, eventually},
};
use conclave_client::api::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const VARIABLE: &str = "CONCLAVE_FAILPOINT";

/// So that snapshots come soon, and followers that were away need one.
const FLAGS: [&str; 2] = ["--snapshot-count", "40"];

/// What brings a member to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The first start.
    Birth,
    /// Writes, on a follower.
    Writes,
    /// An election.
    Election,
    /// A compaction.
    Compaction,
    /// A snapshot that it has to install.
    Installing,
    /// A snapshot that it has to send.
    Sending,
    /// A lease that ends.
    Expiry,
    /// A watcher.
    Watching,
    /// A change of the members.
    Change,
}

/// Every point there is.
const POINTS: &[(&str, By)] = &[
    ("identity-before-rename", By::Birth),
    ("open-before-marker", By::Birth),
    ("membership-before-apply", By::Birth),
    ("membership-after-apply", By::Birth),
    ("log-before-write", By::Writes),
    ("log-before-sync", By::Writes),
    ("log-after-sync", By::Writes),
    ("apply-before-write", By::Writes),
    ("apply-after-write", By::Writes),
    ("snapshot-before-checkpoint", By::Writes),
    ("flush-before-record", By::Writes),
    ("snapshot-before-record", By::Writes),
    ("vote-before-save", By::Election),
    ("vote-after-save", By::Election),
    ("sweep-before-write", By::Compaction),
    ("snapshot-before-finish", By::Installing),
    ("install-before-record", By::Installing),
    ("install-before-switch", By::Installing),
    ("install-before-pointer-rename", By::Installing),
    ("install-after-switch", By::Installing),
    ("snapshot-before-send", By::Sending),
    ("snapshot-between-parts", By::Sending),
    ("expiry-before-proposal", By::Expiry),
    ("expiry-after-proposal", By::Expiry),
    ("watch-before-send", By::Watching),
    ("change-before-append", By::Change),
    ("change-before-send", By::Change),
    ("change-before-answer", By::Change),
    ("join-before-asking", By::Change),
    ("join-before-proposal", By::Change),
    ("join-after-proposal", By::Change),
];

/// Only a server with crash points has their names in it, all but those that its compiler took
/// apart.
fn has_points() -> Result<bool> {
    let server = std::fs::read(binary())?;
    let names = |name: &str| server.windows(name.len()).any(|window| window == name.as_bytes());
    let has = POINTS.iter().any(|(name, _)| names(name));
    if !has {
        cluster_tests::report("this server has no crash points: build it with --features failpoints");
    }
    Ok(has)
}

#[test]
fn every_point_of_the_list_is_tried() {
    let list = include_str!("../../crates/storage/src/failpoint.rs");
    let quoted = |line: &'static str| line.trim().strip_prefix('"')?.strip_suffix("\",");
    let listed: BTreeSet<&str> = list.lines().filter_map(quoted).collect();
    let tried: BTreeSet<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, tried);
}

/// A cluster, with what it acknowledged.
struct Trial {
    cluster: Cluster,
    written: Vec<String>,
}

impl Trial {
    /// Writes some keys through a member; those that are acknowledged count.
    async fn write(&mut self, through: usize, count: usize) -> Result<()> {
        let client = self.cluster.client(through)?.with_timeout(Duration::from_secs(2));
        for _ in 0..count {
            let key = format!("key{}", self.written.len());
            // A member that ended does not answer, and its point may be reached with any of them.
            if put(&client, &key, &key).await.is_err() {
                return Ok(());
            }
            self.written.push(key);
        }
        Ok(())
    }

    /// What nobody else needs any more goes soon after the snapshot that has it.
    async fn write_until_purged(&mut self, through: usize) -> Result<()> {
        self.write(through, 200).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    fn arm(&mut self, i: usize, point: Option<&str>) {
        self.cluster.node(i).set_variable(point.map(|point| (VARIABLE, point)));
    }

    fn restart_armed(&mut self, i: usize, point: &str) -> Result<()> {
        self.cluster.node(i).kill()?;
        self.arm(i, Some(point));
        self.cluster.node(i).spawn()
    }

    /// Whether one of these members ended by itself; the way it ended is that of a crash point.
    fn ended(&mut self, among: &[usize]) -> Result<bool> {
        for i in among {
            if !self.cluster.node(*i).running()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Does something again and again until a member has ended.
    async fn until_ended(&mut self, among: &[usize], by: By, through: usize) -> Result<()> {
        let end = Instant::now() + LONG;
        while !self.ended(among)? {
            ensure!(Instant::now() < end, "the point was not reached");
            match by {
                By::Compaction => {
                    self.write(through, 5).await?;
                    self.compact(through).await?;
                }
                By::Expiry => self.lease(through).await?,
                By::Sending | By::Election | By::Birth | By::Installing | By::Change => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                By::Writes | By::Watching => self.write(through, 10).await?,
            }
        }
        Ok(())
    }

    async fn compact(&self, through: usize) -> Result<()> {
        let client = self.cluster.client(through)?.with_timeout(Duration::from_secs(2));
        let revision = standing(&self.cluster.endpoint(through), PATIENCE)?.revision;
        // One that another compaction overtook, or whose member ended.
        let _ = client.kv().compact(CompactionRequest { revision, physical: false }).await;
        Ok(())
    }

    async fn lease(&self, through: usize) -> Result<()> {
        let client = self.cluster.client(through)?.with_timeout(Duration::from_secs(2));
        // Without a leader there is none, and the next try has one.
        if let Ok(id) = grant(&client, 1).await {
            let _ = put_leased(&client, &format!("leased{id}"), "", id).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    async fn crash(&mut self, point: &str, by: By) -> Result<()> {
        let leader = self.cluster.leader().await?;
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        match by {
            By::Birth | By::Change => bail!("this point has a test of its own"),
            By::Writes | By::Compaction => {
                self.restart_armed(one, point)?;
                self.until_ended(&[one], by, leader).await
            }
            By::Election => {
                self.restart_armed(one, point)?;
                // Started again, it may find its point at once; else an election brings it there.
                self.cluster.node(leader).kill()?;
                self.until_ended(&[one], by, other).await
            }
            By::Installing => {
                let end = Instant::now() + LONG;
                while !self.ended(&[one])? {
                    ensure!(Instant::now() < end, "the point was not reached");
                    self.cluster.node(one).kill()?;
                    self.write_until_purged(leader).await?;
                    self.restart_armed(one, point)?;
                    // If what it misses was still there, because of the snapshot that it had
                    // before, it comes back without one.
                    let patience = Instant::now() + Duration::from_secs(2);
                    while Instant::now() < patience && !self.ended(&[one])? {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                Ok(())
            }
            By::Sending => {
                self.cluster.node(one).kill()?;
                self.write_until_purged(leader).await?;
                for i in [leader, other] {
                    self.restart_armed(i, point)?;
                }
                self.arm(one, None);
                self.cluster.node(one).spawn()?;
                self.until_ended(&[leader, other], by, one).await
            }
            By::Expiry => {
                for i in 0..3 {
                    self.restart_armed(i, point)?;
                }
                self.until_ended(&[0, 1, 2], by, leader).await
            }
            By::Watching => {
                self.restart_armed(one, point)?;
                self.cluster.node(one).ready(LONG).await?;
                let client = self.cluster.client(one)?;
                let all = WatchCreateRequest { key: "key".into(), range_end: "kez".into(), ..Default::default() };
                // The stream moves only while somebody reads it.
                let mut watch = client.watch().open();
                let read = async {
                    // It fails when the member ends, and that is waited for.
                    let _ = watch.create(all).await;
                    while let Ok(Some(_)) = watch.next().await {}
                    std::future::pending::<()>().await;
                };
                let among = [one];
                tokio::select! {
                    ended = self.until_ended(&among, by, leader) => ended,
                    () = read => Ok(()),
                }
            }
        }
    }

    /// Starts what ended; then all members have all, and the same.
    async fn recover(&mut self) -> Result<()> {
        for i in 0..3 {
            self.arm(i, None);
            // Also those that are armed and have not come to the point.
            self.cluster.node(i).kill()?;
            self.cluster.node(i).spawn()?;
        }
        self.cluster.ready_all().await?;
        self.write(0, 1).await?;
        for i in 0..3 {
            let client = self.cluster.client(i)?.with_timeout(SOON);
            let kept = list(&client, "key").await?;
            let kept: BTreeSet<&[u8]> = kept.iter().map(|kv| kv.key.as_ref()).collect();
            for key in &self.written {
                ensure!(kept.contains(key.as_bytes()), "{key} is missing at n{}", i + 1);
            }
        }
        let cluster = &self.cluster;
        eventually("equal digests", LONG, async || {
            let all = (0..3).map(|i| standing(&cluster.endpoint(i), PATIENCE)).collect::<Result<Vec<_>>>()?;
            let same = all.iter().all(|one| (one.applied_index, &one.digest) == (all[0].applied_index, &all[0].digest));
            ensure!(same, "{all:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn a_member_that_ends_at_any_point_comes_back_with_all_it_had() -> Result<()> {
    if !has_points()? {
        return Ok(());
    }
    let cluster = Cluster::start_with(3, &FLAGS).await?;
    let mut trial = Trial { cluster, written: Vec::new() };
    trial.write(0, 20).await?;
    for (point, by) in POINTS.iter().filter(|(_, by)| ![By::Birth, By::Change].contains(by)) {
        let began = Instant::now();
        trial.crash(point, *by).await.with_context(|| (*point).to_owned())?;
        trial.recover().await.with_context(|| format!("after {point}"))?;
        cluster_tests::report(&format!("{point}: {:.1} s", began.elapsed().as_secs_f64()));
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_whose_members_end_while_they_are_born_comes_up() -> Result<()> {
    if !has_points()? {
        return Ok(());
    }
    for (point, _) in POINTS.iter().filter(|(_, by)| *by == By::Birth) {
        let mut cluster = Cluster::plan(3, &FLAGS)?;
        for i in 0..3 {
            cluster.node(i).set_variable(Some((VARIABLE, *point)));
        }
        cluster.spawn_all()?;
        let mut trial = Trial { cluster, written: Vec::new() };
        trial.until_ended(&[0, 1, 2], By::Birth, 0).await.with_context(|| (*point).to_owned())?;
        trial.recover().await.with_context(|| format!("after {point}"))?;
    }
    Ok(())
}

/// A cluster of three whose members change.
struct Changing {
    trial: Trial,
    etcdctl: Etcdctl,
}

impl Changing {
    /// Lets the member that this returns lead, armed. The point counts from now on.
    async fn armed_leader(&mut self, point: &str) -> Result<usize> {
        let leader = self.trial.cluster.leader().await?;
        let one = (leader + 1) % 3;
        self.trial.restart_armed(one, point)?;
        self.trial.cluster.node(one).ready(LONG).await?;
        let list = self.etcdctl.ok(&["member", "list"]).await?;
        let url = self.trial.cluster.address(one).peer_url();
        let line = list.lines().find(|line| line.contains(&url)).context("it is a member")?;
        let id = line.split(',').next().unwrap_or_default().to_owned();
        let old = Etcdctl::new(&[self.trial.cluster.endpoint(leader)]);
        eventually("the armed member leads", SOON, async || old.ok(&["move-leader", &id]).await).await?;
        Ok(one)
    }

    /// The id of the member with this peer URL.
    async fn id_at(&self, url: &str) -> Result<Option<String>> {
        let list = self.etcdctl.ok(&["member", "list"]).await?;
        let line = list.lines().find(|line| line.contains(url));
        Ok(line.map(|line| line.split(',').next().unwrap_or_default().to_owned()))
    }

    /// Adds a learner as an operator does who was not told what became of the first attempt: looks,
    /// and asks again.
    async fn add(&self, url: &str) -> Result<String> {
        eventually("the learner is added", LONG, async || {
            if let Some(id) = self.id_at(url).await? {
                return Ok(id);
            }
            self.etcdctl.ok(&["member", "add", "n4", "--learner", &format!("--peer-urls={url}")]).await?;
            bail!("not listed yet")
        })
        .await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        eventually("the member is removed", LONG, async || {
            if !self.etcdctl.ok(&["member", "list"]).await?.contains(id) {
                return Ok(());
            }
            let said = self.etcdctl.run(&["member", "remove", id]).await?;
            bail!("asked: {}", said.stderr)
        })
        .await
    }

    /// Starts the member again that ended.
    async fn revive(&mut self, i: usize) -> Result<()> {
        self.trial.arm(i, None);
        self.trial.cluster.node(i).kill()?;
        self.trial.cluster.node(i).spawn()?;
        self.trial.cluster.node(i).ready(LONG).await
    }
}

#[tokio::test]
async fn members_end_inside_a_change_and_the_next_attempt_succeeds() -> Result<()> {
    if !has_points()? {
        return Ok(());
    }
    let cluster = Cluster::start_with(3, &FLAGS).await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    let mut world = Changing { trial: Trial { cluster, written: Vec::new() }, etcdctl };
    world.trial.write(0, 20).await?;
    let address = Address::new("n4")?;
    let url = address.peer_url();
    // The leader ends while it makes a change; the same change, asked for again, is made once.
    for point in ["change-before-append", "change-before-send", "change-before-answer"] {
        let armed = world.armed_leader(point).await?;
        let add = ["member", "add", "n4", "--learner", &format!("--peer-urls={url}")];
        let through = Etcdctl::new(&[world.trial.cluster.endpoint((armed + 1) % 3)]);
        let said = through.run(&add).await?;
        let named = said.success || said.stderr.contains("etcdserver: ");
        ensure!(named, "{point}: {}", said.stderr);
        world.trial.until_ended(&[armed], By::Change, armed).await.with_context(|| point.to_owned())?;
        let id = world.add(&url).await.with_context(|| format!("after {point}"))?;
        world.revive(armed).await?;
        world.remove(&id).await?;
    }
    // The new member ends before it has claimed its id, and its leader before and after it has
    // decided that.
    let id = world.add(&url).await?;
    let mut known: Vec<Address> = (0..3).map(|i| world.trial.cluster.address(i).clone()).collect();
    known.push(address.clone());
    let data = world.trial.cluster.dir().join("n4");
    let mut args = arguments(&address, &data, &initial_cluster(&known), "joined", &FLAGS);
    args.iter_mut().filter(|arg| *arg == "new").for_each(|arg| "existing".clone_into(arg));
    let mut new = Process::new(args, data.with_extension("log"));
    new.set_variable(Some((VARIABLE, "join-before-asking")));
    new.spawn()?;
    new.exit(LONG).await?;
    new.set_variable(None);
    for point in ["join-before-proposal", "join-after-proposal"] {
        for i in 0..3 {
            // Any of them may be asked.
            world.trial.restart_armed(i, point)?;
            world.trial.cluster.node(i).ready(LONG).await?;
        }
        new.spawn()?;
        world.trial.until_ended(&[0, 1, 2], By::Change, 0).await.with_context(|| point.to_owned())?;
        new.kill()?;
        for i in 0..3 {
            world.trial.cluster.node(i).kill()?;
            world.trial.arm(i, None);
            world.trial.cluster.node(i).spawn()?;
        }
        world.trial.cluster.ready_all().await?;
    }
    new.spawn()?;
    new.ready(LONG).await.context("after join-after-proposal")?;
    // Its leader dies between addition and promotion, which goes on with the next one.
    let leader = world.trial.cluster.leader().await?;
    world.trial.cluster.node(leader).kill()?;
    let promoted = async || world.etcdctl.ok(&["member", "promote", &id]).await;
    eventually("the learner is promoted", LONG, promoted).await?;
    let client = connect(&[address.endpoint()])?.with_timeout(SOON);
    put(&client, "through the new one", "1").await?;
    // A second directory under the same id is refused, whatever the crashes left.
    new.kill()?;
    world.revive(leader).await?;
    std::fs::remove_dir_all(&data)?;
    new.spawn()?;
    ensure!(!new.exit(LONG).await?.success(), "it came back without its directory");
    ensure!(new.life()?.contains("has been started before"), "{}", new.life()?);
    world.remove(&id).await?;
    world.trial.recover().await
}
