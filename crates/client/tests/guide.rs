//! docs/client.md shows code that compiles: what it shows stands here, and is compared.
#![allow(dead_code, unused_variables, clippy::unused_async, reason = "it is compiled, not run")]

use conclave_client::{Claims, Error};

const GUIDE: &str = include_str!("../../../docs/client.md");

async fn bill(fence: i64) -> Result<i64, Error> {
    Ok(fence)
}

async fn ten_minutes() -> Result<i64, Error> {
    use conclave_client::{Client, QueueElection, Ran, Session, run_as_leader};
    use std::time::Duration;

    let client = Client::new(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"])?;
    let session = Session::open(&client, Duration::from_secs(10)).await?;
    let candidate = QueueElection::new(&client, "billing").candidate(&session, "host-7").takeover();
    loop {
        let leadership = candidate.campaign().await?; // waits in line
        let ran = run_as_leader(leadership, async |leading| {
            tokio::select! {
                bill = bill(leading.fence()) => Some(bill), // dropped before leadership is given up
                () = leading.stopping() => None, // asked to hand over, or short of time
            }
        });
        match ran.await {
            Ran::Finished(Some(result)) => break result,
            Ran::HandedOver(_) => tracing::info!("another leads, as was asked for"),
            Ran::Finished(None) | Ran::Stopped(_) => tracing::warn!("no longer the leader"),
        }
    }
}

async fn guarded(leadership: conclave_client::Leadership) -> Result<(), Error> {
    use conclave_client::{Cmp, Compare, Held, Put};

    let ready = Compare::value("state", Cmp::Equal, "ready");
    let answer = leadership.txn().when([ready]).then([Put::new("state", "running")]).commit().await?;
    // Err: leadership is lost. answer.succeeded == false: still leading, but not ready.
    Ok(())
}

async fn sure_of_the_next_half_minute(claims: Claims) -> Result<(), Error> {
    use conclave_client::claims::ClaimManager;
    use std::time::Duration;

    let manager =
        ClaimManager::builder(&claims, "postgresql", "postgresql/0").duration(Duration::from_secs(60)).build()?;
    let tracker = manager.track();
    if let Some(lead) = tracker.claim_leader().await {
        // the leader for 30 s at least from now (duration less two renewals), mostly without a call
    }
    Ok(())
}

async fn encrypted() -> Result<(), Error> {
    use conclave_client::{Client, Tls};

    let tls = Tls::new().ca_file("/etc/app/ca.crt").identity_files("/etc/app/app.crt", "/etc/app/app.key");
    let client = Client::builder().endpoints(["https://10.0.0.1:2379"]).tls(tls).build()?;
    Ok(())
}

/// Without what is a matter of layout.
fn bare(code: &str) -> String {
    code.split_whitespace().collect()
}

#[test]
fn the_guide_shows_what_compiles() {
    let compiled = bare(include_str!("guide.rs"));
    let blocks: Vec<&str> = GUIDE.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "the guide has another form");
    for block in blocks {
        assert!(compiled.contains(&bare(block)), "this is not compiled here:\n{block}");
    }
}
