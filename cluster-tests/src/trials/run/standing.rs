//! Asks every member, again and again, how far its state has come: its digest after the entry it applied last, and after round ones before.
//!
//! Members under way never stand at the same entry when they are asked. What makes them comparable are the digests that each remembers at
//! indexes that are the same for all.

use super::observer::write;
use crate::{
    status::page,
    trials::{
        env::{Host, World},
        history::{Fact, Journal, Mark},
    },
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(400);
/// Every so many looks the last digest is written too; round ones always are.
const LAST: usize = 4;

/// Samples until told to stop, and once more then.
pub(super) fn start(world: &Arc<World>, journal: &Journal, stop: &Arc<AtomicBool>) -> Result<JoinHandle<()>> {
    let addresses = (0..world.nodes()).map(|node| address(&world.endpoint(Host::Runner, node)));
    let addresses = addresses.collect::<Result<Vec<_>>>()?;
    let (journal, stop) = (journal.clone(), Arc::clone(stop));
    world.inside(Host::Runner, move || {
        let mut known: HashMap<(usize, u64), String> = HashMap::new();
        for look in 0.. {
            let last = stop.load(Ordering::Acquire);
            for (node, address) in addresses.iter().enumerate() {
                // One that is down or stands still says nothing.
                let Ok(status) = page(*address, "/status", PATIENCE) else { continue };
                for mark in marks(&status, last || look % LAST == 0) {
                    // A member that comes to the same entry again, after a restart, must come to the same digest.
                    if known.insert((node, mark.index), mark.digest.clone()).as_ref() != Some(&mark.digest) {
                        write(&journal, node, Fact::Mark(mark));
                    }
                }
            }
            if last {
                return;
            }
            std::thread::sleep(EVERY);
        }
    })
}

fn address(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("http://").context("an address without http")?;
    address.trim_end_matches('/').parse().with_context(|| url.to_owned())
}

fn marks(status: &Value, last: bool) -> Vec<Mark> {
    let mark =
        |index: &Value, digest: &Value| Some(Mark { index: index.as_u64()?, digest: digest.as_str()?.to_owned() });
    let round = status["digests"].as_array().into_iter().flatten().filter_map(|pair| mark(&pair[0], &pair[1]));
    // Before anything was applied all are equal, which shows nothing.
    let round = round.filter(|mark| mark.index > 0);
    let now = last.then(|| mark(&status["applied_index"], &status["digest"])).flatten();
    round.chain(now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn marks_are_read_from_a_status() {
        let status = json!({"applied_index": 70, "digest": "0b", "digests": [[0, "00"], [64, "0a"]]});
        let seen = |last| marks(&status, last).iter().map(|mark| (mark.index, mark.digest.clone())).collect::<Vec<_>>();
        assert_eq!(seen(false), [(64, "0a".to_owned())]);
        assert_eq!(seen(true), [(64, "0a".to_owned()), (70, "0b".to_owned())]);
    }
}
