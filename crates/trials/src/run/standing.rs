//! Asks every member, again and again, how far its state has come: its digest after the entry it
//! applied last, and after round ones before.
//!
//! Members under way never stand at the same entry when they are asked. What makes them comparable
//! are the digests that each remembers at indexes that are the same for all.

use super::observed::write;
use crate::{
    env::{Host, World},
    history::{Fact, Journal, Mark},
    status::{Standing, standing},
};
use anyhow::Result;
use std::{
    collections::HashMap,
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
    let urls = world.endpoints(Host::Runner);
    let (journal, stop) = (journal.clone(), Arc::clone(stop));
    world.inside(Host::Runner, move || {
        let mut known: HashMap<(usize, u64), String> = HashMap::new();
        for look in 0.. {
            let last = stop.load(Ordering::Acquire);
            for (node, url) in urls.iter().enumerate() {
                // One that is down or stands still says nothing.
                let Ok(standing) = standing(url, PATIENCE) else { continue };
                for mark in marks(&standing, last || look % LAST == 0) {
                    // A member that comes to the same entry again, after a restart, must come to
                    // the same digest.
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

fn marks(standing: &Standing, last: bool) -> Vec<Mark> {
    let mark = |index: u64, digest: &str| Mark { index, digest: digest.to_owned() };
    // Before anything was applied all are equal, which shows nothing.
    let round = standing.digests.iter().filter(|(index, _)| **index > 0).map(|(index, digest)| mark(*index, digest));
    let now = last.then(|| mark(standing.applied_index, &standing.digest));
    round.chain(now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_those_of_round_indexes_and_sometimes_the_last() {
        let digests = [(0, "00".to_owned()), (64, "0a".to_owned())].into();
        let standing = Standing { applied_index: 70, revision: 9, digest: "0b".into(), digests };
        let seen =
            |last| marks(&standing, last).iter().map(|mark| (mark.index, mark.digest.clone())).collect::<Vec<_>>();
        assert_eq!(seen(false), [(64, "0a".to_owned())]);
        assert_eq!(seen(true), [(64, "0a".to_owned()), (70, "0b".to_owned())]);
    }
}
