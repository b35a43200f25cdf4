//! Changes of a sample: of single bytes, of numbers, of ranges, and by parts of other samples.

/// No input gets longer than this: what a length says can be wrong without the bytes being there.
const LONGEST: usize = 64 << 10;

/// Numbers at which things change: limits of types, of varints, of signs.
const NUMBERS: [u64; 14] =
    [0, 1, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A small generator of numbers (xorshift). The same seed gives the same inputs, on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// One to eight changes of one of the samples.
pub(crate) fn mutate(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = samples[random.below(samples.len())].clone();
    for _ in 0..=random.below(8).min(random.below(8)) {
        change(&mut bytes, samples, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, samples: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let rest = bytes.len() - at;
    let some = random.below(rest.min(32) + 1);
    match random.below(10) {
        0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
        1 if rest > 0 => bytes[at] = random.byte(),
        2 if rest > 0 => bytes[at] = bytes[at].wrapping_add([1, 0xff][random.below(2)]),
        3 => drop(bytes.drain(at..at + some)),
        4 => insert(bytes, at, &(0..random.below(8)).map(|_| random.byte()).collect::<Vec<_>>()),
        5 => {
            let again = bytes[at..at + some].to_vec();
            insert(bytes, at, &again.repeat(1 + random.below(4)));
        }
        6 => number(bytes, at, random),
        7 => {
            let other = &samples[random.below(samples.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            insert(bytes, at, &other[from..to]);
        }
        8 => {
            let other = &samples[random.below(samples.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => bytes.truncate(at),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

/// Writes a number that somebody may not have thought of, in one of the forms in use, over what is
/// there or before it.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let number = NUMBERS[random.below(NUMBERS.len())];
    let form = match random.below(4) {
        0 => number.to_le_bytes()[..1 << random.below(4)].to_vec(),
        1 => number.to_be_bytes()[8 - (1 << random.below(4))..].to_vec(),
        // As protobuf has it, and rows.
        2 => varint(number),
        // As bincode has it: a tag, and what it announces.
        _ => {
            let (tag, length) = [(0xfb, 2), (0xfc, 4), (0xfd, 8)][random.below(3)];
            [&[tag], &number.to_le_bytes()[..length]].concat()
        }
    };
    let over = if random.below(2) == 0 { form.len().min(bytes.len() - at) } else { 0 };
    bytes.splice(at..at + over, form);
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn mutations_differ_are_bounded_and_come_again() {
        let samples = [b"a sample".to_vec(), vec![], vec![7; LONGEST]];
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..2_000).map(|_| mutate(&samples, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(3).iter().all(|bytes| bytes.len() <= LONGEST));
        assert!(run(3).into_iter().collect::<BTreeSet<_>>().len() > 1_000);
    }

    #[test]
    fn numbers_have_the_usual_varint() {
        assert_eq!((varint(0), varint(0x7f), varint(0x80)), (vec![0], vec![0x7f], vec![0x80, 1]));
        assert_eq!(varint(u64::MAX).len(), 10);
    }
}
