//! Parses projected keys: the election, lock or claim of a key, and the part of it.

use super::Name;
use super::keys::{self, projected};

/// The meaning of a projected key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Term { election: Name },
    Leader { election: Name, term_id: i64 },
    Candidate { election: Name, id: String },
    LockHolder { lock: Name, fence: i64 },
    LockWaiter { lock: Name, fence: i64 },
    ClaimHolder { claim: Name },
    Tenure { claim: Name, fence: i64 },
    ClaimWaiter { claim: Name, ticket: u64 },
    Pin { claim: Name, entity: String },
    Limits { namespace: String },
    Revoked { namespace: String },
}

impl Shown {
    /// `None` if the key is not a projected key.
    pub fn parse(key: &[u8]) -> Option<Shown> {
        let rest = std::str::from_utf8(key.strip_prefix(keys::RESERVED)?).ok()?;
        let parts: Vec<String> = rest.split('/').map(unescape).collect::<Option<_>>()?;
        let (sort, parts) = parts.split_first()?;
        if let ("n", [namespace]) = (sort.as_str(), parts) {
            return Some(Shown::Limits { namespace: namespace.clone() });
        }
        if let ("r", [namespace]) = (sort.as_str(), parts) {
            return Some(Shown::Revoked { namespace: namespace.clone() });
        }
        let [namespace, name, parts @ ..] = parts else { return None };
        let name = Name { namespace: namespace.clone(), name: name.clone() };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Some(match (sort.as_str(), parts.as_slice()) {
            ("e", ["term"]) => Shown::Term { election: name },
            ("e", ["leader", term]) => Shown::Leader { election: name, term_id: number(term)?.cast_signed() },
            ("e", ["q", id]) => Shown::Candidate { election: name, id: (*id).to_owned() },
            ("l", ["holder", fence]) => Shown::LockHolder { lock: name, fence: number(fence)?.cast_signed() },
            ("l", ["q", fence]) => Shown::LockWaiter { lock: name, fence: number(fence)?.cast_signed() },
            ("c", ["holder"]) => Shown::ClaimHolder { claim: name },
            ("c", ["tenure", fence]) => Shown::Tenure { claim: name, fence: number(fence)?.cast_signed() },
            ("c", ["q", ticket]) => Shown::ClaimWaiter { claim: name, ticket: number(ticket)? },
            ("p", [entity]) => Shown::Pin { claim: name, entity: (*entity).to_owned() },
            _ => return None,
        })
    }
}

fn number(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex, 16).ok()
}

fn unescape(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, escaped)) = rest.split_once('%') {
        text.push_str(before);
        let (digits, after) = escaped.split_at_checked(2)?;
        text.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

fn all(sort: &str, name: &Name, rest: &[&str]) -> Vec<u8> {
    projected(sort, &[&[name.namespace.as_str(), name.name.as_str()], rest, &[""]].concat())
}

/// The prefix of exactly the keys of an election.
pub fn election_prefix(election: &Name) -> Vec<u8> {
    all("e", election, &[])
}

pub fn lock_prefix(lock: &Name) -> Vec<u8> {
    all("l", lock, &[])
}

/// The prefix of the waiters of a lock, in the order of the line.
pub fn lock_waiters_prefix(lock: &Name) -> Vec<u8> {
    all("l", lock, &["q"])
}

/// The prefix of all keys of a claim except its pins.
pub fn claim_prefix(claim: &Name) -> Vec<u8> {
    all("c", claim, &[])
}

/// The prefix of the keys of a claim's tenures, current and past.
pub fn tenures_prefix(claim: &Name) -> Vec<u8> {
    all("c", claim, &["tenure"])
}

pub fn pins_prefix(claim: &Name) -> Vec<u8> {
    all("p", claim, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_projected_key_reads_back() {
        for (namespace, of) in [("default", "a"), ("a/b", "c%d/"), ("", ""), ("x y", "\u{e4}\0\x7f"), ("q", "holder")] {
            let name = || Name { namespace: namespace.into(), name: of.into() };
            let who = || "w/%2f".to_owned();
            let (e, l) = (election_prefix(&name()), lock_prefix(&name()));
            let (c, p) = (claim_prefix(&name()), pins_prefix(&name()));
            let cases = [
                (keys::term_key(&name()), &e, Shown::Term { election: name() }),
                (keys::leader_key(&name(), 7), &e, Shown::Leader { election: name(), term_id: 7 }),
                (keys::candidate_key(&name(), &who()), &e, Shown::Candidate { election: name(), id: who() }),
                (keys::lock_holder_key(&name(), 300), &l, Shown::LockHolder { lock: name(), fence: 300 }),
                (keys::lock_waiter_key(&name(), i64::MAX), &l, Shown::LockWaiter { lock: name(), fence: i64::MAX }),
                (keys::claim_holder_key(&name()), &c, Shown::ClaimHolder { claim: name() }),
                (keys::tenure_key(&name(), 2), &c, Shown::Tenure { claim: name(), fence: 2 }),
                (keys::claim_waiter_key(&name(), 3), &c, Shown::ClaimWaiter { claim: name(), ticket: 3 }),
                (keys::pin_key(&name(), &who()), &p, Shown::Pin { claim: name(), entity: who() }),
            ];
            for (key, prefix, shown) in cases {
                assert!(key.starts_with(prefix), "{shown:?}");
                assert_eq!(Shown::parse(&key), Some(shown));
            }
            let limits = Shown::Limits { namespace: namespace.into() };
            assert_eq!(Shown::parse(&keys::limits_key(namespace)), Some(limits));
            let revoked = Shown::Revoked { namespace: namespace.into() };
            assert_eq!(Shown::parse(&keys::revoked_key(namespace)), Some(revoked));
            assert!(keys::lock_waiter_key(&name(), 1).starts_with(&lock_waiters_prefix(&name())));
        }
    }

    #[test]
    fn what_is_not_projected_is_not_read() {
        for key in ["a", "/_conclave/", "/_conclave/e/n/a", "/_conclave/e/n/a/leader/xyz", "/_conclave/e/n/a/q/%2"] {
            assert_eq!(Shown::parse(key.as_bytes()), None, "{key}");
        }
    }
}
