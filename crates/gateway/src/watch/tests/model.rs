//! Whatever happens in whatever order, each watcher sees every event it wants exactly once, in
//! order, in whole revisions; or a prefix of them, and is then told that the rest is compacted.

use super::*;
use conclave_state::{Event, EventKind};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 4] = ["a", "ab", "b", "c"];
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Commands of one batch: each a list of (key, delete).
    Apply(Vec<Vec<(usize, bool)>>),
    /// A snapshot with these commands in it.
    Snapshot(Vec<Vec<(usize, bool)>>),
    /// So far below the current revision.
    Compact(i64),
    /// Start relative to the current revision; 0 is "now".
    Create {
        client: usize,
        key: usize,
        end: usize,
        start: i64,
        filter: Option<bool>,
        fragment: bool,
        previous: bool,
    },
    Cancel {
        client: usize,
        id: i64,
    },
    Read {
        client: usize,
        frames: usize,
    },
}

fn commands() -> impl Strategy<Value = Vec<Vec<(usize, bool)>>> {
    prop::collection::vec(prop::collection::vec((0..KEYS.len(), prop::bool::weighted(0.3)), 1..4), 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => commands().prop_map(Step::Apply),
        1 => commands().prop_map(Step::Snapshot),
        1 => (0i64..12).prop_map(Step::Compact),
        3 => (0..CLIENTS, 0..KEYS.len(), 0..3usize, -6i64..4, prop::option::weighted(0.2, any::<bool>()), any::<bool>(), any::<bool>())
            .prop_map(|(client, key, end, start, filter, fragment, previous)| Step::Create {
                client, key, end, start, filter, fragment, previous,
            }),
        1 => (0..CLIENTS, 0i64..4).prop_map(|(client, id)| Step::Cancel { client, id }),
        4 => (0..CLIENTS, 1usize..12).prop_map(|(client, frames)| Step::Read { client, frames }),
    ]
}

fn command(changes: &[(usize, bool)]) -> Command {
    let mut seen = Vec::new();
    let mut operations = Vec::new();
    for &(key, delete) in changes {
        // A key changes once in a transaction.
        if !seen.contains(&key) {
            seen.push(key);
            let value = "v".repeat(key * 40);
            operations.push(match delete {
                true => Op::DeleteRange(op_delete(KEYS[key])),
                false => Op::Put(op_put(KEYS[key], &value)),
            });
        }
    }
    txn(operations)
}

#[derive(Debug)]
struct Expectation {
    request: WatchCreateRequest,
    start: i64,
    seen: Vec<(i64, Bytes, bool)>,
    /// Revisions up to here were closed by an earlier response.
    closed: i64,
    open_fragment: bool,
    ended: Option<i64>,
    cancelled: bool,
}

impl Expectation {
    fn wants(&self, event: &Event) -> bool {
        let (key, end) = (&self.request.key, &self.request.range_end);
        let inside = match &end[..] {
            b"" => event.kv.key == key,
            b"\0" => event.kv.key >= key,
            _ => event.kv.key >= key && event.kv.key < end,
        };
        let unwanted = if event.kind == EventKind::Put { 0 } else { 1 };
        inside && event.kv.mod_revision >= self.start && !self.request.filters.contains(&unwanted)
    }

    fn take(&mut self, response: &WatchResponse) {
        assert!(self.ended.is_none(), "nothing follows the end");
        if response.canceled {
            assert!(response.compact_revision > 0 || self.cancelled);
            self.ended = Some(response.compact_revision);
            return;
        }
        for event in &response.events {
            let kv = event.kv.clone().unwrap();
            assert!(kv.mod_revision > self.closed, "{} again after {}", kv.mod_revision, self.closed);
            assert!(kv.mod_revision <= response.header.unwrap().revision);
            assert!(
                event.prev_kv.as_ref().is_none_or(|prev| self.request.prev_kv && prev.mod_revision < kv.mod_revision)
            );
            self.seen.push((kv.mod_revision, kv.key, event.r#type == 1));
        }
        assert!(!response.fragment || self.request.fragment);
        self.open_fragment = response.fragment;
        if !response.fragment {
            self.closed = self.seen.last().map_or(self.closed, |last| last.0);
        }
    }
}

struct Run {
    world: World,
    clients: Vec<Client>,
    log: Vec<Event>,
    watchers: BTreeMap<(usize, i64), Vec<Expectation>>,
    created: BTreeMap<usize, Vec<Expectation>>,
}

impl Run {
    fn revision(&self) -> i64 {
        self.world.store.lock().machine.revision()
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Apply(batch) => {
                let changes = self.world.apply(&batch.iter().map(|c| command(c)).collect::<Vec<_>>());
                self.log.extend(changes.events);
            }
            Step::Snapshot(batch) => {
                let changes = self.world.apply_unseen(&batch.iter().map(|c| command(c)).collect::<Vec<_>>());
                self.log.extend(changes.events);
                self.world.hub.reset();
            }
            Step::Compact(below) => {
                let revision = self.revision() - below;
                if revision > self.world.store.lock().machine.compacted().max(0) {
                    self.world.compact(revision);
                }
            }
            Step::Create { client, key, end, start, filter, fragment, previous } => {
                let range_end = [Bytes::new(), Bytes::from_static(b"\0"), Bytes::from_static(b"c\0")][end].clone();
                let start_revision = if start == 0 { 0 } else { (self.revision() + start).max(1) };
                let request = WatchCreateRequest {
                    range_end,
                    start_revision,
                    filters: filter.map(i32::from).into_iter().collect(),
                    fragment,
                    prev_kv: previous,
                    ..watch(KEYS[key])
                };
                self.create(client, request).await;
            }
            Step::Cancel { client, id } => {
                // Only one that is surely known on both sides.
                if let Some(watcher) = self.watchers.get_mut(&(client, id)).and_then(|all| all.last_mut())
                    && watcher.ended.is_none()
                {
                    watcher.cancelled = true;
                    self.clients[client].cancel(id);
                    self.settle().await;
                }
            }
            Step::Read { client, frames } => {
                for _ in 0..frames {
                    if !self.read(client).await {
                        break;
                    }
                }
            }
        }
    }

    async fn create(&mut self, client: usize, request: WatchCreateRequest) {
        // So that "now" is known: with room in the queue the request is taken at once.
        while self.read(client).await {}
        let start = if request.start_revision == 0 { self.revision() + 1 } else { request.start_revision };
        self.clients[client].create(request.clone());
        self.created.entry(client).or_default().push(Expectation {
            request,
            start,
            seen: Vec::new(),
            closed: 0,
            open_fragment: false,
            ended: None,
            cancelled: false,
        });
        self.settle().await;
    }

    /// Takes one response; false if there is none.
    async fn read(&mut self, client: usize) -> bool {
        let Some(response) = self.clients[client].poll().await else { return false };
        let response = response.unwrap();
        let id = response.watch_id;
        if response.created {
            let expectation = self.created.get_mut(&client).unwrap().remove(0);
            self.watchers.entry((client, id)).or_default().push(expectation);
        } else {
            self.watchers.get_mut(&(client, id)).unwrap().last_mut().unwrap().take(&response);
        }
        true
    }

    fn check(&self) {
        let mut whole = 0;
        for watcher in self.watchers.values().flatten() {
            let expected: Vec<(i64, Bytes, bool)> = self
                .log
                .iter()
                .filter(|event| watcher.wants(event))
                .map(|event| (event.kv.mod_revision, event.kv.key.clone(), event.kind == EventKind::Delete))
                .collect();
            assert!(!watcher.open_fragment);
            match watcher.ended {
                None => assert_eq!(watcher.seen, expected, "{:?}", watcher.request),
                Some(compacted) => {
                    assert!(expected.starts_with(&watcher.seen), "{:?}", watcher.request);
                    let missed = expected.get(watcher.seen.len()).map_or(i64::MAX, |first| first.0);
                    // A revision is whole also at the end.
                    assert!(watcher.seen.last().is_none_or(|last| last.0 < missed));
                    assert!(watcher.cancelled || compacted > 0);
                }
            }
            whole += usize::from(watcher.ended.is_none());
        }
        assert_eq!(self.world.hub.stats().watchers, whole);
        assert_eq!(self.world.hub.stats().behind, 0);
    }
}

async fn run(steps: Vec<Step>) {
    let config = WatchConfig { buffer_bytes: 900, response_bytes: 300, ..Default::default() };
    let world = World::with(config);
    let clients = (0..CLIENTS).map(|_| world.client()).collect();
    let mut run = Run { world, clients, log: Vec::new(), watchers: BTreeMap::new(), created: BTreeMap::new() };
    for step in steps {
        run.step(step).await;
    }
    for client in 0..CLIENTS {
        while run.read(client).await {}
    }
    run.check();
}

proptest! {
    #[test]
    fn every_watcher_sees_each_event_once(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
