//! Members come and go while clients work: by etcd's tool and by conclavectl.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{connect, get, put, put_request},
    cluster::{Address, Cluster, arguments, initial_cluster},
    conclavectl::Ctl,
    etcdctl::Etcdctl,
    load::Load,
    process::Process,
    wait::{LONG, SOON, eventually},
};
use conclave_client::api::etcdserverpb::{HashKvRequest, MemberListRequest, RangeRequest, StatusRequest};
use conclave_client::wire::Client;
use std::{path::PathBuf, time::Duration};
use tonic::Code;

/// A cluster whose members change. The first ones are those of the cluster that it began as.
struct World {
    first: Cluster,
    more: Vec<(Address, Process, PathBuf)>,
}

impl World {
    async fn start(size: usize) -> Result<World> {
        Ok(World { first: Cluster::start(size).await?, more: Vec::new() })
    }

    /// A node that is not started, told of all others, itself last.
    fn node(&mut self, name: &str) -> Result<usize> {
        let address = Address::new(name)?;
        self.node_at(address)
    }

    fn node_at(&mut self, address: Address) -> Result<usize> {
        let mut known: Vec<Address> = (0..self.first.size()).map(|i| self.first.address(i).clone()).collect();
        known.retain(|other| other.peer != address.peer);
        known.push(address.clone());
        let data = self.first.dir().join(format!("{}-{}", address.name, self.more.len()));
        let mut args = arguments(&address, &data, &initial_cluster(&known), "joined", &[]);
        args.iter_mut().filter(|arg| *arg == "new").for_each(|arg| "existing".clone_into(arg));
        let log = data.with_extension("log");
        self.more.push((address, Process::new(args, log), data));
        Ok(self.more.len() - 1)
    }

    async fn run(&mut self, node: usize) -> Result<()> {
        self.more[node].1.spawn()?;
        self.more[node].1.ready(LONG).await
    }

    fn client(&self, node: usize) -> Result<Client> {
        connect(&[self.more[node].0.endpoint()])
    }

    /// Adds a node as a learner, starts it and promotes it.
    async fn grow(&mut self, etcdctl: &Etcdctl, name: &str) -> Result<usize> {
        let node = self.node(name)?;
        let url = self.more[node].0.peer_url();
        etcdctl.ok(&["member", "add", name, "--learner", &format!("--peer-urls={url}")]).await?;
        self.run(node).await?;
        let id = id_of(etcdctl, &url).await?;
        let promote = async || etcdctl.ok(&["member", "promote", &id]).await;
        eventually("the learner is promoted", LONG, promote).await?;
        Ok(node)
    }
}

async fn id_of(etcdctl: &Etcdctl, peer_url: &str) -> Result<String> {
    let list = etcdctl.ok(&["member", "list"]).await?;
    let line = list.lines().find(|line| line.contains(peer_url)).with_context(|| list.clone())?;
    Ok(line.split(',').next().unwrap_or_default().to_owned())
}

async fn hash(client: &Client, revision: i64) -> Result<u32> {
    Ok(client.maintenance().hash_kv(HashKvRequest { revision }).await?.hash)
}

/// Writes in order until it is stopped; returns how many were acknowledged, and the longest pause
/// between two.
struct Writer {
    stop: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(Vec<u64>, Duration)>>,
}

impl Writer {
    fn start(endpoints: &[String]) -> Result<Writer> {
        let client = connect(endpoints)?.with_timeout(Duration::from_secs(2));
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let (mut acknowledged, mut longest) = (Vec::new(), Duration::ZERO);
            let mut last = std::time::Instant::now();
            for n in 0.. {
                if *stopped.borrow_and_update() {
                    break;
                }
                if client.kv().put(put_request(&format!("written/{n:08}"), "x")).await.is_ok() {
                    acknowledged.push(n);
                    longest = longest.max(last.elapsed());
                    last = std::time::Instant::now();
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            Ok((acknowledged, longest))
        });
        Ok(Writer { stop, task })
    }

    async fn stop(self) -> Result<(Vec<u64>, Duration)> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn all_written(client: &Client, acknowledged: &[u64]) -> Result<()> {
    let request = RangeRequest {
        key: b"written/".to_vec().into(),
        range_end: b"written0".to_vec().into(),
        keys_only: true,
        ..Default::default()
    };
    let kept: std::collections::BTreeSet<Vec<u8>> =
        client.kv().range(request).await?.kvs.into_iter().map(|kv| kv.key.to_vec()).collect();
    for n in acknowledged {
        ensure!(kept.contains(format!("written/{n:08}").as_bytes()), "write {n} was acknowledged and is lost");
    }
    Ok(())
}

#[tokio::test]
async fn three_grow_to_five_and_shrink_to_three() -> Result<()> {
    let mut world = World::start(3).await?;
    let endpoints = world.first.endpoints();
    let etcdctl = Etcdctl::new(&endpoints);
    let holder = Ctl::new(&endpoints);
    let mut lock = holder.start(&["lock", "held", "--", "sh", "-c", "echo holds; sleep 600"])?;
    ensure!(lock.line().await?.contains("holds"), "the lock was not taken");
    let queue = etcdctl.json(&["get", "held/", "--prefix", "--keys-only"]).await?["kvs"].clone();
    let load = Load { clients: 8, ..Load::default() }.start(&endpoints)?;
    let writer = Writer::start(&endpoints)?;

    let four = world.grow(&etcdctl, "n4").await?;
    let five = world.grow(&etcdctl, "n5").await?;
    let list = etcdctl.ok(&["member", "list"]).await?;
    ensure!(list.lines().count() == 5 && list.matches(", false").count() == 5, "{list}");

    // The leader goes first, and with it a member of the first start.
    let leader = world.first.leader().await?;
    let id = id_of(&etcdctl, &world.first.address(leader).peer_url()).await?;
    let through = Etcdctl::new(&[world.more[four].0.endpoint()]);
    let said = through.ok(&["member", "remove", &id]).await?;
    ensure!(said.contains(&format!("Member {id:>16} removed from cluster")), "{said}");
    ensure!(!world.first.node(leader).exit(LONG).await?.success(), "it was removed");
    ensure!(world.first.node(leader).life()?.contains("was removed from the cluster"), "without a reason");
    let other = (0..3).find(|i| *i != leader).context("three members")?;
    let id = id_of(&through, &world.first.address(other).peer_url()).await?;
    through.ok(&["member", "remove", &id]).await?;
    world.first.node(other).exit(LONG).await?;

    let (acknowledged, longest) = writer.stop().await?;
    drop(load.stop().await?);
    ensure!(acknowledged.len() > 100, "only {} writes", acknowledged.len());
    ensure!(longest < Duration::from_secs(5), "no write for {longest:?}");
    let left = (0..3).find(|i| ![leader, other].contains(i)).context("three members")?;
    let clients = [world.first.client(left)?, world.client(four)?, world.client(five)?];
    all_written(&clients[1], &acknowledged).await?;
    // The lock's only key is the same: it changed hands never.
    let now = through.json(&["get", "held/", "--prefix", "--keys-only"]).await?["kvs"].clone();
    ensure!(now == queue && !queue.is_null(), "{now} was {queue}");
    put(&clients[2], "last", "1").await?;
    let revision = clients[2].maintenance().status(StatusRequest {}).await?.header.context("a header")?.revision;
    let hashes = async || {
        let all = [
            hash(&clients[0], revision).await?,
            hash(&clients[1], revision).await?,
            hash(&clients[2], revision).await?,
        ];
        ensure!(all.iter().all(|hash| *hash == all[0]), "{all:?}");
        Ok(())
    };
    eventually("equal hashes", SOON, hashes).await?;
    // A restart, whatever is configured.
    let process = &mut world.more[four].1;
    process.kill()?;
    process.spawn()?;
    process.ready(LONG).await?;
    ensure!(get(&clients[1], "last").await?.is_some(), "after a restart");
    Ok(())
}

#[tokio::test]
async fn a_member_with_a_wiped_disk_is_replaced_by_one_command() -> Result<()> {
    let mut world = World::start(3).await?;
    let endpoints = world.first.endpoints();
    let writer = Writer::start(&endpoints[..2])?;
    world.first.node(2).kill()?;
    world.first.wipe(2)?;
    // Its own start is refused: it was started before.
    world.first.node(2).spawn()?;
    world.first.node(2).exit(LONG).await?;
    ensure!(world.first.node(2).life()?.contains("has been started before"), "a wiped member came back");
    let lost = id_of(&Etcdctl::new(&endpoints[..2]), &world.first.address(2).peer_url()).await?;

    let ctl = Ctl::new(&endpoints[..2]);
    let url = world.first.address(2).peer_url();
    let args = ["member", "replace", &lost, "--peer-urls", &url, "--name", "n3"];
    let mut replace = ctl.start(&args)?;
    let listed = async || {
        let list = Etcdctl::new(&endpoints[..2]).ok(&["member", "list"]).await?;
        ensure!(list.lines().any(|line| line.contains("unstarted") && line.contains(&url)), "{list}");
        Ok(())
    };
    eventually("the new member is added", SOON, listed).await?;
    // Interrupted and run again, it goes on.
    replace.signal(rustix::process::Signal::KILL)?;
    replace.ended(SOON).await?;
    let mut replace = ctl.start(&args)?;
    let address = world.first.address(2).clone();
    let node = world.node_at(address)?;
    world.run(node).await?;
    ensure!(replace.ended(LONG).await?.success(), "{}", replace.said().await?);
    let again = ctl.ok(&args).await?;
    ensure!(again.contains("is replaced by"), "{again}");
    let list = Etcdctl::new(&endpoints).ok(&["member", "list"]).await?;
    ensure!(list.lines().count() == 3 && !list.contains(&lost) && list.matches(", false").count() == 3, "{list}");
    let (acknowledged, longest) = writer.stop().await?;
    ensure!(longest < Duration::from_secs(5), "no write for {longest:?}");
    all_written(&world.client(node)?, &acknowledged).await?;
    // It votes: the cluster bears the loss of another one.
    world.first.node(0).kill()?;
    let client = world.client(node)?;
    eventually("a write without n1", LONG, async || Ok(put(&client, "k", "v").await?)).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_was_removed_while_it_was_down_stops_at_its_start() -> Result<()> {
    let mut world = World::start(3).await?;
    let endpoints = world.first.endpoints();
    let etcdctl = Etcdctl::new(&endpoints[..2]);
    world.first.node(2).kill()?;
    let id = id_of(&etcdctl, &world.first.address(2).peer_url()).await?;
    let removed = async || etcdctl.ok(&["member", "remove", &id]).await;
    eventually("the member is removed", SOON, removed).await?;
    for _ in 0..2 {
        world.first.node(2).spawn()?;
        ensure!(!world.first.node(2).exit(LONG).await?.success(), "it was removed");
        ensure!(world.first.node(2).life()?.contains("was removed from the cluster"), "without a reason");
    }
    // Nor with an empty directory under the same settings.
    world.first.wipe(2)?;
    world.first.node(2).spawn()?;
    world.first.node(2).exit(LONG).await?;
    ensure!(world.first.node(2).life()?.contains("was removed from the cluster"), "without a reason");
    // Its id and URLs are free for a new member with another id.
    let address = world.first.address(2).clone();
    etcdctl.ok(&["member", "add", "n3", "--learner", &format!("--peer-urls={}", address.peer_url())]).await?;
    ensure!(id_of(&etcdctl, &address.peer_url()).await? != id, "an id was given again");
    let node = world.node_at(address)?;
    world.run(node).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_was_away_is_led_by_members_that_it_does_not_know() -> Result<()> {
    let mut world = World::start(3).await?;
    let endpoints = world.first.endpoints();
    let writer = Writer::start(&endpoints[..2])?;
    world.first.node(2).pause()?;
    // It may have led.
    let awake = world.first.client(0)?.with_timeout(Duration::from_secs(2));
    eventually("a write without n3", LONG, async || Ok(put(&awake, "awake", "1").await?)).await?;
    let etcdctl = Etcdctl::new(&endpoints[..2]);
    let four = world.grow(&etcdctl, "n4").await?;
    let five = world.grow(&etcdctl, "n5").await?;
    let (acknowledged, _) = writer.stop().await?;
    let through = Etcdctl::new(&[world.more[four].0.endpoint()]);
    for gone in 0..2 {
        let id = id_of(&through, &world.first.address(gone).peer_url()).await?;
        eventually("the member is removed", LONG, async || through.ok(&["member", "remove", &id]).await).await?;
        world.first.node(gone).exit(LONG).await?;
    }
    // Two of three vote while the third one sleeps; it knows neither of them.
    put(&world.client(five)?, "meanwhile", "1").await?;
    world.first.node(2).resume()?;
    let client = world.first.client(2)?.with_timeout(Duration::from_secs(2));
    let read = async || get(&client, "meanwhile").await?.context("nothing");
    eventually("a linearizable read at the member that was away", LONG, read).await?;
    all_written(&client, &acknowledged).await?;
    // It counts: one of the new ones may go.
    world.more[four].1.kill()?;
    eventually("a write without n4", LONG, async || Ok(put(&client, "k", "v").await?)).await?;
    Ok(())
}

#[tokio::test]
async fn learners_answer_what_etcd_s_learners_answer() -> Result<()> {
    let mut world = World::start(1).await?;
    let etcdctl = Etcdctl::new(&world.first.endpoints());
    let node = world.node("n2")?;
    let url = world.more[node].0.peer_url();
    etcdctl.ok(&["member", "add", "n2", "--learner", &format!("--peer-urls={url}")]).await?;
    etcdctl.ok(&["put", "k", "v"]).await?;
    world.run(node).await?;
    let client = world.client(node)?;
    let get = |serializable| RangeRequest { key: b"k".to_vec().into(), serializable, ..Default::default() };
    let found = async || {
        let kvs = client.kv().range(get(true)).await?.kvs;
        ensure!(kvs.len() == 1, "nothing yet");
        Ok(())
    };
    eventually("a serializable read", SOON, found).await?;
    ensure!(client.maintenance().status(StatusRequest {}).await?.is_learner, "it is a learner");
    for error in [
        client.kv().range(get(false)).await.err(),
        client.kv().put(put_request("k", "w")).await.err(),
        client.cluster().member_list(MemberListRequest::default()).await.err(),
    ] {
        let error = error.context("a learner answered")?;
        ensure!(error.message() == "etcdserver: rpc not supported for learner", "{error}");
        ensure!(error.code() == Code::Unavailable, "{error}");
    }
    let list = etcdctl.ok(&["member", "list"]).await?;
    ensure!(list.lines().any(|line| line.contains("n2") && line.ends_with("true")), "{list}");
    Ok(())
}

#[tokio::test]
async fn what_is_refused_says_why_and_the_next_attempt_succeeds() -> Result<()> {
    let mut world = World::start(1).await?;
    let etcdctl = Etcdctl::new(&world.first.endpoints());
    let own = world.first.address(0).peer_url();
    let refused = async |args: &[&str], text: &str| {
        let said = etcdctl.fails(args).await?;
        ensure!(said.contains(text), "{args:?}: {said}, expected {text}");
        anyhow::Ok(())
    };
    let one = id_of(&etcdctl, &own).await?;
    refused(&["member", "add", "x", &format!("--peer-urls={own}")], "Peer URLs already exists").await?;
    refused(&["member", "add", "x", "--peer-urls=http://127.0.0.1:1"], "add it as a learner").await?;
    refused(&["member", "remove", &one], "re-configuration failed due to not enough started members").await?;
    refused(&["member", "remove", "1"], "member not found").await?;
    refused(&["member", "promote", "1"], "member not found").await?;
    refused(&["member", "promote", &one], "can only promote a learner member").await?;
    refused(&["member", "update", "1", "--peer-urls=http://127.0.0.1:9"], "member not found").await?;

    // A process that nobody added.
    let node = world.node("n2")?;
    world.more[node].1.spawn()?;
    world.more[node].1.exit(LONG).await?;
    ensure!(world.more[node].1.life()?.contains("no member of the running cluster has the peer URLs"), "no reason");
    let url = world.more[node].0.peer_url();
    etcdctl.ok(&["member", "add", "n2", "--learner", &format!("--peer-urls={url}")]).await?;
    let id = id_of(&etcdctl, &url).await?;
    refused(&["member", "add", "y", "--learner", "--peer-urls=http://127.0.0.1:1"], "too many learner members").await?;
    refused(&["member", "promote", &id], "in sync with leader").await?;
    world.run(node).await?;
    eventually("the learner is promoted", LONG, async || etcdctl.ok(&["member", "promote", &id]).await).await?;

    // The same member from a second, empty directory.
    world.more[node].1.kill()?;
    std::fs::remove_dir_all(&world.more[node].2)?;
    world.more[node].1.spawn()?;
    let life = async || {
        let life = world.more[node].1.life()?;
        ensure!(life.contains("asking the cluster which member this is"), "{life}");
        Ok(())
    };
    eventually("it waits: two members, of which one is lost, are no quorum", LONG, life).await?;
    Ok(())
}

#[tokio::test]
async fn a_directory_is_started_as_what_it_is_or_not_at_all() -> Result<()> {
    let mut world = World::start(3).await?;
    let etcdctl = Etcdctl::new(&world.first.endpoints());
    let node = world.grow(&etcdctl, "n4").await?;
    // The initial settings matter no more.
    let (_, process, _) = &mut world.more[node];
    process.kill()?;
    let mut args = process.args().to_vec();
    let at = args.iter().position(|arg| arg == "--initial-cluster").context("it is there")?;
    args[at + 1] = "n4=http://127.0.0.1:1".to_owned();
    let at = args.iter().position(|arg| arg == "--initial-advertise-peer-urls").context("it is there")?;
    args[at + 1] = "http://127.0.0.1:1".to_owned();
    process.set_args(args.clone());
    process.spawn()?;
    process.ready(LONG).await?;
    // Another name, another token: another directory.
    for (flag, other, text) in
        [("--name", "n9", "belongs to member"), ("--initial-cluster-token", "other", "with the token")]
    {
        process.kill()?;
        let mut wrong = args.clone();
        let at = wrong.iter().position(|arg| arg == flag).context("it is there")?;
        other.clone_into(&mut wrong[at + 1]);
        if flag == "--name" {
            let at = wrong.iter().position(|arg| arg == "--initial-cluster").context("it is there")?;
            "n9=http://127.0.0.1:1".clone_into(&mut wrong[at + 1]);
        }
        process.set_args(wrong);
        process.spawn()?;
        process.exit(SOON).await?;
        ensure!(process.life()?.contains(text), "{}", process.life()?);
        process.set_args(args.clone());
        process.spawn()?;
        process.ready(LONG).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_change_while_the_leader_stands_still_says_so_and_the_next_attempt_succeeds() -> Result<()> {
    let mut world = World::start(3).await?;
    let leader = world.first.leader().await?;
    let through = Etcdctl::new(&[world.first.endpoint((leader + 1) % 3)]);
    let node = world.node("n4")?;
    let url = format!("--peer-urls={}", world.more[node].0.peer_url());
    let add = ["member", "add", "n4", "--learner", &url];
    world.first.node(leader).pause()?;
    // A member that does not know yet that the leader is gone asks it, and says within five seconds
    // (etcdctl waits so long) that it has no answer.
    let said = through.run(&add).await?;
    ensure!(said.success || said.stderr.contains("etcdserver: "), "{}", said.stderr);
    let added = async || {
        let list = through.ok(&["member", "list"]).await?;
        if list.contains("n4") || list.contains(&world.more[node].0.peer_url()) {
            return Ok(());
        }
        through.ok(&add).await.map(drop)
    };
    eventually("the learner is added", LONG, added).await?;
    world.first.node(leader).resume()?;
    world.run(node).await?;
    let id = id_of(&through, &world.more[node].0.peer_url()).await?;
    eventually("the learner is promoted", LONG, async || through.ok(&["member", "promote", &id]).await).await?;
    Ok(())
}

/// The cluster gives a learner its vote by itself; a replacement is of a member that there was.
#[tokio::test]
async fn a_learner_is_promoted_when_it_is_ready_and_nobody_replaces_nobody() -> Result<()> {
    let mut world = World::start(1).await?;
    let ctl = Ctl::new(&world.first.endpoints());
    put(&world.first.client(0)?, "k", "v").await?;
    let node = world.node("n2")?;
    let url = world.more[node].0.peer_url();
    let said = ctl.run(&["member", "add", "n2", "--peer-urls", &url, "--promote-when-ready"]).await?;
    ensure!(said.code != Some(0), "a voter that waits for its vote: {said:?}");
    let said = ctl.run(&["member", "add", "n2", "--peer-urls", &url, "--learner", "--promote-when-ready"]).await?;
    ensure!(said.code == Some(0), "{said:?}");
    let client = world.first.client(0)?;
    let votes = async || {
        let list = client.cluster().member_list(MemberListRequest { linearizable: true }).await?.members;
        Ok::<usize, anyhow::Error>(list.iter().filter(|member| !member.is_learner).count())
    };
    ensure!(votes().await? == 1, "it has a vote before it has started");
    world.more[node].1.spawn()?;
    world.more[node].1.ready(LONG).await?;
    let promoted = async || {
        ensure!(votes().await? == 2, "it is a learner");
        Ok(())
    };
    eventually("the learner has its vote", LONG, promoted).await?;
    let said = ctl.run(&["member", "promote", "n2", "--when-ready"]).await?;
    ensure!(said.code != Some(0) && said.stderr.contains("can only promote a learner member"), "{said:?}");

    // There never was such a member: nothing is added in its place.
    let other = Address::new("n3")?.peer_url();
    let said = ctl.run(&["member", "replace", "8e9e05c52164694d", "--peer-urls", &other]).await?;
    ensure!(said.code != Some(0) && said.stderr.contains("and there was none"), "{said:?}");
    ensure!(votes().await? == 2, "a member was added");
    Ok(())
}
