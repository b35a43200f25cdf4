//! Row keys of the table coord, and the projected keys that clients see.
//!
//! | Row key | Row |
//! |---|---|
//! | `h`, kind, namespace, name | the head of an election, a lock, a claim |
//! | `c`, namespace, name, candidate | a candidate |
//! | `l`, kind, namespace, name, place | the waiter at that place |
//! | `i`, candidate, namespace, name | the elections of a candidate |
//! | `r`, fence | a request for locks, waiting or granted |
//! | `g`, namespace, name, fence | a holder of a lock |
//! | `w`, namespace, name, holder, instance, session | the place of a waiter for a claim |
//! | `p`, namespace, name, entity | a pin |
//! | `n`, namespace | limits |
//! | `b`, kind, namespace, name, who | a cool-down |
//! | `s`, lease, `c`, what | a dependent of a session; its attempts ([`crate::attempt`]) |
//! | `s`, lease, … | remembered answers of a session |
//! | `t`, id | a timer |
//! | `x` | the last id given to a timer or a place in line |
//!
//! Texts are escaped and terminated like keys of the table kv, so that rows of one name are
//! adjacent and names are in order. In projected keys a slash, a percent sign or a control byte
//! inside a part is written as `%2f`.

use super::{Kind, Name};
use crate::LeaseId;
use std::fmt::Write;

/// Only coordination commands write keys with this prefix.
pub const RESERVED: &[u8] = b"/_conclave/";

/// Whether raw writes to a key are refused.
pub fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(RESERVED)
}

pub(crate) const LAST_ID: &[u8] = b"x";

/// Builds a row key.
#[derive(Clone)]
pub(crate) struct Row(Vec<u8>);

impl Row {
    fn new(tag: u8) -> Row {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(tag);
        Row(bytes)
    }

    fn byte(mut self, byte: u8) -> Row {
        self.0.push(byte);
        self
    }

    fn text(self, text: &str) -> Row {
        self.beginning(text).bytes(&[0, 1])
    }

    /// What a text begins with.
    fn beginning(mut self, text: &str) -> Row {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self
    }

    fn name(self, name: &Name) -> Row {
        self.text(&name.namespace).text(&name.name)
    }

    fn number(mut self, number: i64) -> Row {
        self.0.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
        self
    }

    fn id(mut self, id: u64) -> Row {
        self.0.extend_from_slice(&id.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Row {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    /// The bounds of all rows with this prefix.
    pub(crate) fn all(self) -> (Vec<u8>, Vec<u8>) {
        let below = crate::keys::successor(&self.0).expect("it begins with a tag");
        (self.0, below)
    }
}

pub(crate) fn heads(kind: Kind) -> Row {
    Row::new(b'h').byte(kind as u8)
}

pub(crate) fn heads_of(kind: Kind, namespace: &str) -> Row {
    heads(kind).text(namespace)
}

/// The heads of a namespace whose names begin alike.
pub(crate) fn heads_beginning(kind: Kind, namespace: &str, prefix: &str) -> Row {
    heads_of(kind, namespace).beginning(prefix)
}

pub(crate) fn head(kind: Kind, name: &Name) -> Vec<u8> {
    heads(kind).name(name).done()
}

pub(crate) fn candidate(name: &Name, id: &str) -> Vec<u8> {
    Row::new(b'c').name(name).text(id).done()
}

pub(crate) fn line(kind: Kind, name: &Name) -> Row {
    Row::new(b'l').byte(kind as u8).name(name)
}

/// Higher classes first, then lower ranks.
pub(crate) fn place(name: &Name, class: i64, rank: i64) -> Vec<u8> {
    line(Kind::Election, name).number(!class).number(rank).done()
}

/// The bounds of a line from a place on.
pub(crate) fn line_from(name: &Name, class: i64, rank: i64) -> (Vec<u8>, Vec<u8>) {
    (place(name, class, rank), line(Kind::Election, name).all().1)
}

pub(crate) fn split_place(row: &[u8]) -> Option<(i64, i64)> {
    let (rest, rank) = row.split_last_chunk::<8>()?;
    let (_, class) = rest.split_last_chunk::<8>()?;
    Some((!(i64::from_be_bytes(*class) ^ i64::MIN), i64::from_be_bytes(*rank) ^ i64::MIN))
}

pub(crate) fn turn(kind: Kind, name: &Name, turn: u64) -> Vec<u8> {
    line(kind, name).id(turn).done()
}

/// The last eight bytes of a row key.
pub(crate) fn split_id(row: &[u8]) -> Option<u64> {
    row.split_last_chunk::<8>().map(|(_, id)| u64::from_be_bytes(*id))
}

pub(crate) fn stands(candidate: &str) -> Row {
    Row::new(b'i').text(candidate)
}

pub(crate) fn stands_in(candidate: &str, namespace: &str) -> Row {
    stands(candidate).text(namespace)
}

pub(crate) fn stands_at(candidate: &str, name: &Name) -> Vec<u8> {
    stands(candidate).name(name).done()
}

pub(crate) fn request(fence: i64) -> Vec<u8> {
    Row::new(b'r').id(fence.cast_unsigned()).done()
}

pub(crate) fn requests() -> Row {
    Row::new(b'r')
}

pub(crate) fn grants(name: &Name) -> Row {
    Row::new(b'g').name(name)
}

pub(crate) fn grant(name: &Name, fence: i64) -> Vec<u8> {
    grants(name).id(fence.cast_unsigned()).done()
}

/// The waiters under one name, each in its own session.
pub(crate) fn waiters(name: &Name, holder: &str, instance: &str) -> Row {
    Row::new(b'w').name(name).text(holder).text(instance)
}

pub(crate) fn waiter(name: &Name, holder: &str, instance: &str, session: LeaseId) -> Vec<u8> {
    waiters(name, holder, instance).number(session).done()
}

pub(crate) fn pins(name: &Name) -> Row {
    Row::new(b'p').name(name)
}

pub(crate) fn pin(name: &Name, entity: &str) -> Vec<u8> {
    pins(name).text(entity).done()
}

pub(crate) fn limits(namespace: &str) -> Vec<u8> {
    Row::new(b'n').text(namespace).done()
}

pub(crate) fn cooldowns(kind: Kind, name: &Name) -> Row {
    Row::new(b'b').byte(kind as u8).name(name)
}

pub(crate) fn cooldown(kind: Kind, name: &Name, who: &str) -> Vec<u8> {
    cooldowns(kind, name).text(who).done()
}

pub(crate) fn session(lease: LeaseId) -> Row {
    Row::new(b's').number(lease)
}

pub(crate) const DEPENDENT: u8 = b'c';
pub(crate) const ATTEMPT: u8 = b'a';
pub(crate) const MEMO: u8 = b'd';
pub(crate) const MEMO_SLOT: u8 = b'e';
pub(crate) const MEMO_NEXT: u8 = b'f';

pub(crate) fn dependents(lease: LeaseId) -> Row {
    session(lease).byte(DEPENDENT)
}

pub(crate) fn dependent(lease: LeaseId, what: &[u8]) -> Vec<u8> {
    dependents(lease).bytes(what).done()
}

/// The part after tag, lease and sort in a session's row.
pub(crate) fn split_session(row: &[u8]) -> Option<(u8, &[u8])> {
    let (sort, rest) = row.get(9..)?.split_first()?;
    Some((*sort, rest))
}

/// The request for locks that an attempt made without a dedupe id.
pub(crate) fn request_of(lease: LeaseId, attempt: u64) -> Vec<u8> {
    session(lease).byte(ATTEMPT).id(attempt).done()
}

pub(crate) fn memo(lease: LeaseId, id: &[u8; 16]) -> Vec<u8> {
    session(lease).byte(MEMO).bytes(id).done()
}

pub(crate) fn memo_slot(lease: LeaseId, slot: u64) -> Vec<u8> {
    session(lease).byte(MEMO_SLOT).id(slot).done()
}

pub(crate) fn memo_next(lease: LeaseId) -> Vec<u8> {
    session(lease).byte(MEMO_NEXT).done()
}

/// Whether a row is a remembered answer of a session, or part of that memory.
pub(crate) fn is_memory(row: &[u8]) -> bool {
    row.first() == Some(&b's') && matches!(split_session(row), Some((MEMO | MEMO_SLOT | MEMO_NEXT, _)))
}

pub(crate) fn timers() -> Row {
    Row::new(b't')
}

pub(crate) fn timer(id: u64) -> Vec<u8> {
    timers().id(id).done()
}

/// Decodes an escaped text at the front of a row key.
pub(crate) fn take_text(row: &mut &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match (*row.get(at)?, row.get(at + 1)) {
            (0, Some(0xff)) => {
                text.push(0);
                at += 2;
            }
            (0, Some(1)) => break,
            (0, _) => return None,
            (byte, _) => {
                text.push(byte);
                at += 1;
            }
        }
    }
    *row = &row[at + 2..];
    String::from_utf8(text).ok()
}

/// The name at the end of a head's row key.
pub(crate) fn split_head(row: &[u8]) -> Option<Name> {
    let mut rest = row.get(2..)?;
    let (namespace, name) = (take_text(&mut rest)?, take_text(&mut rest)?);
    rest.is_empty().then_some(Name { namespace, name })
}

/// A projected key: the letter of its sort, then the parts.
pub(crate) fn projected(sort: &str, parts: &[&str]) -> Vec<u8> {
    let mut key = String::from("/_conclave/");
    key.push_str(sort);
    for part in parts {
        key.push('/');
        push_part(&mut key, part);
    }
    key.into_bytes()
}

fn push_part(key: &mut String, part: &str) {
    for sign in part.chars() {
        match sign {
            '/' | '%' | '\0'..=' ' | '\x7f' => {
                let _ = write!(key, "%{:02x}", u32::from(sign));
            }
            sign => key.push(sign),
        }
    }
}

fn under(sort: &str, name: &Name, rest: &[&str]) -> Vec<u8> {
    projected(sort, &[&[name.namespace.as_str(), name.name.as_str()], rest].concat())
}

fn hex(number: i64) -> String {
    format!("{number:016x}")
}

pub fn term_key(election: &Name) -> Vec<u8> {
    under("e", election, &["term"])
}

/// Created when the term's leader is installed, deleted when the term ends, never reused: the
/// leader leads while the key exists.
pub fn leader_key(election: &Name, term_id: i64) -> Vec<u8> {
    under("e", election, &["leader", &hex(term_id)])
}

/// The prefix of the leader's keys of all terms; at most one of them exists.
pub fn leader_prefix(election: &Name) -> Vec<u8> {
    under("e", election, &["leader", ""])
}

pub fn candidate_key(election: &Name, candidate: &str) -> Vec<u8> {
    under("e", election, &["q", candidate])
}

pub fn lock_holder_key(lock: &Name, fence: i64) -> Vec<u8> {
    under("l", lock, &["holder", &hex(fence)])
}

pub fn lock_waiter_key(lock: &Name, fence: i64) -> Vec<u8> {
    under("l", lock, &["q", &hex(fence)])
}

/// The holder's name, while there is one.
pub fn claim_holder_key(claim: &Name) -> Vec<u8> {
    under("c", claim, &["holder"])
}

/// Like a leader's key: one key per tenure.
pub fn tenure_key(claim: &Name, fence: i64) -> Vec<u8> {
    under("c", claim, &["tenure", &hex(fence)])
}

pub fn claim_waiter_key(claim: &Name, ticket: u64) -> Vec<u8> {
    under("c", claim, &["q", &format!("{ticket:016x}")])
}

pub fn pin_key(claim: &Name, entity: &str) -> Vec<u8> {
    under("p", claim, &[entity])
}

pub fn limits_key(namespace: &str) -> Vec<u8> {
    projected("n", &[namespace])
}

/// The last revocation of a claim in a namespace. One key is enough, because a revision revokes one
/// claim.
pub fn revoked_key(namespace: &str) -> Vec<u8> {
    projected("r", &[namespace])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: &str, name: &str) -> Name {
        Name { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn names_cannot_run_into_each_other() {
        let odd = [name("", "a"), name("a", ""), name("a/", "b"), name("a", "/b"), name("a\0", "b"), name("a", "\0b")];
        let mut rows: Vec<_> = odd.iter().map(|name| head(Kind::Lock, name)).collect();
        let mut keys: Vec<_> = odd.iter().map(term_key).collect();
        for (row, name) in rows.iter().zip(&odd) {
            assert_eq!(split_head(row).as_ref(), Some(name));
        }
        for found in [&mut rows, &mut keys] {
            found.sort();
            found.dedup();
            assert_eq!(found.len(), odd.len());
        }
        assert_eq!(candidate_key(&name("n s", "a/b"), "q%"), b"/_conclave/e/n%20s/a%2fb/q/q%25");
    }

    #[test]
    fn places_stand_in_order() {
        let name = name("n", "e");
        let order = [(5, -1), (5, 0), (0, i64::MIN), (0, -1), (0, 7), (-3, 0), (i64::MIN, 0)];
        let rows = order.map(|(class, rank)| place(&name, class, rank));
        assert!(rows.is_sorted());
        assert_eq!(rows.each_ref().map(|row| split_place(row).unwrap()), order);
    }
}
