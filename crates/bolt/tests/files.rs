//! Random buckets are written and read back, damaged, and cut.

use conclave_bolt::{Plan, ReadError, Reader, WriteError, Writer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
type Buckets = BTreeMap<Vec<u8>, Pairs>;

fn fill<W: Write>(mut writer: Writer<W>, buckets: &Buckets) -> Result<(Plan, W), WriteError> {
    for (name, pairs) in buckets {
        writer.bucket(name)?;
        for (key, value) in pairs {
            writer.pair(key, value)?;
        }
    }
    writer.finish()
}

fn write(buckets: &Buckets, page_size: usize) -> (Plan, Vec<u8>) {
    let (plan, _) = fill(Writer::measure(page_size), buckets).expect("it can be measured");
    fill(Writer::new(Vec::new(), plan).expect("it can be begun"), buckets).expect("it can be written")
}

fn read(bytes: &[u8]) -> Result<Buckets, ReadError> {
    let mut buckets = Buckets::new();
    Reader::open(bytes)?.everything(&mut |name, pair| {
        let pairs = buckets.entry(name.to_vec()).or_default();
        if let Some((key, value)) = pair {
            pairs.insert(key.to_vec(), value.to_vec());
        }
        Ok::<_, ReadError>(())
    })?;
    Ok(buckets)
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..40_usize, 2 => 40..2_000_usize, 1 => 2_000..9_000_usize]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let key = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..12),
        1 => prop::collection::vec(any::<u8>(), 300..1_500),
    ];
    let value = sizes().prop_flat_map(|size| prop::collection::vec(any::<u8>(), size..=size));
    let pairs = prop::collection::btree_map(key, value, 0..60);
    prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..9), pairs, 0..6)
}

fn numbered(count: u32, value: usize) -> Pairs {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; value])).collect()
}

fn one(pairs: Pairs) -> Buckets {
    [(b"key".to_vec(), pairs)].into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_is_read(buckets in buckets(), page_size in prop_oneof![Just(1024), Just(4096), Just(16384)]) {
        let (plan, bytes) = write(&buckets, page_size);
        prop_assert_eq!(plan.size(), bytes.len() as u64);
        prop_assert_eq!(read(&bytes).expect("it can be read"), buckets);
    }

    #[test]
    fn damage_and_cuts_are_errors_or_other_contents(
        buckets in buckets(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (_, mut bytes) = write(&buckets, 1024);
        let cut = at.index(bytes.len());
        prop_assert!(read(&bytes[..cut]).is_err());
        bytes[cut] ^= 1_u8 << bit;
        // What the pages do not check, the hash of a snapshot does. Here it may not panic.
        let _ = read(&bytes);
    }
}

#[test]
fn trees_of_several_levels() {
    for count in [0, 1, 2, 3, 100, 126, 127, 128, 5_000, 60_000] {
        let buckets = one(numbered(count, 1));
        let (_, bytes) = write(&buckets, 1024);
        assert_eq!(read(&bytes).expect("it can be read"), buckets, "{count} pairs");
    }
    let buckets = one((0..60_u8).map(|n| (vec![n + 1; 20_000], vec![])).collect());
    let (_, bytes) = write(&buckets, 4096);
    assert_eq!(read(&bytes).expect("it can be read"), buckets, "long keys");
}

#[test]
fn contents_that_differ_from_those_measured_are_an_error() {
    let (plan, _) = write(&one(numbered(10, 10)), 4096);
    let more = fill(Writer::new(Vec::new(), plan).expect("it can be begun"), &one(numbered(1_000, 10)));
    assert!(matches!(more, Err(WriteError::Changed)));
}

#[test]
fn what_bbolt_would_not_take_is_refused() {
    let mut writer = Writer::measure(4096);
    assert!(matches!(writer.pair(b"k", b""), Err(WriteError::NoBucket)));
    assert!(matches!(writer.bucket(b""), Err(WriteError::Key(0))));
    writer.bucket(b"b").expect("a name");
    assert!(matches!(writer.pair(b"", b""), Err(WriteError::Key(0))));
    assert!(matches!(writer.pair(&[1; 32_769], b""), Err(WriteError::Key(32_769))));
    writer.pair(b"k", b"").expect("a pair");
    assert!(matches!(writer.pair(b"k", b""), Err(WriteError::Order)));
    let mut writer = Writer::measure(4096);
    writer.bucket(b"b").expect("a name");
    writer.bucket(b"a").expect("seen when the bucket ends");
    assert!(matches!(writer.finish(), Err(WriteError::Order)));
}

const PAGE: usize = 1024;

/// Writes a number over the bytes at an offset of a page, and reads.
fn with(bytes: &[u8], page: u64, at: usize, number: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    let start = page as usize * PAGE + at;
    bytes[start..start + number.len()].copy_from_slice(number);
    read(&bytes).expect_err("it is damaged").to_string()
}

/// The page that the root bucket says the bucket begins at.
fn root_of(bytes: &[u8]) -> u64 {
    let page = bytes.len() / PAGE - 1;
    let start = page * PAGE + 16;
    let position = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().expect("four bytes")) as usize;
    let value = start + position + "key".len();
    u64::from_le_bytes(bytes[value..value + 8].try_into().expect("eight bytes"))
}

#[test]
fn hostile_pages_are_named() {
    let (_, bytes) = write(&one(numbered(2_000, 1)), PAGE);
    let branch = root_of(&bytes);
    let to = u64::to_le_bytes;
    // A cycle: the first child of the branch page is the page itself.
    assert_eq!(with(&bytes, branch, 16 + 8, &to(branch)), format!("page {branch} is used twice"));
    assert_eq!(with(&bytes, branch, 16 + 8, &to(u64::MAX)), format!("page {} is beyond the end of the file", u64::MAX));
    assert_eq!(with(&bytes, branch, 32 + 8, &to(3)), "page 3 is used twice");
    assert_eq!(with(&bytes, branch, 16 + 8, &to(0)), "page 0 is used twice");
    // Overlapping: the first leaf is continued in the second.
    assert_eq!(with(&bytes, 3, 12, &1_u32.to_le_bytes()), "page 4 is used twice");
    assert_eq!(with(&bytes, 3, 12, &u32::MAX.to_le_bytes()), "page 4 is beyond the end of the file");
    assert_eq!(with(&bytes, 3, 0, &to(77)), "page 3 has another number in its head");
    assert_eq!(with(&bytes, 3, 8, &7_u16.to_le_bytes()), "page 3 is neither a branch nor a leaf");
    assert_eq!(with(&bytes, 3, 10, &u16::MAX.to_le_bytes()), "page 3 has elements beyond its end");
    assert_eq!(with(&bytes, 3, 10, &0_u16.to_le_bytes()), "page 3 is empty");
    assert_eq!(with(&bytes, 3, 16, &1_u32.to_le_bytes()), "a bucket in a bucket is not supported");
    assert_eq!(with(&bytes, 3, 16, &9_u32.to_le_bytes()), "page 3 has an element of an unknown kind");
    assert_eq!(with(&bytes, 3, 16 + 8, &0_u32.to_le_bytes()), "page 3 has an empty key");
    assert_eq!(with(&bytes, 3, 16 + 12, &u32::MAX.to_le_bytes()), "page 3 has elements beyond its end");
    assert_eq!(with(&bytes, 3, 16 + 4, &0_u32.to_le_bytes()), "page 3 has elements that overlap");
    assert_eq!(with(&bytes, 3, 900, &[0xff; 40]), "page 3 has keys that do not rise");
}

#[test]
fn a_file_that_is_none_says_so() {
    let said = |bytes: &[u8]| read(bytes).expect_err("no such file").to_string();
    let not = "this is not a bbolt file, or both of its meta pages are damaged";
    assert_eq!(said(b""), not);
    assert_eq!(said(&[0; 100_000]), not);
    let (_, bytes) = write(&one(numbered(2_000, 1)), PAGE);
    assert!(said(&bytes[..bytes.len() - 1]).starts_with("the file is truncated: its meta page tells of "));
    // One of the two meta pages is enough, whichever it is.
    for page in [0, 1] {
        let mut bytes = bytes.clone();
        bytes[page * PAGE + 40] ^= 1;
        assert!(read(&bytes).is_ok());
    }
}

#[test]
fn a_cause_is_named_once() {
    let error = ReadError::from(std::io::Error::other("the disk is gone"));
    assert_eq!(error.to_string(), "reading failed: the disk is gone");
    // What `{:#}` of a report appends.
    assert!(std::error::Error::source(&error).is_none());
}
