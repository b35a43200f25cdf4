//! Sessions in milliseconds.

use anyhow::{Result, ensure};
use cluster_tests::kit::client::{kind, one};
use cluster_tests::wait::{SOON, within};
use conclave_client::{ErrorKind, LostReason, Put, Session, SessionState};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test]
async fn a_ttl_need_not_be_whole_seconds() -> Result<()> {
    let (_cluster, client) = one().await?;
    let session = Session::open(&client, Duration::from_millis(1250)).await?;
    ensure!(session.ttl() == Duration::from_millis(1250), "{:?}", session.ttl());
    client.put_with(Put::new("mine", "").lease(session.lease())).await?;
    sleep(session.ttl() * 3).await;
    ensure!(session.state() == SessionState::Safe, "{:?}", session.state());
    ensure!(client.get("mine").await?.is_some(), "the session was kept");
    session.close().await?;
    ensure!(client.get("mine").await?.is_none());

    let short = Session::open_precisely(&client, Duration::from_secs(1)).await?;
    ensure!(short.ttl() == Duration::from_secs(1), "{:?}", short.ttl());
    let lost = short.lost();
    client.revoke(short.lease()).await?;
    ensure!(within("the loss", SOON, lost).await? == LostReason::LeaseGone);
    Ok(())
}

#[tokio::test]
async fn a_session_that_nobody_keeps_ends_after_its_milliseconds() -> Result<()> {
    let (_cluster, client) = one().await?;
    let orphan = Session::open(&client, Duration::from_millis(1500)).await?.orphan();
    sleep(Duration::from_millis(700)).await;
    ensure!(client.lease_info(orphan, false).await.is_ok());
    sleep(Duration::from_millis(2500)).await;
    ensure!(kind(client.lease_info(orphan, false).await) == Some(ErrorKind::LeaseNotFound));
    Ok(())
}
