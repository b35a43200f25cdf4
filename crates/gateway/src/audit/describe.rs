//! What a command is about: keys, names, whom it concerns. Never a password, a hash or a token;
//! values if they are wanted.

use super::record::{Op as Recorded, Subject, Word};
use bytes::Bytes;
use conclave_state::auth::{Permission, PermissionKind};
use conclave_state::{
    AlarmKind, AuthChange, Command, Coord, CoordBody, DequeueBy, LockMode, Name, Op, OpResultKind, Outcome, PlaceId,
    PlacementChange, Put, Response, Txn, TxnResult,
};

/// `None`: the record of its call says it, or it is no call's. `outcome`: if it was decided.
pub(crate) fn describe(command: &Command, outcome: Option<&Outcome>, values: bool) -> Option<Subject> {
    let answer = outcome.and_then(|outcome| outcome.result.as_ref().ok());
    let mut subject = Subject::default();
    match command.parts().1 {
        Command::Put(one) => subject.op(put(one, values)),
        Command::DeleteRange(delete) => {
            let mut op = Recorded::new("delete", &delete.range.key, &delete.range.end);
            if let Some(Response::DeleteRange(deleted)) = answer {
                op.deleted = Some(deleted.deleted);
            }
            subject.op(op);
        }
        Command::Txn(txn) => {
            let result = match answer {
                Some(Response::Txn(result)) => Some(result),
                _ => None,
            };
            subject.succeeded = result.map(|result| result.succeeded);
            of_branches(txn, result, values, &mut subject);
        }
        Command::Compact { revision } => subject = Subject::target(revision.to_string()),
        Command::LeaseGrant(grant) => {
            subject = Subject::lease(grant.id).with_detail(format!("ttl {} ms", grant.ttl_ms));
        }
        Command::LeaseRevoke { id } => subject = Subject::lease(*id),
        Command::Enqueue(place) => {
            subject = Subject::lease(place.lease);
            subject.op(with_value(Recorded::new("enqueue", &place.name, b""), &place.value, values));
        }
        Command::Dequeue(place) => {
            subject.op(Recorded::new("dequeue", &place.key, b""));
            if let DequeueBy::CreateRevision(revision) = place.by {
                subject = subject.with_detail(format!("create revision {revision}"));
            }
        }
        Command::Proclaim(proclaim) => {
            subject.op(with_value(Recorded::new("proclaim", &proclaim.key, b""), &proclaim.value, values));
        }
        Command::Cancel(cancel) => {
            let subject = Subject::lease(cancel.session);
            return Some(match &cancel.place {
                PlaceId::Key(key) => Subject { ops: vec![Recorded::new("dequeue", key, b"")], ..subject },
                PlaceId::Candidate { election, candidate } => named(subject, election).with_target(candidate),
                PlaceId::Request { fence, .. } => subject.with_detail(format!("fence {fence}")),
            });
        }
        Command::Alarm(change) => {
            let kind = match change.alarm.kind {
                AlarmKind::NoSpace => "NOSPACE",
                AlarmKind::Corrupt => "CORRUPT",
            };
            let what = if change.raise { "raise" } else { "disarm" };
            subject = Subject::target(format!("{:x}", change.alarm.member)).with_detail(format!("{what} {kind}"));
        }
        Command::Coord(coord) => subject = coordination(coord, values),
        Command::Auth(change) => return auth(change),
        Command::Placement(change) => return placement(change),
        // The calls that bring these about have records of their own, and the others are the
        // members' own.
        Command::Version(_) | Command::PromoteWhenReady(_) => return None,
        Command::Expire(_) | Command::CoordTimer(_) | Command::Announce(_) | Command::Join(_) => return None,
        // `parts` has taken it apart.
        Command::By(_) => return None,
    }
    Some(subject)
}

/// A member tells its labels itself.
fn placement(change: &PlacementChange) -> Option<Subject> {
    match change {
        PlacementChange::Policy(policy) => {
            Some(Subject::target("placement").with_detail(format!("{} rules", policy.rules.len())))
        }
        PlacementChange::Maintenance { member, on } => {
            let what = if *on { "maintenance on" } else { "maintenance off" };
            Some(Subject::target(format!("{member:x}")).with_detail(what))
        }
        PlacementChange::Labels { .. } => None,
    }
}

/// What a transaction reads and writes.
pub(crate) fn of_txn(txn: &Txn) -> Subject {
    let mut subject = Subject::default();
    of_branches(txn, None, false, &mut subject);
    subject
}

fn with_value(op: Recorded, value: &Bytes, values: bool) -> Recorded {
    Recorded { value: values.then(|| Word::new(value)), ..op }
}

fn put(put: &Put, values: bool) -> Recorded {
    let op = with_value(Recorded::new("put", &put.key, b""), &put.value, values && !put.ignore_value);
    Recorded { lease: put.lease, ..op }
}

/// What ran; everything if that is not known.
fn of_branches(txn: &Txn, result: Option<&TxnResult>, values: bool, into: &mut Subject) {
    let Some(result) = result else {
        for (branch, ops) in [("success", &txn.success), ("failure", &txn.failure)] {
            ops.iter().for_each(|op| of_op(op, None, Some(branch), values, into));
        }
        return;
    };
    let ops = if result.succeeded { &txn.success } else { &txn.failure };
    for (op, result) in ops.iter().zip(&result.responses) {
        of_op(op, Some(&result.kind), None, values, into);
    }
}

fn of_op(op: &Op, result: Option<&OpResultKind>, branch: Option<&'static str>, values: bool, into: &mut Subject) {
    let recorded = match op {
        Op::Range(query) => Recorded::new("get", &query.range.key, &query.range.end),
        Op::Put(one) => put(one, values),
        Op::DeleteRange(delete) => {
            let deleted = match result {
                Some(OpResultKind::DeleteRange(deleted)) => Some(deleted.deleted),
                _ => None,
            };
            Recorded { deleted, ..Recorded::new("delete", &delete.range.key, &delete.range.end) }
        }
        Op::Txn(nested) => {
            let result = match result {
                Some(OpResultKind::Txn(result)) => Some(result),
                _ => None,
            };
            return of_branches(nested, result, values, into);
        }
    };
    into.op(Recorded { branch, ..recorded });
}

fn named(subject: Subject, name: &Name) -> Subject {
    subject.with_name(&name.namespace, &name.name)
}

/// What an operation does beyond its method's name.
fn coordination(coord: &Coord, values: bool) -> Subject {
    let subject = Subject::lease(coord.session);
    let about = |name: &Name| named(subject.clone(), name);
    let flags = |flags: &[(bool, &str)]| {
        flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    };
    match &coord.body {
        CoordBody::Enter(enter) => {
            let asked = flags(&[(enter.try_only, "try"), (enter.takeover, "takeover"), (enter.preempt, "preempt")]);
            about(&enter.election).with_target(&enter.candidate).with_detail(asked)
        }
        CoordBody::Leave(leave) => about(&leave.election).with_target(&leave.candidate),
        CoordBody::Anoint(anoint) => about(&anoint.election).with_target(&anoint.candidate),
        CoordBody::Promote(promote) => {
            about(&promote.election).with_target(&promote.candidate).with_detail(format!("{:?}", promote.to))
        }
        CoordBody::Demote(demote) => {
            about(&demote.election).with_target(&demote.candidate).with_detail(format!("by {} places", demote.places))
        }
        CoordBody::Evict(evict) => about(&evict.election).with_target(&evict.candidate).with_detail(&evict.reason),
        CoordBody::EvictEverywhere(evict) => {
            let subject = match &evict.namespace {
                Some(namespace) => subject.with_name(namespace, ""),
                None => subject,
            };
            subject.with_target(&evict.candidate).with_detail(&evict.reason)
        }
        CoordBody::ProclaimTerm(proclaim) => {
            let mut subject = about(&proclaim.election).with_detail(format!("term {}", proclaim.term_id));
            if values {
                subject.op(with_value(Recorded::new("proclaim", b"", b""), &proclaim.value, true));
            }
            subject
        }
        CoordBody::RequestTransfer(transfer) => {
            about(&transfer.election).with_target(&transfer.to).with_detail(flags(&[(transfer.force, "force")]))
        }
        CoordBody::Transfer(transfer) => {
            about(&transfer.election).with_target(&transfer.to).with_detail(flags(&[(transfer.leave, "leave")]))
        }
        CoordBody::DeleteElection(name) => about(name),
        CoordBody::Acquire(acquire) => {
            let modes: Vec<&str> = acquire.parts.iter().map(|part| mode(&part.mode)).collect();
            let subject = acquire.parts.iter().fold(subject, |subject, part| named(subject, &part.lock));
            subject.with_target(&acquire.owner).with_detail(modes.join(" "))
        }
        CoordBody::Release(release) => {
            let how = if release.evict { "evict, " } else { "" };
            subject.with_detail(format!("{how}fence {}", release.fence))
        }
        CoordBody::Claim(claims) => {
            let holder = claims.first().map(|claim| claim.holder.clone()).unwrap_or_default();
            let subject = claims.iter().fold(subject, |subject, claim| named(subject, &claim.claim));
            subject.with_target(holder)
        }
        CoordBody::Unclaim(unclaim) => about(&unclaim.claim).with_target(&unclaim.holder),
        CoordBody::Revoke(revoke) => about(&revoke.claim).with_target(revoke.holder.as_deref().unwrap_or("any holder")),
        CoordBody::Pin(pin) => about(&pin.claim).with_target(&pin.entity).with_detail(&pin.reason),
        CoordBody::Unpin(unpin) => about(&unpin.claim).with_target(&unpin.entity),
        CoordBody::SetLimits(limits) => {
            let detail = match limits.limits {
                Some(limits) => format!("{limits:?}"),
                None => "defaults".to_owned(),
            };
            subject.with_name(&limits.namespace, "").with_detail(detail)
        }
    }
}

fn mode(mode: &LockMode) -> &'static str {
    match mode {
        LockMode::Exclusive => "exclusive",
        LockMode::Shared => "shared",
        LockMode::Permits { .. } => "permits",
    }
}

fn auth(change: &AuthChange) -> Option<Subject> {
    Some(match change {
        AuthChange::Enable | AuthChange::Disable => Subject::default(),
        AuthChange::UserAdd { name, no_password, .. } => {
            Subject::target(name).with_detail(if *no_password { "no password" } else { "" })
        }
        AuthChange::UserDelete { name }
        | AuthChange::UserPassword { name, .. }
        | AuthChange::RoleAdd { name }
        | AuthChange::RoleDelete { name } => Subject::target(name),
        AuthChange::UserGrant { user, role } | AuthChange::UserRevoke { user, role } => {
            Subject::target(user).with_detail(format!("role {role}"))
        }
        AuthChange::RoleGrant { role, permission: Permission { kind, range } } => {
            let op = match kind {
                PermissionKind::Read => "read",
                PermissionKind::Write => "write",
                PermissionKind::ReadWrite => "readwrite",
            };
            Subject::keys(op, &range.key, &range.end).with_target(role)
        }
        AuthChange::RoleRevoke { role, range } => Subject::keys("revoke", &range.key, &range.end).with_target(role),
        AuthChange::SignIn { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::{Caller, DeleteRange, Deleted, Evict, KeyRange, OpResult};

    fn shown(command: &Command, outcome: Option<&Outcome>, values: bool) -> String {
        serde_json::to_string(&describe(command, outcome, values).expect("it is recorded")).expect("JSON")
    }

    fn a_put(key: &'static str) -> Put {
        Put { key: key.into(), value: "secret".into(), ..Put::default() }
    }

    #[test]
    fn values_are_recorded_only_if_they_are_wanted() {
        let command = Command::Put(a_put("k")).by(Caller::Server);
        assert_eq!(shown(&command, None, false), r#"{"ops":[{"op":"put","key":"k"}]}"#);
        assert_eq!(shown(&command, None, true), r#"{"ops":[{"op":"put","key":"k","value":"secret"}]}"#);
    }

    #[test]
    fn of_a_transaction_what_ran_is_recorded_and_all_if_it_was_not_decided() {
        let range = KeyRange { key: "a".into(), end: "b".into() };
        let nested = Txn { success: vec![Op::Put(a_put("n"))], failure: vec![Op::Put(a_put("m"))], ..Txn::default() };
        let txn = Txn {
            success: vec![Op::DeleteRange(DeleteRange { range, prev_kv: false }), Op::Txn(nested)],
            failure: vec![Op::Put(a_put("f"))],
            ..Txn::default()
        };
        let result = |kind| OpResult { revision: 5, kind };
        let inner = TxnResult { succeeded: false, responses: vec![result(OpResultKind::Put { prev: None })] };
        let deleted = Deleted { deleted: 3, prev: vec![] };
        let responses = vec![result(OpResultKind::DeleteRange(deleted)), result(OpResultKind::Txn(inner))];
        let answer = Response::Txn(TxnResult { succeeded: true, responses });
        let outcome = Outcome { revision: 5, repeats: None, result: Ok(answer) };
        let command = Command::Txn(txn);
        assert_eq!(
            shown(&command, Some(&outcome), false),
            r#"{"ops":[{"op":"delete","key":"a","end":"b","deleted":3},{"op":"put","key":"m"}],"succeeded":true}"#
        );
        let all = shown(&command, None, false);
        for key in ["\"n\"", "\"m\"", "\"f\",\"branch\":\"failure\""] {
            assert!(all.contains(key), "{all}");
        }
    }

    #[test]
    fn nothing_secret_of_users_is_recorded() {
        let secret = "$2b$10$hash".to_owned();
        let change = AuthChange::UserAdd { name: "al".into(), hash: secret.clone(), no_password: false };
        let added = shown(&Command::Auth(Box::new(change)), None, true);
        let change = AuthChange::UserPassword { name: "al".into(), hash: secret };
        let changed = shown(&Command::Auth(Box::new(change)), None, true);
        assert_eq!((added.as_str(), changed.as_str()), (r#"{"target":"al"}"#, r#"{"target":"al"}"#));
        let sign_in = AuthChange::SignIn { user: "al".into(), revision: 1, token: [7; 32] };
        assert_eq!(describe(&Command::Auth(Box::new(sign_in)), None, true), None);
    }

    #[test]
    fn orders_about_others_name_them() {
        let election = Name { namespace: "default".into(), name: "e".into() };
        let evict = Evict { election, candidate: "bob".into(), reason: "drain".into(), ..Evict::default() };
        let coord = Coord { session: 0, dedupe: Some([1; 16]), expect: None, body: CoordBody::Evict(evict) };
        let shown = shown(&Command::Coord(Box::new(coord)), None, false);
        assert_eq!(shown, r#"{"names":["default/e"],"target":"bob","detail":"drain"}"#);
    }
}
