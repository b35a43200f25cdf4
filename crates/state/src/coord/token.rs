//! Tokens: compares that are true exactly while a tenure lasts, for transactions of any etcd
//! client.
//!
//! A tenure has its own key, created when it begins and never again. So the compare "this key was
//! created at that revision" is true from the grant to the end, also after proclaims and
//! extensions, and false for ever after, even if the same holder gets a new tenure. Resources
//! outside the store compare fences: the larger one is later.

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

/// The token of the leader of a term.
pub fn leadership(election: &Name, term_id: i64) -> Token {
    Token { fence: term_id, guards: vec![created(keys::leader_key(election, term_id), term_id)] }
}

/// The token of the holder of these locks under a fence, granted at revision `held_since`: one
/// compare per lock.
pub fn locks(parts: &[LockPart], fence: i64, held_since: i64) -> Token {
    let guards = parts.iter().map(|part| created(keys::lock_holder_key(&part.lock, fence), held_since));
    Token { fence, guards: guards.collect() }
}

pub fn tenure(claim: &Name, fence: i64) -> Token {
    Token { fence, guards: vec![created(keys::tenure_key(claim, fence), fence)] }
}

/// As in Juju of 2015: true whenever that holder holds the claim, also in a later tenure.
pub fn holder(claim: &Name, holder: &str) -> Compare {
    Compare {
        range: KeyRange { key: keys::claim_holder_key(claim).into(), end: Bytes::new() },
        relation: Relation::Equal,
        target: Target::Value(Bytes::copy_from_slice(holder.as_bytes())),
    }
}

/// True while the candidate is in the election.
pub fn candidacy(election: &Name, candidate: &str) -> Compare {
    Compare {
        range: KeyRange { key: keys::candidate_key(election, candidate).into(), end: Bytes::new() },
        relation: Relation::Greater,
        target: Target::Version(0),
    }
}

/// True while the election has no leader.
pub fn vacancy(election: &Name) -> Compare {
    let range = crate::keys::prefix_range(&keys::leader_prefix(election));
    Compare { range, relation: Relation::Equal, target: Target::Version(0) }
}
