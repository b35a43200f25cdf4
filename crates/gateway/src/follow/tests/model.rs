//! Random histories: every subscription sees what a list of all events says, or is told that it
//! cannot.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Acquire(u8),
    Release(usize),
    Noise,
    /// These come as a snapshot.
    Unseen(Vec<u8>),
    Compact(u8),
    Subscribe {
        lock: u8,
        back: Option<i64>,
    },
    Read(usize, usize),
    Drop(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..3).prop_map(Act::Acquire),
        3 => any::<usize>().prop_map(Act::Release),
        2 => Just(Act::Noise),
        1 => prop::collection::vec(0u8..3, 0..4).prop_map(Act::Unseen),
        1 => (0u8..20).prop_map(Act::Compact),
        2 => (0u8..4, prop::option::of(-3i64..30)).prop_map(|(lock, back)| Act::Subscribe { lock, back }),
        4 => (any::<usize>(), 1usize..8).prop_map(|(who, most)| Act::Read(who, most)),
        1 => any::<usize>().prop_map(Act::Drop),
    ]
}

struct Follower {
    subscription: Subscription,
    span: Span,
    from: i64,
    seen: Vec<(i64, Vec<Event>)>,
    ended: bool,
}

struct Model {
    runtime: tokio::runtime::Runtime,
    world: World,
    all: Vec<Event>,
    compacted: i64,
    fences: Vec<i64>,
    followers: Vec<Follower>,
}

impl Model {
    fn new(runtime: tokio::runtime::Runtime) -> Model {
        let world = World::new();
        Model { runtime, world, all: Vec::new(), compacted: -1, fences: Vec::new(), followers: Vec::new() }
    }

    fn expected(&self, follower: &Follower) -> Vec<(i64, Vec<Event>)> {
        let mut found: Vec<(i64, Vec<Event>)> = Vec::new();
        for event in &self.all {
            let revision = event.kv.mod_revision;
            if revision < follower.from || !follower.span.contains(&event.kv.key) {
                continue;
            }
            match found.last_mut() {
                Some((last, events)) if *last == revision => events.push(event.clone()),
                _ => found.push((revision, vec![event.clone()])),
            }
        }
        found
    }

    fn write(&mut self, commands: &[Command], seen: bool) {
        let (outcomes, changes) = self.world.write(commands);
        self.all.extend(changes.events.iter().cloned());
        for (command, outcome) in commands.iter().zip(outcomes) {
            if matches!(command, Command::Coord(coord) if matches!(coord.body, CoordBody::Acquire(_))) {
                self.fences.push(outcome.revision);
            }
        }
        if seen {
            self.world.feed.observe(&changes);
        } else {
            self.world.feed.reset();
        }
    }

    fn act(&mut self, act: Act) {
        let lock_name = |lock: u8| ["a", "b", "c"][usize::from(lock)];
        match act {
            Act::Acquire(lock) => self.write(&[acquire(lock_name(lock)), noise()], true),
            Act::Release(at) if !self.fences.is_empty() => {
                let fence = self.fences.remove(at % self.fences.len());
                self.write(&[release(fence)], true);
            }
            Act::Noise => self.write(&[noise()], true),
            Act::Unseen(locks) => {
                let commands: Vec<Command> = locks.into_iter().map(|lock| acquire(lock_name(lock))).collect();
                self.write(&commands, false);
            }
            Act::Compact(back) => {
                let revision = self.world.revision() - i64::from(back);
                if revision > self.compacted {
                    self.compacted = revision;
                    self.world.compact(revision);
                }
            }
            Act::Subscribe { lock: of, back } => {
                let current = self.world.revision();
                let from = back.map(|back| (current - back).max(1));
                let span = if of == 3 { Span::prefix(coord::RESERVED.to_vec()) } else { lock(lock_name(of)) };
                let subscription = self.world.feed.subscribe(span.clone(), from);
                let from = from.unwrap_or(current + 1);
                self.followers.push(Follower { subscription, span, from, seen: Vec::new(), ended: false });
            }
            Act::Read(who, most) if !self.followers.is_empty() => {
                let at = who % self.followers.len();
                self.read(at, most);
            }
            Act::Drop(who) if !self.followers.is_empty() => {
                let at = who % self.followers.len();
                drop(self.followers.swap_remove(at));
            }
            Act::Release(_) | Act::Read(..) | Act::Drop(_) => {}
        }
    }

    fn read(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            let follower = &mut self.followers[at];
            // Given up at once if it has to wait, also for a page that another thread reads; asked
            // for again after that.
            let next = match follower.subscription.next().now_or_never() {
                None => self.runtime.block_on(follower.subscription.ready()).transpose(),
                next => next,
            };
            match next {
                None => break,
                Some(Ok(batch)) => follower.seen.push((batch.revision, batch.events.clone())),
                Some(Err(ended)) => {
                    assert_eq!(ended, Ended::Compacted(self.compacted));
                    let last = follower.seen.last().map_or(follower.from, |(revision, _)| revision + 1);
                    assert!(last < self.compacted, "nothing that it needs is gone");
                    follower.ended = true;
                    break;
                }
            }
        }
        let follower = &self.followers[at];
        let expected = self.expected(follower);
        assert_eq!(follower.seen[..], expected[..follower.seen.len()]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn subscriptions_see_what_happened(acts in prop::collection::vec(act(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        let _inside = handle.enter();
        let mut model = Model::new(runtime);
        for act in acts {
            model.act(act);
        }
        for at in 0..model.followers.len() {
            if !model.followers[at].ended {
                model.read(at, usize::MAX);
            }
            let follower = &model.followers[at];
            if !follower.ended {
                prop_assert_eq!(&follower.seen, &model.expected(follower));
            }
        }
        model.followers.clear();
        prop_assert_eq!(model.world.feed.topics(), 0);
    }
}
