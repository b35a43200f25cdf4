//! Keys and values of a run, drawn from a seed.
//!
//! 1. Every key of a run begins with the run's own prefix, so that it can be deleted by it.
//! 2. Values are random bytes: what compresses well would flatter servers that compress.

use super::options::{Options, SHORTEST_KEY};
use bytes::Bytes;

/// Random bytes that values are cut from.
const POOL: usize = 1 << 16;

/// A small generator (SplitMix64): cheap, and the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// Another sequence for each stream of the same seed.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut draw = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        draw.next();
        draw
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product; the bias is far below what can be measured.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Where a run's keys and values come from.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    key_size: usize,
    pub(super) space: u64,
    value_size: usize,
    pool: Bytes,
}

impl Keys {
    /// `run` tells this run's keys from those of others.
    pub(super) fn new(options: &Options, run: u32) -> Self {
        let mut draw = Draw::new(options.seed, u64::MAX);
        let pool: Vec<u8> = (0..POOL.max(options.value_size) / 8 + 1).flat_map(|_| draw.next().to_le_bytes()).collect();
        let prefix = format!("bench/{run:08x}/");
        debug_assert!(prefix.len() + 8 < SHORTEST_KEY, "a key's number has its place");
        Self {
            prefix,
            key_size: options.key_size,
            space: options.key_space,
            value_size: options.value_size,
            pool: pool.into(),
        }
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> Bytes {
        Bytes::from(self.prefix.clone())
    }

    /// The end of the range of all keys.
    pub(super) fn prefix_end(&self) -> Bytes {
        prefix_end(self.prefix.as_bytes())
    }

    /// The key with this number.
    pub(super) fn key(&self, number: u64) -> Bytes {
        let digits = self.key_size - self.prefix.len();
        Bytes::from(format!("{}{number:0digits$}", self.prefix))
    }

    /// Any key.
    pub(super) fn any(&self, draw: &mut Draw) -> Bytes {
        self.key(draw.below(self.space))
    }

    /// A name below the prefix that is no key.
    pub(super) fn name(&self, what: &str, number: usize) -> Bytes {
        Bytes::from(format!("{}{what}/{number}", self.prefix))
    }

    /// Random bytes of the wanted size.
    pub(super) fn value(&self, draw: &mut Draw) -> Bytes {
        let start = draw.below((self.pool.len() - self.value_size + 1) as u64) as usize;
        self.pool.slice(start..start + self.value_size)
    }
}

/// The first key after all that begin with `prefix`, which does not end in 0xff.
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

#[cfg(test)]
mod tests {
    use super::{super::options::tests::options, *};

    #[test]
    fn keys_have_their_size_and_lie_below_the_prefix() {
        let keys = Keys::new(&options(&["--key-size", "40", "--value-size", "100"]).expect("well-formed"), 7);
        let key = keys.key(99_999);
        assert_eq!((key.len(), key.starts_with(b"bench/00000007/")), (40, true));
        assert!(key >= keys.prefix() && key < keys.prefix_end());
        let mut draw = Draw::new(1, 1);
        assert_eq!(keys.value(&mut draw).len(), 100);
        assert_ne!(keys.value(&mut draw), keys.value(&mut draw));
    }

    #[test]
    fn a_seed_draws_the_same_again_and_streams_differ() {
        let draw = |seed, stream| {
            let mut draw = Draw::new(seed, stream);
            (0..100).map(|_| draw.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
        let mean = draw(5, 5).iter().sum::<u64>() / 100;
        assert!((350..650).contains(&mean), "a mean of {mean}");
    }
}
