//! What a command needs.

use super::check::{Needs, Who};
use super::command::{AuthChange, AuthRefusal, Caller};
use super::{Auth, coordination};
use crate::view::{Fault, View};
use crate::{
    Command, Dequeue, DequeueBy, Enqueue, KeyRange, Op, PlacementChange, Put, Txn, VersionChange, queue_key,
    queue_prefix,
};
use bytes::Bytes;

fn key(key: &Bytes) -> KeyRange {
    KeyRange { key: key.clone(), end: Bytes::new() }
}

fn put(put: &Put, needs: &mut Vec<Needs>) {
    needs.push(Needs::Write(key(&put.key)));
    if put.prev_kv {
        needs.push(Needs::Read(key(&put.key)));
    }
    if put.lease != 0 {
        needs.push(Needs::Lease(put.lease));
    }
}

/// All of a transaction, whichever branch runs.
fn txn(txn: &Txn, needs: &mut Vec<Needs>) {
    needs.extend(txn.compares.iter().map(|compare| Needs::Read(compare.range.clone())));
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(query) => needs.push(Needs::Read(query.range.clone())),
            Op::Put(one) => put(one, needs),
            Op::DeleteRange(delete) => delete_range(&delete.range, delete.prev_kv, needs),
            Op::Txn(nested) => self::txn(nested, needs),
        }
    }
}

fn delete_range(range: &KeyRange, prev_kv: bool, needs: &mut Vec<Needs>) {
    needs.push(Needs::Write(range.clone()));
    if prev_kv {
        needs.push(Needs::Read(range.clone()));
    }
}

/// What etcd's recipes read and write for the same.
fn enqueue(enqueue: &Enqueue, needs: &mut Vec<Needs>) {
    needs.push(Needs::Write(key(&queue_key(&enqueue.name, enqueue.lease))));
    needs.push(Needs::Read(crate::keys::prefix_range(&queue_prefix(&enqueue.name))));
    if enqueue.grant_ttl_ms == 0 {
        needs.push(Needs::Lease(enqueue.lease));
    }
}

fn dequeue(dequeue: &Dequeue, needs: &mut Vec<Needs>) {
    needs.push(Needs::Write(key(&dequeue.key)));
    if matches!(dequeue.by, DequeueBy::CreateRevision(_)) {
        needs.push(Needs::Read(key(&dequeue.key)));
    }
}

/// `None`: only a server makes such a command.
fn of<V: View>(view: &V, command: &Command) -> Result<Option<Vec<Needs>>, Fault> {
    let mut needs = Vec::new();
    match command {
        Command::Put(one) => put(one, &mut needs),
        Command::DeleteRange(delete) => delete_range(&delete.range, delete.prev_kv, &mut needs),
        Command::Txn(one) => txn(one, &mut needs),
        Command::LeaseGrant(_) => {}
        Command::LeaseRevoke { id } => needs.push(Needs::Lease(*id)),
        Command::Enqueue(one) => enqueue(one, &mut needs),
        Command::Dequeue(one) => dequeue(one, &mut needs),
        Command::Proclaim(proclaim) => {
            needs.extend([Needs::Read(key(&proclaim.key)), Needs::Write(key(&proclaim.key))]);
        }
        Command::Coord(coord) => coordination::needs(view, coord, &mut needs)?,
        // It follows the check of a password, which a caller without a login makes.
        Command::Auth(change) if matches!(**change, AuthChange::SignIn { .. }) => return Ok(None),
        Command::Version(VersionChange::Downgrade { .. } | VersionChange::CancelDowngrade) => needs.push(Needs::Admin),
        Command::Version(_) => return Ok(None),
        // A member announces its labels itself.
        Command::Placement(change) if matches!(**change, PlacementChange::Labels { .. }) => return Ok(None),
        Command::Placement(_) => needs.push(Needs::Admin),
        Command::PromoteWhenReady(_) => needs.push(Needs::Admin),
        Command::Compact { .. } | Command::Alarm(_) | Command::Auth(_) | Command::By(_) => needs.push(Needs::Admin),
        Command::Expire(_) | Command::CoordTimer(_) | Command::Cancel(_) | Command::Announce(_) | Command::Join(_) => {
            return Ok(None);
        }
    }
    Ok(Some(needs))
}

impl Auth {
    /// Whether the caller may send a command in the state that `view` shows.
    pub fn check_command<V: View>(
        &self,
        caller: Option<&Caller>,
        view: &V,
        command: &Command,
    ) -> Result<Result<(), AuthRefusal>, Fault> {
        if !self.enabled() {
            return Ok(Ok(()));
        }
        let Some(needs) = of(view, command)? else { return Ok(Ok(())) };
        let who = match self.who(caller) {
            Ok(Who::Root) => return Ok(Ok(())),
            Ok(who) => who,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for need in &needs {
            let allowed = match need {
                Needs::Lease(lease) => self.allow_lease(&who, view, *lease, true)?,
                other => self.allow(&who, other),
            };
            if allowed.is_err() {
                return Ok(allowed);
            }
        }
        Ok(Ok(()))
    }

    /// Whether the caller may send a transaction that only reads.
    pub fn check_reads(&self, caller: Option<&Caller>, one: &Txn) -> Result<(), AuthRefusal> {
        if !self.enabled() {
            return Ok(());
        }
        let (who, mut needs) = (self.who(caller)?, Vec::new());
        txn(one, &mut needs);
        needs.iter().try_for_each(|need| self.allow(&who, need))
    }
}
