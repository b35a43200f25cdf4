//! Stock programs against three members with users.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::Ctl,
    etcd_tools::USERS,
    etcdctl::Etcdctl,
    wait::{LONG, SOON, eventually},
};
use conclave_client::{Client, Credentials};
use std::time::Duration;

/// Users root and al, where al has /a/, checked from now on.
async fn cluster(flags: &[&str]) -> Result<Cluster> {
    let cluster = Cluster::start_with(3, &[&["--bcrypt-cost=4"], flags].concat()).await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    for command in USERS {
        etcdctl.ok(&command.split(' ').collect::<Vec<_>>()).await?;
    }
    Ok(cluster)
}

async fn refused(etcdctl: &Etcdctl, args: &[&str], text: &str) -> Result<()> {
    let said = etcdctl.fails(args).await?;
    ensure!(said.contains(text), "{args:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn etcdctl_with_users_on_every_member() -> Result<()> {
    let cluster = cluster(&[]).await?;
    for endpoint in cluster.endpoints() {
        let etcdctl = Etcdctl::new(&[endpoint]);
        etcdctl.ok(&["--user=al:a", "put", "/a/1", "x"]).await?;
        refused(&etcdctl, &["put", "/a/1", "x"], "user name is empty").await?;
        refused(&etcdctl, &["--user=al:b", "get", "/a/1"], "invalid user ID or password").await?;
        refused(&etcdctl, &["--user=al:a", "put", "/b", "x"], "permission denied").await?;
        refused(&etcdctl, &["--user=al:a", "get", "", "--prefix"], "permission denied").await?;
        refused(&etcdctl, &["--user=al:a", "get", "/a/1", "--from-key"], "permission denied").await?;
        refused(&etcdctl, &["--user=al:a", "compaction", "1"], "permission denied").await?;
        refused(&etcdctl, &["member", "list"], "user name is empty").await?;
        refused(&etcdctl, &["lease", "grant", "60"], "user name is empty").await?;
        refused(&etcdctl, &["alarm", "list"], "user name is empty").await?;
        etcdctl.ok(&["--user=al:a", "lock", "/a/lock", "true"]).await?;
        refused(&etcdctl, &["--user=al:a", "lock", "/x", "true"], "permission denied").await?;
        etcdctl.ok(&["--user=root:r", "member", "list"]).await?;
    }
    Ok(())
}

/// What conclavectl prints is what etcdctl prints.
#[tokio::test]
async fn conclavectl_prints_what_etcdctl_prints() -> Result<()> {
    let cluster = cluster(&[]).await?;
    let (etcdctl, ctl) = (Etcdctl::new(&cluster.endpoints()), Ctl::new(&cluster.endpoints()));
    for command in [
        "user list",
        "role list",
        "user get al",
        "user get al --detail",
        "role get rw",
        "user add bo:b",
        "user delete bo",
        "role add more",
        "role grant-permission more read /m/ --prefix",
        "role grant-permission more write /one",
        "role grant-permission more readwrite /z --from-key",
        "role get more",
        "user grant-role al more",
        "user revoke-role al more",
        "role revoke-permission more /one",
        "role revoke-permission more /m/ --prefix",
        "role revoke-permission more /z --from-key",
        "role delete more",
        "auth disable",
        "auth enable",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let words = [&["--user=root:r"], words.as_slice()].concat();
        // What changes something is done by one, taken back by hand of the other, and done by the
        // other.
        let theirs = etcdctl.ok(&words).await?;
        let undone = match command {
            "user add bo:b" => "user delete bo",
            "user delete bo" => "user add bo:b",
            "role add more" => "role delete more",
            "role delete more" => "role add more",
            "user revoke-role al more" => "user grant-role al more",
            "role revoke-permission more /one" => "role grant-permission more write /one",
            "role revoke-permission more /m/ --prefix" => "role grant-permission more read /m/ --prefix",
            "role revoke-permission more /z --from-key" => "role grant-permission more readwrite /z --from-key",
            "auth disable" => "auth enable",
            _ => "",
        };
        if !undone.is_empty() {
            let undo: Vec<&str> = undone.split(' ').collect();
            etcdctl.ok(&[&["--user=root:r"], undo.as_slice()].concat()).await?;
        }
        let ours = ctl.ok(&words).await.with_context(|| command.to_owned())?;
        ensure!(ours.trim_end() == theirs.trim_end(), "{command}\n  etcdctl: {theirs:?}\n  conclavectl: {ours:?}");
    }
    let wrong = ctl.run(&["--user=al:b", "get", "/a/1"]).await?;
    ensure!(
        wrong.code == Some(1) && wrong.stderr.starts_with("Error: etcdserver: authentication failed"),
        "{}",
        wrong.stderr
    );
    ensure!(wrong.stderr.contains("--password"), "it says what to look at: {}", wrong.stderr);
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_when_its_right_goes() -> Result<()> {
    let cluster = cluster(&[]).await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    let al = Client::builder().endpoints(cluster.endpoints()).credentials(Credentials::new("al", "a")).build()?;
    al.put("/a/1", "x").await?;
    let mut session = etcdctl.start(&["--user=al:a", "watch", "/a/", "--prefix"])?;
    // It may begin a little later than it was asked for.
    for _ in 0..100 {
        al.put("/a/w", "1").await?;
        if tokio::time::timeout(Duration::from_millis(200), session.line()).await.is_ok() {
            break;
        }
    }
    etcdctl.ok(&["--user=root:r", "role", "revoke-permission", "rw", "/a/", "/a0"]).await?;
    let mut secret = false;
    etcdctl.ok(&["--user=root:r", "put", "/a/secret", "s"]).await?;
    while let Ok(Ok(line)) = tokio::time::timeout(SOON, session.line()).await {
        secret |= line.contains("secret");
    }
    ensure!(!secret, "a watch told of a key that its user may not read any more");
    ensure!(al.get("/a/1").await.is_err(), "the right is gone");
    Ok(())
}

#[tokio::test]
async fn a_client_logs_in_again_and_outlives_the_leader() -> Result<()> {
    let mut cluster = cluster(&[]).await?;
    let al = Client::builder().endpoints(cluster.endpoints()).credentials(Credentials::new("al", "a")).build()?;
    al.put("/a/1", "1").await?;
    // Tokens are in the memory of members: one that restarts knows none.
    for i in 0..3 {
        cluster.restart(i).await?;
        eventually("a put after a restart", LONG, || async { Ok(al.put("/a/1", "2").await?) }).await?;
    }
    // Nobody is told who leads without a login.
    let leader = eventually("one of the three leads", LONG, || async {
        for i in 0..3 {
            let status = al.only(cluster.endpoint(i))?.status().await?;
            if status.leader == status.header.context("a header")?.member_id {
                return Ok(i);
            }
        }
        anyhow::bail!("none does")
    })
    .await?;
    cluster.node(leader).kill()?;
    eventually("a put without the old leader", LONG, || async { Ok(al.put("/a/1", "3").await?) }).await?;
    let got = al.get("/a/1").await?.context("it is there")?;
    ensure!(got.value == "3");
    Ok(())
}

/// Status and the list of the members need a login, and a login a majority.
#[tokio::test]
async fn without_a_majority_conclavectl_shows_what_needs_no_login() -> Result<()> {
    let mut cluster = cluster(&[]).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    ensure!(ctl.ok(&["--user=root:r", "status"]).await?.contains("3 of 3 members up"));
    for i in [1, 2] {
        cluster.node(i).kill()?;
    }
    let status = async || {
        let ended = ctl.run(&["--user=root:r", "status"]).await?;
        ensure!(ended.code == Some(1), "{ended:?}");
        for part in ["without a login: 1 of 3 endpoints answers; NO LEADER", "up, knows no leader", "DOWN: "] {
            ensure!(ended.stdout.contains(part), "{part} is missing in {}", ended.stdout);
        }
        let said = "the cluster has no leader: 1 of 3 endpoints answers, and a login needs a majority of the members";
        ensure!(ended.stderr.contains(said) && ended.stderr.contains("start the other members"), "{}", ended.stderr);
        Ok(())
    };
    eventually("the member notices that it has lost the others", LONG, status).await?;
    let read = ctl.run(&["--user=root:r", "get", "/a/1"]).await?;
    ensure!(read.code == Some(2) && read.stderr.contains("and a login needs a majority"), "{}", read.stderr);
    // Who gives no user is told so, and sees the same.
    let nobody = ctl.run(&["status"]).await?;
    ensure!(nobody.code == Some(1) && nobody.stderr.contains("user name is empty"), "{}", nobody.stderr);
    ensure!(nobody.stdout.contains("1 of 3 endpoints answers; NO LEADER"), "{}", nobody.stdout);
    Ok(())
}
