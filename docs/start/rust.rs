use etcd_client::{
    Client, Compare, CompareOp, Error, LeaseKeepAliveStream, LeaseKeeper, ResignOptions, Txn, TxnOp, TxnResponse,
    WatchOptions,
};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoints = std::env::var("ETCDCTL_ENDPOINTS").expect("ETCDCTL_ENDPOINTS says where the members are");
    run(&endpoints.split(',').map(str::to_owned).collect::<Vec<_>>()).await
}

pub(crate) async fn run(endpoints: &[String]) -> Result<(), Error> {
    let mut client = Client::connect(endpoints, None).await?;

    // A session: a lease, and its keep-alive. Its end is the end of what depends on it.
    let lease = client.lease_grant(10, None).await?.id();
    let (keeper, answers) = client.lease_keep_alive(lease).await?;
    let session = tokio::spawn(keep_alive(keeper, answers));

    // Campaign waits until this process leads. The fence is larger than every earlier leader's.
    let won = client.campaign("start/rust", "host-1", lease).await?;
    let leader = won.leader().expect("a campaign that succeeds has a leader").clone();
    println!("leading: {}", leader.rev() > 0);

    // The guard holds exactly as long as this leadership: its key exists with that create revision.
    let guard = Compare::create_revision(leader.key(), CompareOp::Equal, leader.rev());
    let first = write(&mut client, &guard, "running").await?;
    println!("written while leading: {}", first.succeeded());

    // Work until `session` ends: then the leadership is lost. Here the leader resigns, and its guard fails.
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    println!("written after resigning: {}", write(&mut client, &guard, "too late").await?.succeeded());
    session.abort();
    client.lease_revoke(lease).await?;

    // A watch from a revision misses nothing that was written since.
    let from = first.header().expect("every answer has a header").revision();
    let mut watch = client.watch("start/rust-state", Some(WatchOptions::new().with_start_revision(from))).await?;
    while let Some(response) = watch.message().await? {
        if let Some(kv) = response.events().first().and_then(|event| event.kv()) {
            println!("watched: {} = {}", kv.key_str()?, kv.value_str()?);
            break;
        }
    }
    Ok(())
}

async fn write(client: &mut Client, guard: &Compare, value: &str) -> Result<TxnResponse, Error> {
    let put = TxnOp::put("start/rust-state", value, None);
    client.txn(Txn::new().when([guard.clone()]).and_then([put])).await
}

// Ends when the lease is gone or the connection is lost.
async fn keep_alive(mut keeper: LeaseKeeper, mut answers: LeaseKeepAliveStream) -> Result<(), Error> {
    loop {
        if answers.message().await?.is_none_or(|answer| answer.ttl() <= 0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        keeper.keep_alive().await?;
    }
}
