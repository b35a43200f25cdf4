//! Random histories of one queue, with calls at two members: a call is granted as soon as its place
//! is the first, lost as soon as its place is gone, and waits otherwise.

use super::world::{World, delete};
use super::{Granted, Lost, Waiters};
use conclave_state::{Command, Place, Put};
use proptest::prelude::*;
use std::time::Duration;
use tokio::task::JoinHandle;

const PLACES: i64 = 6;

#[derive(Clone, Debug)]
enum Step {
    /// Creates a place, or changes its value.
    Put(i64),
    /// Ends these places in one batch, and creates one of them anew.
    End {
        places: Vec<i64>,
        again: bool,
        shown: bool,
    },
    Wait {
        member: usize,
        place: i64,
    },
    GiveUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=PLACES).prop_map(Step::Put),
        3 => (prop::collection::vec(1..=PLACES, 1..4), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(places, again, shown)| Step::End { places, again, shown }),
        5 => (0..2usize, 1..=PLACES).prop_map(|(member, place)| Step::Wait { member, place }),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ]
}

struct Call {
    place: Place,
    waiting: JoinHandle<Result<Granted, Lost>>,
}

struct Run {
    world: World,
    members: [Waiters; 2],
    calls: Vec<Call>,
}

fn key(place: i64) -> String {
    format!("n/{place}")
}

fn put(place: i64) -> Command {
    Command::Put(Put { key: key(place).into(), ..Put::default() })
}

impl Run {
    /// The place as it is now, with its create revision.
    fn place(&self, lease: i64) -> Option<Place> {
        let kv = self.world.get(key(lease).as_bytes())?;
        Some(Place { key: kv.key, lease, create_revision: kv.create_revision, first: false })
    }

    fn first(&self) -> Option<Place> {
        (1..=PLACES).filter_map(|place| self.place(place)).min_by_key(|place| place.create_revision)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(place) => {
                self.world.batch(&[put(place)]);
            }
            Step::End { places, again, shown } => {
                let mut commands: Vec<Command> = places.iter().map(|place| delete(key(*place).as_bytes())).collect();
                commands.extend(again.then(|| put(places[0])));
                if shown {
                    self.world.batch(&commands);
                } else {
                    self.world.apply(&commands);
                    self.world.reset();
                }
            }
            Step::Wait { member, place } => {
                let Some(place) = self.place(place) else { return };
                let (waiters, wanted) = (self.members[member].clone(), place.clone());
                let waiting = tokio::spawn(async move { waiters.wait(b"n", &wanted).await });
                self.calls.push(Call { place, waiting });
            }
            Step::GiveUp(at) if !self.calls.is_empty() => {
                self.calls.swap_remove(at % self.calls.len()).waiting.abort();
            }
            Step::GiveUp(_) => {}
        }
    }

    /// Takes the calls that ended, and finds that the right ones did.
    async fn check(&mut self) {
        let first = self.first();
        for Call { place, waiting } in std::mem::take(&mut self.calls) {
            let now = self.place(place.lease).filter(|now| now.create_revision == place.create_revision);
            match now {
                None => assert_eq!(waiting.await.unwrap(), Err(Lost::Gone)),
                now if now == first => {
                    let granted = waiting.await.unwrap().unwrap();
                    assert!((place.create_revision..=self.world.revision()).contains(&granted.revision));
                }
                Some(_) => {
                    assert!(!waiting.is_finished(), "{place:?}");
                    self.calls.push(Call { place, waiting });
                }
            }
        }
    }
}

async fn run(steps: Vec<Step>) {
    let (world, waiters) = World::new();
    let members = [waiters, world.member()];
    let mut run = Run { world, members, calls: Vec::new() };
    for step in steps {
        run.step(step);
        tokio::time::sleep(Duration::from_millis(1)).await;
        run.check().await;
    }
    for call in run.calls {
        call.waiting.abort();
        let _ = call.waiting.await;
    }
    assert!(run.members.iter().all(|member| member.queues() == 0));
}

proptest! {
    #[test]
    fn calls_end_when_their_places_are_first_or_gone(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), run(steps)).await.unwrap() });
    }
}
