//! Leases: a server that waits a little longer than it promised, and what ends with a lease.

use super::{MS, Sim, failure};
use conclave_trials::history::{Answer, Call, KvAnswer, KvCall, LeaseAnswer, LeaseCall};

pub(super) fn start(sim: &mut Sim) {
    for number in 0..8_u64 {
        let process = sim.process();
        let begin = sim.random(500 * MS);
        sim.after(begin, move |sim| {
            grant(sim, process, 0x100 + number as i64, 400, move |sim, process| {
                probe(sim, process, 0x100 + number as i64)
            });
        });
    }
}

/// A lease with a key that shows its end, renewed a few times and then left or revoked.
fn probe(sim: &mut Sim, process: u64, lease: i64) {
    let (key, value) = (format!("sentinel/{lease:x}"), format!("v{}", sim.value()));
    let edit = (key.clone(), Some(value.clone()), lease);
    sim.call(
        process,
        Call::Kv(KvCall::Put { key, value, lease, prev: false }),
        0,
        Box::new(move |sim| Ok(Answer::Kv(KvAnswer::Written { revision: sim.commit(vec![edit]), prev: None }))),
        Box::new(move |sim, process, _| {
            let times = sim.random(5);
            keep(sim, process, lease, 150, times, move |sim, process| {
                if lease % 4 == 0 {
                    revoke(sim, process, lease);
                } else {
                    sim.after(900 * MS, move |sim| remains(sim, process, lease));
                }
            });
        }),
    );
}

pub(super) fn grant(sim: &mut Sim, process: u64, lease: i64, ttl_ms: u64, then: impl FnOnce(&mut Sim, u64) + 'static) {
    sim.call(
        process,
        Call::Lease(LeaseCall::Grant { lease, ttl_ms }),
        0,
        Box::new(move |sim| {
            sim.store.leases.insert(lease, (0, ttl_ms));
            sim.renew(lease);
            Ok(Answer::Lease(LeaseAnswer::Granted { revision: sim.store.revision, lease, ttl_ms }))
        }),
        Box::new(move |sim, process, _| then(sim, process)),
    );
}

/// Renews so many times, then goes on.
pub(super) fn keep(
    sim: &mut Sim,
    process: u64,
    lease: i64,
    every_ms: u64,
    times: u64,
    then: impl FnOnce(&mut Sim, u64) + 'static,
) {
    if times == 0 {
        return then(sim, process);
    }
    sim.after(every_ms * MS, move |sim| {
        sim.call(
            process,
            Call::Lease(LeaseCall::Keepalive { lease }),
            10,
            Box::new(move |sim| {
                let ttl_ms = if sim.renew(lease) { sim.store.leases[&lease].1 } else { 0 };
                Ok(Answer::Lease(LeaseAnswer::Kept { revision: sim.store.revision, lease, ttl_ms }))
            }),
            Box::new(move |sim, process, _| keep(sim, process, lease, every_ms, times - 1, then)),
        );
    });
}

fn revoke(sim: &mut Sim, process: u64, lease: i64) {
    sim.call(
        process,
        Call::Lease(LeaseCall::Revoke { lease }),
        0,
        Box::new(move |sim| {
            if !sim.store.leases.contains_key(&lease) {
                return Err(failure("NotFound", "requested lease not found"));
            }
            sim.end_lease(lease);
            Ok(Answer::Lease(LeaseAnswer::Revoked { revision: sim.store.revision }))
        }),
        Box::new(|_, _, _| {}),
    );
}

fn remains(sim: &mut Sim, process: u64, lease: i64) {
    sim.call(
        process,
        Call::Lease(LeaseCall::TimeToLive { lease }),
        0,
        Box::new(move |sim| {
            let gone = !sim.store.leases.contains_key(&lease);
            let (granted_ms, remaining_ms) = if gone { (0, -1) } else { (400, 100) };
            Ok(Answer::Lease(LeaseAnswer::Remains { revision: sim.store.revision, granted_ms, remaining_ms }))
        }),
        Box::new(|_, _, _| {}),
    );
}

impl Sim {
    /// Begins a lease's time anew; false if it is gone.
    fn renew(&mut self, lease: i64) -> bool {
        let now = self.now;
        let Some((renewed, ttl_ms)) = self.store.leases.get_mut(&lease) else { return false };
        *renewed = now;
        let ttl = *ttl_ms * MS * 102 / 100;
        self.after(ttl, move |sim| {
            if sim.store.leases.get(&lease).is_some_and(|(renewed, _)| *renewed == now) {
                sim.end_lease(lease);
            }
        });
        true
    }

    fn end_lease(&mut self, lease: i64) {
        self.store.leases.remove(&lease);
        let theirs = self.store.keys.values().filter(|kv| kv.lease == lease && !kv.key.starts_with("/_conclave/"));
        let mut edits: Vec<_> = theirs.map(|kv| (kv.key.clone(), None, 0)).collect();
        edits.extend(self.drop_requests(lease));
        edits.extend(self.drop_candidates(lease));
        if !edits.is_empty() {
            let revision = self.commit(edits);
            self.tell_queue(revision);
            self.answer_locks(revision);
        }
    }
}
