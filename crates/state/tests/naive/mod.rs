//! A second state machine, written from etcd's documentation in the simplest way there is: it keeps
//! every event that ever happened and finds whatever it is asked by going through all of them.
//!
//! It shares the words with the real one (commands, outcomes, events) and none of its code.

pub(crate) mod generate;
mod places;
mod query;

use bytes::Bytes;
use conclave_state::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// Everything that ever happened, in order.
    pub(crate) history: Vec<Event>,
    pub(crate) leases: BTreeMap<LeaseId, u64>,
    /// The index of the entry that granted each lease.
    granted_at: BTreeMap<LeaseId, u64>,
    /// How many commands there were.
    commands: usize,
    pub(crate) alarms: BTreeSet<Alarm>,
    pub(crate) members: BTreeMap<u64, Member>,
    /// Keys whose present life a Lock stands for.
    locks: BTreeSet<Bytes>,
    /// The attempts that asked for a place, oldest first; 0 cannot be cancelled. A place that is
    /// not here was put by hand, as 0.
    asked: BTreeMap<Bytes, Vec<u64>>,
    cancelled: BTreeSet<(LeaseId, u64)>,
}

type Answer = Result<Response, Rejection>;

impl Naive {
    pub(crate) fn new() -> Naive {
        Naive {
            revision: 1,
            compacted: -1,
            history: Vec::new(),
            leases: BTreeMap::new(),
            granted_at: BTreeMap::new(),
            commands: 0,
            alarms: BTreeSet::new(),
            members: BTreeMap::new(),
            locks: BTreeSet::new(),
            asked: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        }
    }

    /// A refused command leaves no trace: the model simply forgets that it tried.
    pub(crate) fn apply(&mut self, term: u64, command: &Command) -> Outcome {
        let before = self.clone();
        let result = match self.alarmed(command) {
            Some(rejection) => Err(rejection),
            None => self.execute(term, command),
        };
        if result.is_err() {
            *self = before;
        } else if self.changed() {
            self.revision += 1;
        }
        self.commands += 1;
        Outcome { revision: self.revision, repeats: None, result }
    }

    fn alarmed(&self, command: &Command) -> Option<Rejection> {
        fn has_put(op: &Op) -> bool {
            match op {
                Op::Put(_) => true,
                Op::Txn(txn) => txn.success.iter().any(has_put) || txn.failure.iter().any(has_put),
                _ => false,
            }
        }
        let growing = match command {
            Command::Alarm(_) => return None,
            Command::Txn(txn) if txn.only_reads() => return None,
            Command::Put(_) | Command::LeaseGrant(_) | Command::Proclaim(_) => true,
            Command::Enqueue(_) => true,
            Command::Txn(txn) => has_put(&Op::Txn(txn.clone())),
            _ => false,
        };
        let raised: BTreeSet<AlarmKind> = self.alarms.iter().map(|alarm| alarm.kind).collect();
        if raised.contains(&AlarmKind::Corrupt) {
            Some(Rejection::Corrupt)
        } else {
            (growing && raised.contains(&AlarmKind::NoSpace)).then_some(Rejection::NoSpace)
        }
    }

    fn execute(&mut self, term: u64, command: &Command) -> Answer {
        match command {
            Command::Put(put) => {
                self.check_put(put)?;
                Ok(Response::Put { prev: self.put(put) })
            }
            Command::DeleteRange(delete) => Ok(Response::DeleteRange(self.delete(delete))),
            Command::Txn(txn) => self.txn(txn),
            Command::Compact { revision } => self.compact(*revision),
            Command::LeaseGrant(grant) => {
                self.grant(grant.id, grant.ttl_ms)?;
                Ok(Response::LeaseGrant { id: grant.id, ttl_ms: grant.ttl_ms })
            }
            Command::LeaseRevoke { id } => {
                self.leases.get(id).ok_or(Rejection::LeaseNotFound)?;
                self.end_lease(*id);
                Ok(Response::LeaseRevoke { left: false })
            }
            Command::Expire(expire) if expire.term != term => Err(Rejection::StaleTerm),
            Command::Expire(expire) => {
                let known = |id: &LeaseId| self.granted_at.get(id).is_some_and(|at| *at <= expire.observed);
                let due: BTreeSet<LeaseId> = expire.leases.iter().copied().filter(known).collect();
                due.iter().for_each(|id| self.end_lease(*id));
                Ok(Response::Expire { expired: due.len() })
            }
            Command::Enqueue(enqueue) => self.enqueue(enqueue),
            Command::Dequeue(dequeue) => Ok(Response::Dequeue { deleted: self.dequeue(dequeue) }),
            Command::Proclaim(proclaim) => self.proclaim(proclaim),
            Command::Cancel(cancel) => Ok(Response::Cancel { ended: self.cancel(cancel) }),
            Command::Announce(member) => {
                self.members.insert(member.id, member.clone());
                Ok(Response::Announce)
            }
            Command::Join(_) => Ok(Response::Join(Admission::Unknown)),
            Command::Version(_) | Command::PromoteWhenReady(_) | Command::Placement(_) => {
                unreachable!("not generated here")
            }
            // The naive model of these is `tests/coord.rs`.
            Command::Coord(_) | Command::CoordTimer(_) | Command::Auth(_) | Command::By(_) => {
                unreachable!("not generated here")
            }
            Command::Alarm(AlarmChange { raise: true, alarm }) => {
                self.alarms.insert(*alarm);
                Ok(Response::Alarm { alarms: vec![*alarm] })
            }
            Command::Alarm(AlarmChange { raise: false, alarm }) => {
                let was = self.alarms.remove(alarm);
                Ok(Response::Alarm { alarms: was.then_some(*alarm).into_iter().collect() })
            }
        }
    }

    fn compact(&mut self, revision: i64) -> Answer {
        if revision <= self.compacted {
            return Err(Rejection::Compacted { compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(Rejection::FutureRevision { current: self.revision });
        }
        self.compacted = revision;
        Ok(Response::Compact)
    }

    fn grant(&mut self, id: LeaseId, ttl: u64) -> Result<(), Rejection> {
        self.granted_at.insert(id, generate::index_of(self.commands));
        if id == 0 || self.leases.insert(id, ttl).is_some() { Err(Rejection::LeaseExists) } else { Ok(()) }
    }

    fn end_lease(&mut self, id: LeaseId) {
        for key in self.lease_keys(id) {
            self.remove(&key);
        }
        self.leases.remove(&id);
        self.granted_at.remove(&id);
        self.cancelled.retain(|(lease, _)| *lease != id);
    }

    pub(crate) fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.now().into_values().filter(|kv| kv.lease == id && id != 0).map(|kv| kv.key).collect()
    }

    // Reading.

    /// The keys alive at a revision, each with the version it had then.
    pub(crate) fn at(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut alive = BTreeMap::new();
        for Event { kind, kv } in self.history.iter().filter(|event| event.kv.mod_revision <= revision) {
            match kind {
                EventKind::Put => drop(alive.insert(kv.key.clone(), kv.clone())),
                EventKind::Delete => drop(alive.remove(&kv.key)),
            }
        }
        alive
    }

    /// Including what the command at hand has done so far.
    pub(crate) fn now(&self) -> BTreeMap<Bytes, KeyValue> {
        self.at(i64::MAX)
    }

    /// Whether the command at hand has changed anything so far.
    fn changed(&self) -> bool {
        self.history.last().is_some_and(|event| event.kv.mod_revision > self.revision)
    }

    fn seen(&self) -> i64 {
        if self.changed() { self.revision + 1 } else { self.revision }
    }

    // Changing one key.

    fn check_put(&self, put: &Put) -> Result<(), Rejection> {
        if put.lease != 0 && !put.ignore_lease && !self.leases.contains_key(&put.lease) {
            return Err(Rejection::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && !self.now().contains_key(&put.key) {
            return Err(Rejection::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, put: &Put) -> Option<KeyValue> {
        let prev = self.now().remove(&put.key);
        let kept = prev.clone().unwrap_or_default();
        let value = if put.ignore_value { kept.value } else { put.value.clone() };
        let lease = if put.ignore_lease { kept.lease } else { put.lease };
        self.store(&put.key, value, lease);
        prev.filter(|_| put.prev_kv)
    }

    fn store(&mut self, key: &Bytes, value: Bytes, lease: LeaseId) {
        let mod_revision = self.revision + 1;
        let (create_revision, version) =
            self.now().get(key).map_or((mod_revision, 1), |kv| (kv.create_revision, kv.version + 1));
        if self.now().get(key).is_none_or(|kv| kv.lease != lease) {
            self.asked.remove(key);
        }
        let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision, version, lease };
        self.history.push(Event { kind: EventKind::Put, kv });
    }

    fn delete(&mut self, delete: &DeleteRange) -> Deleted {
        let gone: Vec<KeyValue> =
            self.now().into_values().filter(|kv| query::contains(&delete.range, &kv.key)).collect();
        gone.iter().for_each(|kv| self.remove(&kv.key));
        Deleted {
            deleted: i64::try_from(gone.len()).unwrap_or(i64::MAX),
            prev: if delete.prev_kv { gone } else { Vec::new() },
        }
    }

    fn remove(&mut self, key: &Bytes) {
        self.locks.remove(key);
        self.asked.remove(key);
        let kv = KeyValue { key: key.clone(), mod_revision: self.revision + 1, ..KeyValue::default() };
        self.history.push(Event { kind: EventKind::Delete, kv });
    }

    // Transactions.

    fn txn(&mut self, txn: &Txn) -> Answer {
        let before = self.clone();
        self.check(txn)?;
        Ok(Response::Txn(self.run(txn, &before)))
    }

    /// Checks everything that can fail in the branch that will be taken, against the state before.
    fn check(&self, txn: &Txn) -> Result<(), Rejection> {
        for op in self.branch(txn).1 {
            match op {
                Op::Put(put) => self.check_put(put)?,
                Op::Range(query) if query.revision < 0 => {
                    return Err(Rejection::Compacted { compacted: self.compacted });
                }
                Op::Range(query) => drop(self.range(query)?),
                Op::DeleteRange(_) => {}
                Op::Txn(txn) => self.check(txn)?,
            }
        }
        Ok(())
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compares.iter().all(|compare| query::holds(&self.now(), compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn run(&mut self, txn: &Txn, before: &Naive) -> TxnResult {
        let (succeeded, ops) = before.branch(txn);
        let mut responses = Vec::new();
        for op in ops {
            let kind = match op {
                Op::Put(put) => OpResultKind::Put { prev: self.put(put) },
                Op::Range(query) => OpResultKind::Range(self.range(query).expect("it was checked")),
                Op::DeleteRange(delete) => OpResultKind::DeleteRange(self.delete(delete)),
                Op::Txn(txn) => OpResultKind::Txn(self.run(txn, before)),
            };
            responses.push(OpResult { revision: self.seen(), kind });
        }
        TxnResult { succeeded, responses }
    }
}
