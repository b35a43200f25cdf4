//! What happens to packets on the way from one host to another.
//!
//! Faults are layers. A layer has a rule for some directed links, and counts what its rules did. A
//! packet passes every layer.
//!
//! 1. Layers come and go independently: what one drops, the others do not count.
//! 2. The same packets and the same dice give the same fates.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A host's number in the fabric.
pub type HostNo = usize;

/// Probabilities are between 0 and 1, times in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub drop: f64,
    pub duplicate: f64,
    /// The connection is torn down: both ends get a reset.
    pub reset: f64,
    pub delay: u64,
    pub jitter: u64,
    pub reorder: f64,
    /// How long a packet is held so that later ones pass it.
    pub hold: u64,
    /// Bytes a second.
    pub rate: Option<u64>,
}

impl Rule {
    /// Nothing passes.
    #[must_use]
    pub fn cut() -> Self {
        Self { drop: 1.0, ..Self::default() }
    }
}

/// What a layer's rules did to the packets they saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    pub seen: u64,
    pub dropped: u64,
    pub delayed: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub resets: u64,
}

/// How long a slow link's queue may get before it drops.
const QUEUE: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Layer {
    rules: BTreeMap<(HostNo, HostNo), Rule>,
    /// Until when a link with a rate is busy.
    busy: BTreeMap<(HostNo, HostNo), u64>,
    counts: Packets,
}

/// A packet that has come to the fabric.
pub(crate) struct Packet<'a> {
    pub(crate) now: u64,
    pub(crate) link: (HostNo, HostNo),
    pub(crate) length: usize,
    /// Whether it is part of a connection that can be reset.
    pub(crate) resettable: &'a dyn Fn() -> bool,
}

/// What becomes of one packet.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fate {
    pub(crate) dropped: bool,
    pub(crate) reset: bool,
    pub(crate) copies: u64,
    pub(crate) delay: u64,
    /// May be passed by others on the same link.
    pub(crate) out_of_order: bool,
}

/// All layers.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    layers: BTreeMap<u64, Layer>,
    next: u64,
}

impl Rules {
    /// Adds a layer; the number takes it off again.
    pub(crate) fn add(&mut self, rules: BTreeMap<(HostNo, HostNo), Rule>) -> u64 {
        self.next += 1;
        self.layers.insert(self.next, Layer { rules, busy: BTreeMap::new(), counts: Packets::default() });
        self.next
    }

    /// Takes a layer off; returns what it did.
    pub(crate) fn remove(&mut self, layer: u64) -> Packets {
        self.layers.remove(&layer).map(|layer| layer.counts).unwrap_or_default()
    }

    pub(crate) fn decide(&mut self, packet: &Packet<'_>, dice: &mut impl Rng) -> Fate {
        let mut fate = Fate { copies: 1, ..Fate::default() };
        for layer in self.layers.values_mut() {
            layer.apply(packet, &mut fate, dice);
            if fate.dropped || fate.reset {
                break;
            }
        }
        fate
    }
}

impl Layer {
    fn apply(&mut self, packet: &Packet<'_>, fate: &mut Fate, dice: &mut impl Rng) {
        let (Some(rule), counts) = (self.rules.get(&packet.link), &mut self.counts) else { return };
        let mut roll = |chance: f64| chance > 0.0 && dice.random_bool(chance.min(1.0));
        counts.seen += 1;
        if roll(rule.drop) {
            counts.dropped += 1;
            fate.dropped = true;
            return;
        }
        if roll(rule.reset) && (packet.resettable)() {
            counts.resets += 1;
            fate.reset = true;
            return;
        }
        if roll(rule.duplicate) {
            counts.duplicated += 1;
            fate.copies += 1;
        }
        if roll(rule.reorder) {
            counts.reordered += 1;
            fate.out_of_order = true;
            fate.delay += rule.hold;
        }
        let jitter = if rule.jitter > 0 { dice.random_range(0..=rule.jitter) } else { 0 };
        let mut delay = rule.delay + jitter;
        if let Some(rate) = rule.rate {
            let busy = self.busy.entry(packet.link).or_default();
            let begin = packet.now.max(*busy);
            if begin - packet.now > QUEUE {
                counts.dropped += 1;
                fate.dropped = true;
                return;
            }
            *busy = begin + packet.length as u64 * 1_000_000_000 / rate.max(1);
            delay += *busy - packet.now;
        }
        if delay > 0 {
            counts.delayed += 1;
            fate.delay += delay;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn layer(rule: Rule) -> BTreeMap<(HostNo, HostNo), Rule> {
        BTreeMap::from([((0, 1), rule)])
    }

    fn fate(rules: &mut Rules, link: (HostNo, HostNo), dice: &mut StdRng) -> Fate {
        rules.decide(&Packet { now: 0, link, length: 100, resettable: &|| true }, dice)
    }

    #[test]
    fn a_layer_counts_what_it_does_and_only_on_its_links() {
        let (mut rules, mut dice) = (Rules::default(), StdRng::seed_from_u64(1));
        let id = rules.add(layer(Rule { drop: 0.3, ..Rule::default() }));
        let dropped = (0..1000).filter(|_| fate(&mut rules, (0, 1), &mut dice).dropped).count();
        assert!((0..1000).all(|_| !fate(&mut rules, (1, 0), &mut dice).dropped));
        let counts = rules.remove(id);
        assert_eq!((counts.seen, counts.dropped), (1000, dropped as u64));
        assert!((200..400).contains(&dropped), "{dropped}");
        assert!(!fate(&mut rules, (0, 1), &mut dice).dropped);
    }

    #[test]
    fn layers_add_up_and_a_cut_hides_packets_from_later_ones() {
        let (mut rules, mut dice) = (Rules::default(), StdRng::seed_from_u64(1));
        let first = rules.add(layer(Rule { delay: 5, ..Rule::default() }));
        let second = rules.add(layer(Rule { delay: 7, ..Rule::default() }));
        assert_eq!(fate(&mut rules, (0, 1), &mut dice).delay, 12);
        rules.remove(first);
        let cut = rules.add(layer(Rule::cut()));
        assert!(fate(&mut rules, (0, 1), &mut dice).dropped);
        assert_eq!((rules.remove(second).seen, rules.remove(cut).dropped), (2, 1));
    }

    #[test]
    fn a_rate_makes_a_queue_that_overflows() {
        let (mut rules, mut dice) = (Rules::default(), StdRng::seed_from_u64(1));
        rules.add(layer(Rule { rate: Some(1000), ..Rule::default() }));
        let fates: Vec<Fate> = (0..20).map(|_| fate(&mut rules, (0, 1), &mut dice)).collect();
        assert_eq!((fates[0].delay, fates[9].delay), (100_000_000, 1_000_000_000));
        assert!(!fates[10].dropped && fates[11].dropped);
    }
}
