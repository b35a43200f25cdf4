//! Writes that take place only while one leads.
//!
//! What is kept in the cluster's own store needs no fence: the leader's token goes into the
//! transaction, which compares it at the very moment of writing. One round tells apart that
//! leadership is lost (an error) from that an own condition does not hold.
//!
//! ```console
//! $ cargo run --example leader_transactions -- 127.0.0.1:2379
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use conclave_client::{Claims, Client, Cmp, Compare, Error, ErrorKind, Held, Put, Token, claims::ClaimManager};
use std::time::Duration;

/// Moves the deployment on by one step, if it stands where it is thought to stand.
async fn step(client: &Client, leader: &Token, from: &'static str, to: &'static str) -> Result<bool, Error> {
    let txn = client.guarded(leader.clone()).when([Compare::value("deployment/state", Cmp::Equal, from)]);
    Ok(txn.then([Put::new("deployment/state", to)]).commit().await?.succeeded)
}

fn told(step: Result<bool, Error>) -> Result<String, Error> {
    match step {
        Ok(true) => Ok("done".into()),
        Ok(false) => Ok("leads, but the state is another".into()),
        Err(error) if error.kind() == ErrorKind::NotHeld => Ok("leads no longer, nothing was written".into()),
        Err(error) => Err(error),
    }
}

/// A leader works, is replaced, and tries to go on. Returns what it and its successor were told.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn run(client: &Client) -> Result<Vec<String>, Error> {
    client.put("deployment/state", "planned").await?;
    let claims = Claims::new(client);
    let manager =
        |unit: &str| ClaimManager::builder(&claims, "deployer", unit).duration(Duration::from_secs(20)).build();
    let first = manager("unit/0")?.acquire().await?;
    let mut said = vec![
        format!("unit/0: {}", told(step(client, &first.token(), "planned", "running").await)?),
        format!("unit/0: {}", told(step(client, &first.token(), "planned", "running").await)?),
    ];
    // An operator ends the claim, and another unit takes it.
    claims.revoke("deployer", Some("unit/0")).await?;
    let mut second = manager("unit/1")?.acquire().await?;
    said.push(format!("unit/0: {}", told(step(client, &first.token(), "running", "failed").await)?));
    said.push(format!("unit/1: {}", told(step(client, &second.token(), "running", "finished").await)?));
    second.release().await?;
    Ok(said)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests call `run` on their own cluster")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    for line in run(&Client::new(endpoints)?).await? {
        println!("{line}");
    }
    Ok(())
}
