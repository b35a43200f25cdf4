//! Parts of answers: names, pages, tokens, causes.

use conclave_api::conclave::v1;
use conclave_api::etcdserverpb;
use conclave_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use conclave_state::{Cause, Compare, Name, Relation, Target, Token};

#[must_use]
pub fn named(name: Name) -> v1::Name {
    let Name { namespace, name } = name;
    v1::Name { namespace, name }
}

/// The names of a page, and whether there are more. `found` has one more than the page if so.
#[must_use]
pub fn page(mut found: Vec<Name>, size: usize) -> (Vec<v1::Name>, bool) {
    let more = found.len() > size;
    found.truncate(size);
    (found.into_iter().map(named).collect(), more)
}

#[must_use]
pub fn token(token: Token) -> v1::Token {
    let Token { fence, guards } = token;
    v1::Token { fence, guards: guards.into_iter().map(compare).collect() }
}

/// As a client would write it in a transaction of its own.
#[must_use]
pub fn compare(compare: Compare) -> etcdserverpb::Compare {
    let (target, operand) = match compare.target {
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(version)),
        Target::CreateRevision(revision) => (CompareTarget::Create, TargetUnion::CreateRevision(revision)),
        Target::ModRevision(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value)),
        Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(lease)),
    };
    let result = match compare.relation {
        Relation::Equal => CompareResult::Equal,
        Relation::NotEqual => CompareResult::NotEqual,
        Relation::Greater => CompareResult::Greater,
        Relation::Less => CompareResult::Less,
    };
    etcdserverpb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.range.key,
        range_end: compare.range.end,
        target_union: Some(operand),
    }
}

#[must_use]
pub fn cause(cause: Cause) -> v1::Cause {
    match cause {
        Cause::Entered => v1::Cause::Entered,
        Cause::Left => v1::Cause::Left,
        Cause::Expired => v1::Cause::Expired,
        Cause::SessionClosed => v1::Cause::SessionClosed,
        Cause::Evicted => v1::Cause::Evicted,
        Cause::Anointed => v1::Cause::Anointed,
        Cause::Promoted => v1::Cause::Promoted,
        Cause::Demoted => v1::Cause::Demoted,
        Cause::Preempted => v1::Cause::Preempted,
        Cause::TakenOver => v1::Cause::TakenOver,
        Cause::Transferred => v1::Cause::Transferred,
        Cause::TransferRequested => v1::Cause::TransferRequested,
        Cause::TransferLapsed => v1::Cause::TransferLapsed,
        Cause::HoldEnded => v1::Cause::HoldEnded,
        Cause::DelayOver => v1::Cause::DelayOver,
        Cause::Acquired => v1::Cause::Acquired,
        Cause::Released => v1::Cause::Released,
        Cause::Withdrawn => v1::Cause::Withdrawn,
        Cause::Claimed => v1::Cause::Claimed,
        Cause::Revoked => v1::Cause::Revoked,
    }
}

/// The cause that a projected value names; an unknown word is one of a later version.
#[must_use]
pub fn cause_of(word: &str) -> v1::Cause {
    Cause::from_word(word).map_or(v1::Cause::Unspecified, cause)
}
