//! A running hash over all changes of the state, for comparing members.
//!
//! It is not cryptographic: it finds accidental divergence, not attacks. It hashes eight bytes per
//! step, because it runs on every change.

use crate::{Event, EventKind, LeaseChange};

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) const EMPTY: Digest = Digest(0);

    pub(crate) fn number(&mut self, number: i64) {
        self.word(number.cast_unsigned());
    }

    /// The length is hashed first, so that `ab`, `c` and `a`, `bc` differ.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        let kv = &event.kv;
        self.word(match event.kind {
            EventKind::Put => 1,
            EventKind::Delete => 2,
        });
        self.number(kv.mod_revision);
        self.bytes(&kv.key);
        if event.kind == EventKind::Put {
            self.number(kv.create_revision);
            self.number(kv.version);
            self.number(kv.lease);
            self.bytes(&kv.value);
        }
    }

    pub(crate) fn lease(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Armed { id, ms } => {
                self.word(3);
                self.number(id);
                self.word(ms);
            }
            LeaseChange::Gone { id } => {
                self.word(4);
                self.number(id);
            }
        }
    }

    /// Any other change of state; `kind` (5 and up) distinguishes them.
    pub(crate) fn other(&mut self, kind: u64, what: &[u8]) {
        self.word(kind);
        self.bytes(what);
    }

    /// The hash in 32 bits, for etcd's HashKV.
    pub(crate) fn fold(self) -> u32 {
        u32::try_from((self.0 ^ (self.0 >> 32)) & 0xffff_ffff).expect("masked to 32 bits")
    }

    fn word(&mut self, word: u64) {
        // The added constant keeps a state of zeros from swallowing words of zeros.
        let product = u128::from(self.0 ^ word).wrapping_add(0x51) * u128::from(FACTOR);
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high.rotate_left(23);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn digest(parts: &[&[u8]]) -> u64 {
        let mut digest = Digest::EMPTY;
        parts.iter().for_each(|part| digest.bytes(part));
        digest.0
    }

    #[test]
    fn every_byte_and_every_border_counts() {
        let inputs: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"\0"],
            &[b"\0\0"],
            &[b"ab", b"c"],
            &[b"a", b"bc"],
            &[b"0123456789abcdef"],
            &[b"0123456789abcdeg"],
        ];
        let digests: BTreeSet<_> = inputs.iter().map(|input| digest(input)).collect();
        assert_eq!(digests.len(), inputs.len());
    }
}
