//! Configuration that follows the cluster: read once, then kept current by a watch.
//!
//! The read says at which revision it was, and the watch begins with the next one: nothing is
//! missed in between. When history that the watch needs is gone (no member could be reached for
//! long), it begins again with a read.
//!
//! ```console
//! $ cargo run --example configuration -- 127.0.0.1:2379
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use conclave_client::{Client, Error, ErrorKind, EventKind, KeyRange, Watch};
use futures::TryStreamExt;
use std::collections::BTreeMap;
use tokio::sync::watch;

const PREFIX: &str = "config/";

/// What the program goes by.
pub type Settings = BTreeMap<String, String>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Keeps `settings` current for ever.
async fn follow(client: Client, settings: watch::Sender<Settings>) -> Result<(), Error> {
    loop {
        let found = client.range(KeyRange::prefix(PREFIX)).await?;
        let read = found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        settings.send_replace(read);
        let since = found.header.revision + 1;
        let mut changes = client.watch(Watch::new(KeyRange::prefix(PREFIX)).from_revision(since)).await?;
        loop {
            match changes.try_next().await {
                Ok(Some(batch)) => settings.send_modify(|settings| {
                    // All changes of one revision come in one batch: nobody sees half of a
                    // transaction.
                    for event in batch.events {
                        match event.kind {
                            EventKind::Put => drop(settings.insert(text(&event.kv.key), text(&event.kv.value))),
                            EventKind::Delete => drop(settings.remove(&text(&event.kv.key))),
                        }
                    }
                }),
                Err(error) if error.kind() == ErrorKind::OutOfRange => break,
                Err(error) => return Err(error),
                Ok(None) => break,
            }
        }
    }
}

/// Follows a configuration while it is changed. Returns it as the program saw it last.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn run(client: &Client) -> Result<Settings, Error> {
    client.put("config/color", "green").await?;
    client.put("config/size", "7").await?;
    let (settings, mut seen) = watch::channel(Settings::new());
    let follower = tokio::spawn(follow(client.clone(), settings));
    let settled = |settings: &Settings, color: &str| settings.get("config/color").is_some_and(|now| now == color);
    // The follower lives, so there is always a next state.
    drop(seen.wait_for(|settings| settled(settings, "green")).await);
    client.put("config/color", "blue").await?;
    client.delete("config/size").await?;
    let last = seen.wait_for(|settings| settled(settings, "blue") && !settings.contains_key("config/size")).await;
    let last = last.map(|settings| settings.clone()).unwrap_or_default();
    follower.abort();
    Ok(last)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests call `run` on their own cluster")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    for (name, value) in run(&Client::new(endpoints)?).await? {
        println!("{name} = {value}");
    }
    Ok(())
}
