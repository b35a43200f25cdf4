//! Locks and elections of etcd, locks of conclave.v1, and writes under their fences.

use super::{MS, Sim, failure, leases, store::Edit};
use conclave_trials::{
    check::{Kind, holders},
    history::{
        Answer, Api, Call, ElectionAnswer, ElectionCall, Entry, Event, FenceGuard, FencedAnswer, FencedCall,
        LockAnswer, LockCall, Mode, Observed, Process,
    },
};

type Granted = Box<dyn FnOnce(&mut Sim, i64)>;

#[derive(Default)]
pub(super) struct Locks {
    /// Calls that wait for a key to be the oldest.
    waiting: Vec<(u64, String, String, bool, Granted)>,
    requests: Vec<Request>,
    /// Of the resource outside: the highest fence, and how many writes it took.
    outside: (i64, i64),
}

struct Request {
    lock: &'static str,
    process: u64,
    fence: i64,
    lease: i64,
    mode: Mode,
    held: bool,
    then: Option<Granted>,
}

pub(super) fn start(sim: &mut Sim) {
    for number in 0..6_i64 {
        for (lease, name) in
            [(0x200 + number, "lock/a"), (0x300 + number, "elect/a"), (0x400 + number, "cl"), (0x500 + number, "sem")]
        {
            let (process, keeper) = (sim.process(), sim.process());
            let begin = sim.random(200 * MS);
            sim.after(begin, move |sim| {
                leases::grant(sim, process, lease, 600, move |sim, process| {
                    let times = 1 + sim.random(12);
                    leases::keep(sim, keeper, lease, 150, times, |_, _| {});
                    take(sim, process, lease, name, 4);
                });
            });
        }
    }
    give_up(sim);
    let observer = sim.process();
    sim.record(Process::Client(observer), None, Entry::Invoke(observe()));
    sim.record(Process::Client(observer), None, Entry::Ok(Answer::Election(ElectionAnswer::Observing)));
    watch_leader(sim, observer, Some((String::new(), 0)), 200);
    let asker = sim.process();
    ask_leader(sim, asker, 60);
}

/// One waits behind another, gives up, and its place goes.
fn give_up(sim: &mut Sim) {
    let (holder, quitter) = (sim.process(), sim.process());
    leases::grant(sim, holder, 0x700, 1500, move |sim, holder| {
        leases::grant(sim, quitter, 0x701, 1500, move |sim, quitter| {
            let held: Granted = Box::new(move |sim, fence| {
                let (lock, api, mode) = ("lock/q".to_owned(), Api::Etcd, Mode::Exclusive);
                let call = Call::Lock(LockCall::Acquire { lock, lease: 0x701, api, mode, try_only: false });
                sim.record(Process::Client(quitter), None, Entry::Invoke(call));
                let (key, value) = ("lock/q/701".to_owned(), Some(format!("v{}", sim.value())));
                let edit = (key.clone(), value, 0x701);
                sim.after(2 * MS, move |sim| {
                    sim.commit(vec![edit]);
                });
                sim.after(30 * MS, move |sim| {
                    let given_up = Entry::Info(failure("timeout", "given up"));
                    sim.record(Process::Client(quitter), None, given_up);
                    let delay = sim.delay();
                    sim.after(delay, move |sim| {
                        sim.commit(vec![(key, None, 0)]);
                    });
                });
                sim.after(60 * MS, move |sim| release(sim, holder, "lock/q", "lock/q/700".into(), fence, |_| {}));
            });
            take_etcd(sim, holder, 0x700, "lock/q", held);
        });
    });
}

fn observe() -> Call {
    Call::Election(ElectionCall::Observe { election: "elect/a".into() })
}

/// Takes the lock or the leadership, holds it for a while, gives it back, again and again.
fn take(sim: &mut Sim, process: u64, lease: i64, name: &'static str, left: u32) {
    if left == 0 {
        return;
    }
    let hold = sim.random(120 * MS);
    let held: Granted = Box::new(move |sim, fence| {
        let key = format!("{name}/{lease:x}");
        fenced(sim, process, name, fence, move |sim| {
            sim.after(hold, move |sim| {
                release(sim, process, name, key, fence, move |sim| {
                    // A write of who held it is too late.
                    fenced(sim, process, name, fence, move |sim| take(sim, process, lease, name, left - 1));
                });
            });
        });
    });
    match name {
        "lock/a" | "elect/a" => take_etcd(sim, process, lease, name, held),
        _ => request(sim, process, lease, name, held),
    }
}

fn take_etcd(sim: &mut Sim, process: u64, lease: i64, name: &'static str, held: Granted) {
    let campaign = name == "elect/a";
    let value = format!("v{}", sim.value());
    let call = if campaign {
        Call::Election(ElectionCall::Campaign { election: name.into(), lease, value: value.clone() })
    } else {
        let (api, mode) = (Api::Etcd, Mode::Exclusive);
        Call::Lock(LockCall::Acquire { lock: name.into(), lease, api, mode, try_only: false })
    };
    sim.record(Process::Client(process), None, Entry::Invoke(call));
    let delay = sim.delay();
    sim.after(delay, move |sim| {
        if !sim.store.leases.contains_key(&lease) {
            return drop(sim.settle(process, Err(failure("NotFound", "requested lease not found"))));
        }
        let key = format!("{name}/{lease:x}");
        sim.commit(vec![(key.clone(), Some(value), lease)]);
        sim.locks.waiting.push((process, format!("{name}/"), key, campaign, held));
    });
}

fn release(
    sim: &mut Sim,
    process: u64,
    name: &'static str,
    key: String,
    fence: i64,
    then: impl FnOnce(&mut Sim) + 'static,
) {
    let call = match name {
        "elect/a" => Call::Election(ElectionCall::Resign { election: name.into(), key: key.clone(), fence }),
        _ => Call::Lock(LockCall::Release { lock: name.into(), fence, key: key.clone() }),
    };
    sim.call(
        process,
        call,
        0,
        Box::new(move |sim| {
            if sim.store.keys.get(&key).is_some_and(|kv| kv.create == fence) {
                sim.commit(vec![(key, None, 0)]);
            } else if let Some(at) = sim.locks.requests.iter().position(|request| request.fence == fence) {
                let request = sim.locks.requests.remove(at);
                let mut edits = vec![(format!("{}{fence:016x}", holders(Kind::Lock, request.lock)), None, 0)];
                edits.extend(sim.admit());
                let revision = sim.commit(edits);
                sim.answer_locks(revision);
            }
            let revision = sim.store.revision;
            Ok(match name {
                "elect/a" => Answer::Election(ElectionAnswer::Resigned { revision }),
                _ => Answer::Lock(LockAnswer::Released { revision }),
            })
        }),
        Box::new(|sim, _, _| then(sim)),
    );
}

/// One write guarded in the store, one to the resource outside.
fn fenced(sim: &mut Sim, process: u64, name: &'static str, fence: i64, then: impl FnOnce(&mut Sim) + 'static) {
    let value = format!("v{}", sim.value());
    let call = |guard, resource: &str| FencedCall {
        resource: resource.into(),
        name: name.into(),
        fence,
        value: value.clone(),
        guard,
        read: String::new(),
    };
    let (inside, outside) = (call(FenceGuard::Store, "res/1"), call(FenceGuard::Outside, "printer"));
    let written = value.clone();
    let store = move |sim: &mut Sim| {
        let stands = sim.store.under(&format!("{name}/")).iter().any(|kv| kv.create == fence)
            || sim.store.keys.contains_key(&format!("{}{fence:016x}", holders(Kind::Lock, name)));
        Ok(Answer::Fenced(if stands {
            FencedAnswer::Accepted { revision: sim.commit(vec![("res/1".into(), Some(written), 0)]) }
        } else {
            FencedAnswer::Refused { revision: sim.store.revision, seen: 0 }
        }))
    };
    if name != "lock/a" {
        return sim.call(process, Call::Fenced(inside), 0, Box::new(store), Box::new(|sim, _, _| then(sim)));
    }
    let printer = move |sim: &mut Sim| {
        let (seen, count) = sim.locks.outside;
        Ok(Answer::Fenced(if fence >= seen {
            sim.locks.outside = (fence, count + 1);
            FencedAnswer::Accepted { revision: count + 1 }
        } else {
            FencedAnswer::Refused { revision: count, seen }
        }))
    };
    sim.call(
        process,
        Call::Fenced(inside),
        0,
        Box::new(store),
        Box::new(move |sim, process, _| {
            sim.call(process, Call::Fenced(outside), 0, Box::new(printer), Box::new(|sim, _, _| then(sim)));
        }),
    );
}

/// Asks for a lock of conclave.v1.
fn request(sim: &mut Sim, process: u64, lease: i64, lock: &'static str, held: Granted) {
    let mode = match (lock, sim.random(2)) {
        ("sem", weight) => Mode::Permits { weight: weight as u32 + 1, capacity: 3 },
        (_, 0) => Mode::Shared,
        _ => Mode::Exclusive,
    };
    let call = LockCall::Acquire { lock: lock.into(), lease, api: Api::Conclave, mode, try_only: false };
    sim.record(Process::Client(process), None, Entry::Invoke(Call::Lock(call)));
    let delay = sim.delay();
    sim.after(delay, move |sim| {
        if !sim.store.leases.contains_key(&lease) {
            return drop(sim.settle(process, Err(failure("NotFound", "no such session"))));
        }
        let fence = sim.store.revision + 1;
        sim.locks.requests.push(Request { lock, process, fence, lease, mode, held: false, then: Some(held) });
        let mut edits = sim.admit();
        if edits.is_empty() {
            edits.push((waiting_key(lock, fence), Some(String::new()), lease));
        } else {
            // It was never in line: there is no place to leave.
            edits.retain(|(_, value, _)| value.is_some());
        }
        let revision = sim.commit(edits);
        sim.answer_locks(revision);
    });
}

fn waiting_key(lock: &str, fence: i64) -> String {
    format!("/_conclave/l/default/{lock}/q/{fence:016x}")
}

fn fits(held: &[Mode], mode: Mode) -> bool {
    match mode {
        Mode::Exclusive => held.is_empty(),
        Mode::Shared => held.iter().all(|held| *held == Mode::Shared),
        Mode::Permits { weight, capacity } => {
            let used: u32 =
                held.iter().map(|held| if let Mode::Permits { weight, .. } = held { *weight } else { 0 }).sum();
            used + weight <= capacity
        }
    }
}

/// Tells an observer whenever it looks and something is new.
fn watch_leader(sim: &mut Sim, process: u64, last: Option<(String, i64)>, left: u32) {
    let leader = sim.store.oldest("elect/a/").cloned();
    let now = leader.as_ref().map(|kv| (kv.key.clone(), kv.modified));
    if now != last {
        let observed = Observed { election: "elect/a".into(), revision: sim.store.revision, leader };
        sim.event(process, Event::Observed(observed));
    }
    if left > 0 {
        let rest = sim.random(15 * MS);
        sim.after(rest, move |sim| watch_leader(sim, process, now, left - 1));
    }
}

fn ask_leader(sim: &mut Sim, process: u64, left: u32) {
    if left == 0 {
        return;
    }
    sim.call(
        process,
        Call::Election(ElectionCall::Leader { election: "elect/a".into() }),
        0,
        Box::new(|sim| {
            let leader = sim.store.oldest("elect/a/").cloned();
            Ok(Answer::Election(ElectionAnswer::Leader { revision: sim.store.revision, leader }))
        }),
        Box::new(move |sim, process, _| {
            let rest = sim.random(20 * MS);
            sim.after(rest, move |sim| ask_leader(sim, process, left - 1));
        }),
    );
}

impl Sim {
    /// Tells those whose key is now the oldest, and those whose key is gone.
    pub(super) fn grant_etcd(&mut self) {
        for (process, prefix, key, campaign, held) in std::mem::take(&mut self.locks.waiting) {
            let delay = self.delay();
            let Some(fence) = self.store.keys.get(&key).map(|kv| kv.create) else {
                self.after(delay, move |sim| drop(sim.settle(process, Err(failure("NotFound", "session expired")))));
                continue;
            };
            if self.store.oldest(&prefix).is_some_and(|oldest| oldest.key != key) {
                self.locks.waiting.push((process, prefix, key, campaign, held));
                continue;
            }
            let revision = self.store.revision;
            let answer = if campaign {
                Answer::Election(ElectionAnswer::Won { revision, key, fence })
            } else {
                Answer::Lock(LockAnswer::Granted { revision, fence, key, since: 0 })
            };
            self.after(delay, move |sim| {
                sim.settle(process, Ok(answer));
                sim.after(1000, move |sim| held(sim, fence));
            });
        }
    }

    /// Gives locks to those who are first and fit, in order; nobody is passed.
    fn admit(&mut self) -> Vec<Edit> {
        let mut edits = Vec::new();
        for lock in ["cl", "sem"] {
            let held = |request: &&Request| request.lock == lock && request.held;
            let mut modes: Vec<Mode> = self.locks.requests.iter().filter(held).map(|request| request.mode).collect();
            for request in self.locks.requests.iter_mut().filter(|request| request.lock == lock && !request.held) {
                if !fits(&modes, request.mode) {
                    break;
                }
                request.held = true;
                modes.push(request.mode);
                edits.push((waiting_key(lock, request.fence), None, 0));
                let holder = format!("{}{:016x}", holders(Kind::Lock, lock), request.fence);
                edits.push((holder, Some(String::new()), request.lease));
            }
        }
        edits
    }

    /// Answers the calls of those who got theirs.
    pub(super) fn answer_locks(&mut self, revision: i64) {
        for at in 0..self.locks.requests.len() {
            let request = &mut self.locks.requests[at];
            if !request.held {
                continue;
            }
            let Some(then) = request.then.take() else { continue };
            let (process, fence) = (request.process, request.fence);
            let answer = Answer::Lock(LockAnswer::Granted { revision, fence, key: String::new(), since: revision });
            let delay = self.delay();
            self.after(delay, move |sim| {
                sim.settle(process, Ok(answer));
                sim.after(1000, move |sim| then(sim, fence));
            });
        }
    }

    /// What the end of a lease does to the locks.
    pub(super) fn drop_requests(&mut self, lease: i64) -> Vec<Edit> {
        let mut edits = Vec::new();
        for request in std::mem::take(&mut self.locks.requests) {
            if request.lease != lease {
                self.locks.requests.push(request);
            } else if request.held {
                edits.push((format!("{}{:016x}", holders(Kind::Lock, request.lock), request.fence), None, 0));
            } else {
                edits.push((waiting_key(request.lock, request.fence), None, 0));
                let (process, delay) = (request.process, self.delay());
                self.after(delay, move |sim| drop(sim.settle(process, Err(failure("NotFound", "no such session")))));
            }
        }
        if !edits.is_empty() {
            edits.extend(self.admit());
        }
        edits
    }
}
