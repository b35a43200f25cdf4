//! Tokens: compares that hold exactly as long as a tenure lasts, for any transaction of any etcd
//! client.
//!
//! A tenure has a key of its own, made when it begins and never made again. So the compare "this
//! key was created by that revision" is true from the grant to the end, whatever is proclaimed or
//! extended in between, and false for ever after; also if the same holder comes to hold again.
//! Resources outside the store compare fences: the larger one is the later.

use super::keys;
use super::{LockPart, Name, Token};
use crate::{Compare, KeyRange, Relation, Target};
use bytes::Bytes;

fn created(key: Vec<u8>, revision: i64) -> Compare {
    Compare {
        range: KeyRange { key: key.into(), end: Bytes::new() },
        relation: Relation::Equal,
        target: Target::CreateRevision(revision),
    }
}

/// Of who leads the term.
pub fn leadership(election: &Name, term_id: i64) -> Token {
    Token { fence: term_id, guards: vec![created(keys::leader_key(election, term_id), term_id)] }
}

/// Of who holds these locks under a fence, granted by revision `held_since`: one compare a lock.
pub fn locks(parts: &[LockPart], fence: i64, held_since: i64) -> Token {
    let guards = parts.iter().map(|part| created(keys::lock_holder_key(&part.lock, fence), held_since));
    Token { fence, guards: guards.collect() }
}

pub fn tenure(claim: &Name, fence: i64) -> Token {
    Token { fence, guards: vec![created(keys::tenure_key(claim, fence), fence)] }
}

/// Juju's of 2015: holds whenever that holder holds, also in a later tenure.
pub fn holder(claim: &Name, holder: &str) -> Compare {
    Compare {
        range: KeyRange { key: keys::claim_holder_key(claim).into(), end: Bytes::new() },
        relation: Relation::Equal,
        target: Target::Value(Bytes::copy_from_slice(holder.as_bytes())),
    }
}

/// "I am still a candidate."
pub fn candidacy(election: &Name, candidate: &str) -> Compare {
    Compare {
        range: KeyRange { key: keys::candidate_key(election, candidate).into(), end: Bytes::new() },
        relation: Relation::Greater,
        target: Target::Version(0),
    }
}

/// "Nobody leads."
pub fn vacancy(election: &Name) -> Compare {
    let range = crate::keys::prefix_range(&keys::leader_prefix(election));
    Compare { range, relation: Relation::Equal, target: Target::Version(0) }
}
