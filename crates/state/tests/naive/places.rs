//! Queues in the model: the line is found by looking at every key.

use super::{Answer, Naive};
use bytes::Bytes;
use conclave_state::*;

impl Naive {
    pub(super) fn enqueue(&mut self, enqueue: &Enqueue) -> Answer {
        let Enqueue { kind, name, lease, grant_ttl_ms, value, attempt } = enqueue;
        let attempt = *attempt;
        let key = queue_key(name, *lease);
        let other = self.now().get(&key).map_or(0, |kv| kv.lease);
        let of_other = other != 0 && other != *lease;
        if *grant_ttl_ms > 0 {
            if of_other && *lease != 0 && !self.leases.contains_key(lease) {
                return Err(Rejection::OfOtherLease { lease: other });
            }
            self.grant(*lease, *grant_ttl_ms)?;
        } else if !self.leases.contains_key(lease) {
            return Err(Rejection::LeaseNotFound);
        } else if self.cancelled.contains(&(*lease, attempt)) {
            return Err(Rejection::Cancelled);
        } else if of_other {
            return Err(Rejection::OfOtherLease { lease: other });
        }
        let found = self.now().contains_key(&key);
        match self.now().get(&key) {
            None => self.store(&key, value.clone(), *lease),
            Some(kv) if *kind == QueueKind::Election && kv.value != value => self.store(&key, value.clone(), *lease),
            Some(kv) if kv.lease != *lease => self.store(&key, kv.value.clone(), *lease),
            Some(_) => {}
        }
        if *kind == QueueKind::Lock {
            self.locks.insert(key.clone());
        }
        let asked = self.asked.entry(key.clone()).or_insert_with(|| if found { vec![0] } else { Vec::new() });
        if attempt == 0 {
            asked.retain(|other| *other != 0);
        }
        if !asked.contains(&attempt) {
            asked.push(attempt);
        }
        let line = self.line(name);
        let create_revision = line.iter().find(|(_, other)| *other == key).map(|(created, _)| *created);
        Ok(Response::Enqueue(Place {
            first: line[0].1 == key,
            create_revision: create_revision.expect("it stands in the line"),
            lease: *lease,
            key,
        }))
    }

    /// Who stands in a queue, the oldest first.
    pub(crate) fn line(&self, name: &[u8]) -> Vec<(i64, Bytes)> {
        let under = self.now().into_values().filter(|kv| is_place(name, &kv.key));
        let mut line: Vec<_> = under.map(|kv| (kv.create_revision, kv.key)).collect();
        line.sort();
        line
    }

    fn incarnation(&self, key: &Bytes, create_revision: i64) -> Option<KeyValue> {
        self.now().remove(key).filter(|kv| kv.create_revision == create_revision)
    }

    pub(super) fn proclaim(&mut self, proclaim: &Proclaim) -> Answer {
        let kv = self.incarnation(&proclaim.key, proclaim.create_revision).ok_or(Rejection::NotLeader)?;
        self.store(&proclaim.key, proclaim.value.clone(), kv.lease);
        Ok(Response::Proclaim)
    }

    pub(super) fn dequeue(&mut self, dequeue: &Dequeue) -> bool {
        let Dequeue { key, by } = dequeue;
        let meant = match by {
            DequeueBy::CreateRevision(revision) => self.incarnation(key, *revision).is_some(),
            DequeueBy::Lock => self.locks.contains(key),
        };
        if meant {
            self.remove(key);
        }
        meant
    }
}

impl Naive {
    pub(super) fn cancel(&mut self, cancel: &Cancel) -> bool {
        let Cancel { session, attempt, place: PlaceId::Key(key) } = cancel else { unreachable!("not generated here") };
        if !self.leases.contains_key(session) || *attempt == 0 {
            return false;
        }
        self.cancelled.insert((*session, *attempt));
        let own = self.now().get(key).is_some_and(|kv| kv.lease == *session);
        let Some(asked) = self.asked.get_mut(key).filter(|asked| own && asked.contains(attempt)) else { return false };
        let was_last = asked.last() == Some(attempt);
        asked.retain(|other| other != attempt);
        let nobody = asked.is_empty();
        let name = &key[..key.iter().rposition(|byte| *byte == b'/').expect("a place has a slash")];
        let held = self.line(name).first().is_some_and(|(_, first)| first == key);
        let ended = nobody || (was_last && !held);
        if ended {
            self.remove(key);
        }
        ended
    }
}

/// A name, a slash, and what Go prints for a number in hexadecimal.
fn is_place(name: &[u8], key: &[u8]) -> bool {
    let number = key.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"/"));
    let Some(number) = number.and_then(|number| std::str::from_utf8(number).ok()) else { return false };
    let digits = number.strip_prefix('-').unwrap_or(number);
    u64::from_str_radix(digits, 16).is_ok_and(|number| number != 0 && format!("{number:x}") == digits)
}
