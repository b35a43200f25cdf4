//! All keys of a range in order, page by page.

use super::{leases::Leases, side::Side};
use bytes::Bytes;
use conclave_client::{Error, Get, KeyRange, KeyValue};
use std::{collections::VecDeque, sync::Arc};

/// A page is to have about so many bytes.
const PAGE: usize = 2 << 20;
/// Keys of the first page, and at most.
const FIRST: usize = 100;
const MOST: usize = 2_000;

/// At one revision, or each page as things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The one that the first page is read at.
    First,
    Revision(i64),
    /// Nothing that is still to be read changes.
    Each,
}

/// A walk over keys, as far as it has come.
pub(super) struct Scan {
    side: Side,
    range: Option<KeyRange>,
    at: At,
    keys_only: bool,
    size: usize,
    page: VecDeque<KeyValue>,
}

impl Scan {
    pub(super) fn new(side: &Side, range: KeyRange, at: At) -> Self {
        Self { side: side.clone(), range: Some(range), at, keys_only: false, size: FIRST, page: VecDeque::new() }
    }

    /// Without values.
    pub(super) fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Reads the first page; gives the revision that it shows.
    pub(super) async fn begin(&mut self) -> Result<i64, Error> {
        self.read().await
    }

    pub(super) async fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        while self.page.is_empty() && self.range.is_some() {
            self.read().await?;
        }
        Ok(self.page.pop_front())
    }

    /// Reads a page; gives the revision of the answer.
    async fn read(&mut self) -> Result<i64, Error> {
        let Some(range) = self.range.take() else { return Ok(0) };
        let mut get = Get::new(range.clone()).limit(i64::try_from(self.size).unwrap_or(i64::MAX));
        if let At::Revision(revision) = self.at {
            get = get.at_revision(revision);
        }
        if self.keys_only {
            get = get.keys_only();
        }
        let found = self.side.patiently(async |client| client.range(get.clone()).await).await?;
        if self.at == At::First {
            self.at = At::Revision(found.header.revision);
        }
        if let Some(last) = found.kvs.last().filter(|_| found.more) {
            self.range = Some(range.after(&last.key));
        }
        self.size = next_size(self.size, found.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum());
        self.page = found.kvs.into();
        Ok(found.header.revision)
    }
}

/// How many keys the next page may have.
fn next_size(size: usize, bytes: usize) -> usize {
    let each = bytes.div_ceil(size).max(1);
    (PAGE / each).clamp(1, MOST)
}

/// What one side has and the other has not, or has otherwise.
#[derive(Debug, PartialEq)]
pub(super) enum Difference {
    /// At the source: to be written under this name.
    Write(Bytes, KeyValue),
    /// At the destination alone.
    Extra(Bytes),
}

/// Two walks side by side.
pub(super) struct Merge {
    source: Scan,
    destination: Option<Scan>,
    mapping: super::Mapping,
    /// If leases are carried, keys differ if their leases do, and also if the lease at the
    /// destination is not kept alive.
    leases: Option<Arc<Leases>>,
    heads: (Option<KeyValue>, Option<KeyValue>),
    /// Keys that are the same on both sides.
    pub(super) equal: u64,
    /// Keys of the source that are not carried.
    pub(super) skipped: u64,
}

impl Merge {
    /// Without a second walk, everything is to be written.
    pub(super) fn new(
        source: Scan,
        destination: Option<Scan>,
        mapping: super::Mapping,
        leases: Option<Arc<Leases>>,
    ) -> Self {
        Self { source, destination, mapping, leases, heads: (None, None), equal: 0, skipped: 0 }
    }

    /// The next difference. An error says on which side it was.
    pub(super) async fn next(&mut self) -> Result<Option<Difference>, (Side, Error)> {
        loop {
            self.fill().await?;
            let ours = self.heads.0.as_ref().and_then(|kv| self.mapping.of_source(&kv.key));
            let theirs = self.heads.1.as_ref().and_then(|kv| self.mapping.of_destination(&kv.key));
            let (source, destination) = match (ours, theirs) {
                (None, None) => return Ok(None),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(ours), Some(theirs)) => (ours <= theirs, theirs <= ours),
            };
            let source = if source { self.heads.0.take() } else { None };
            let destination = if destination { self.heads.1.take() } else { None };
            match (source, destination) {
                (Some(kv), Some(other)) if self.same(&kv, &other) => self.equal += 1,
                (Some(kv), _) => {
                    let rest = self.mapping.of_source(&kv.key).unwrap_or_default();
                    return Ok(Some(Difference::Write(self.mapping.at_destination(rest), kv)));
                }
                (None, Some(kv)) => return Ok(Some(Difference::Extra(kv.key))),
                (None, None) => return Ok(None),
            }
        }
    }

    fn same(&self, kv: &KeyValue, other: &KeyValue) -> bool {
        let kept = |leases: &Arc<Leases>| kv.lease == other.lease && (kv.lease == 0 || leases.of(kv.lease) != 0);
        kv.value == other.value && self.leases.as_ref().is_none_or(kept)
    }

    /// The next key of each side that is carried.
    async fn fill(&mut self) -> Result<(), (Side, Error)> {
        while self.heads.0.is_none() {
            let next = self.source.next().await.map_err(|error| (self.source.side.clone(), error))?;
            let Some(kv) = next else { break };
            match self.mapping.of_source(&kv.key) {
                Some(_) => self.heads.0 = Some(kv),
                None => self.skipped += 1,
            }
        }
        let Some(destination) = &mut self.destination else { return Ok(()) };
        while self.heads.1.is_none() {
            let next = destination.next().await.map_err(|error| (destination.side.clone(), error))?;
            let Some(kv) = next else { break };
            if self.mapping.of_destination(&kv.key).is_some() {
                self.heads.1 = Some(kv);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::Mapping;
    use conclave_client::Client;

    #[test]
    fn pages_of_large_values_have_few_keys() {
        assert_eq!(next_size(100, 100), MOST);
        assert_eq!(next_size(100, 100 * PAGE), 1);
        assert_eq!(next_size(8, PAGE), 8);
        assert_eq!(next_size(1, 0), MOST);
    }

    /// A walk whose only page has been read.
    fn walk(keys: &[(&str, &str, i64)]) -> Scan {
        let mut scan = Scan::new(&side(), KeyRange::all(), At::Each);
        let kv = |(key, value, lease): &(&str, &str, i64)| KeyValue {
            key: key.to_string().into(),
            value: value.to_string().into(),
            lease: *lease,
            ..KeyValue::default()
        };
        (scan.range, scan.page) = (None, keys.iter().map(kv).collect());
        scan
    }

    async fn differences(mut merge: Merge) -> (Vec<String>, u64, u64) {
        let mut found = Vec::new();
        while let Some(difference) = merge.next().await.expect("nothing is asked") {
            found.push(match difference {
                Difference::Write(key, kv) => format!("{} = {}", key.escape_ascii(), kv.value.escape_ascii()),
                Difference::Extra(key) => format!("no {}", key.escape_ascii()),
            });
        }
        (found, merge.equal, merge.skipped)
    }

    fn side() -> Side {
        Side { client: Client::new(["http://127.0.0.1:9"]).expect("a URL"), name: "source" }
    }

    #[tokio::test]
    async fn two_sides_are_compared_in_one_walk() {
        let source = [("a/1", "x", 0), ("a/2", "y", 7), ("a/4", "z", 0), ("a/conclave-mirror", "", 0)];
        let destination =
            [("b/0", "", 0), ("b/1", "x", 0), ("b/2", "y", 0), ("b/conclave-mirror", "", 0), ("b/5", "", 0)];
        let merge = |leases| Merge::new(walk(&source), Some(walk(&destination)), Mapping::new("a/", "b/"), leases);
        let (found, equal, skipped) = differences(merge(None)).await;
        assert_eq!(found, ["no b/0", "b/4 = z", "no b/5"]);
        assert_eq!((equal, skipped), (2, 1));
        let leases = Some(Arc::new(Leases::new(&side(), &side())));
        assert_eq!(differences(merge(leases.clone())).await.0, ["no b/0", "b/2 = y", "b/4 = z", "no b/5"]);
        let all = Merge::new(walk(&source), None, Mapping::new("a/", ""), leases);
        assert_eq!(differences(all).await.0, ["1 = x", "2 = y", "4 = z"]);
    }

    /// After a restart nobody keeps the lease alive that an earlier run granted: its key is written
    /// again, and the lease carried.
    #[tokio::test]
    async fn a_key_whose_lease_is_not_kept_alive_differs() {
        let kv = [("k", "v", 7)];
        let leases = Arc::new(Leases::new(&side(), &side()));
        let merge = || Merge::new(walk(&kv), Some(walk(&kv)), Mapping::default(), Some(leases.clone()));
        assert_eq!(differences(merge()).await.0, ["k = v"]);
        leases.assume(7);
        assert_eq!(differences(merge()).await, (vec![], 1, 0));
    }
}
