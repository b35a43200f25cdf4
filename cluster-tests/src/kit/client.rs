//! The client library as these tests use it.

use crate::{
    cluster::Cluster,
    etcd::application,
    wait::{SOON, eventually, within},
};
use anyhow::{Context, Result, bail};
use conclave_client::{Client, Error, ErrorKind, KeyRange, Session};
use futures::{Stream, StreamExt};
use std::time::Duration;

pub async fn one() -> Result<(Cluster, Client)> {
    let cluster = Cluster::start(1).await?;
    let client = application(&cluster)?;
    Ok((cluster, client))
}

pub async fn session(client: &Client) -> Result<Session, Error> {
    Session::open(client, Duration::from_secs(20)).await
}

pub fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

pub async fn next<T>(events: &mut (impl Stream<Item = Result<T, Error>> + Unpin)) -> Result<T> {
    Ok(within("an event", SOON, events.next()).await?.context("the stream ended")??)
}

/// Waits until nothing of elections, locks and claims is left, but for terms.
pub async fn nothing_left(client: &Client) -> Result<()> {
    let ask = async || {
        let found = client.range(KeyRange::prefix("/_conclave/")).await?;
        let left: Vec<_> = found.kvs.iter().filter(|kv| !kv.key.ends_with(b"/term")).map(|kv| kv.key.clone()).collect();
        if left.is_empty() { Ok(()) } else { bail!("{left:?}") }
    };
    eventually("an empty line", SOON, ask).await
}

/// A client whose first member is `i`.
pub fn beginning_at(cluster: &Cluster, i: usize) -> Result<Client> {
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(i);
    Ok(Client::new(endpoints)?)
}
