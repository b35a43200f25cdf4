//! Whose turn it is: how those before a place are found, and how many of them may remain. Called by
//! [`place`](crate::place).

use crate::{Client, Error, ErrorKind, EventKind, Found, Get, KeyRange, KeyValue, SortOrder, SortTarget, Watch};
use bytes::Bytes;
use futures::StreamExt;

/// Who must be gone before it is one's turn.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// Everybody older in the range.
    Alone(KeyRange),
    /// Enough of the older ones in the range that one's own weight fits beside the rest. A key's
    /// value is its weight.
    Room { range: KeyRange, capacity: u32, weight: u32 },
}

/// Those before a place, and how much of them may remain.
#[derive(Debug)]
pub(crate) struct Blockers {
    range: KeyRange,
    ahead: Vec<(Bytes, u32)>,
    room: u32,
}

impl Rule {
    fn range(&self) -> &KeyRange {
        match self {
            Self::Alone(range) | Self::Room { range, .. } => range,
        }
    }

    /// What to read together with taking a place: enough to see that nobody is before it.
    pub(crate) fn view(&self) -> Get {
        let oldest = Get::new(self.range().clone()).sort(SortTarget::Create, SortOrder::Ascend);
        match self {
            Self::Alone(_) => oldest.limit(1).keys_only(),
            Self::Room { .. } => oldest,
        }
    }

    /// What to read later: those before the place.
    pub(crate) fn before(&self, revision: i64) -> Get {
        let older = Get::new(self.range().clone()).created_between(0, revision - 1);
        match self {
            Self::Alone(_) => older.sort(SortTarget::Create, SortOrder::Descend).limit(1).keys_only(),
            Self::Room { .. } => older,
        }
    }

    /// Those who must go first; `None` if it is one's turn.
    pub(crate) fn blockers(&self, found: &Found, own: &Bytes, revision: i64) -> Option<Blockers> {
        let older = found.kvs.iter().filter(|kv| kv.create_revision < revision && kv.key != *own);
        let blockers = match self {
            Self::Alone(_) => {
                let ahead: Vec<_> = older.map(|kv| (kv.key.clone(), 1)).collect();
                let range = ahead.first().map_or_else(KeyRange::all, |(key, _)| KeyRange::key(key.clone()));
                Blockers { range, ahead, room: 0 }
            }
            Self::Room { range, capacity, weight } => {
                let ahead = older.map(|kv| (kv.key.clone(), weight_of(kv))).collect();
                Blockers { range: range.clone(), ahead, room: capacity.saturating_sub(*weight) }
            }
        };
        (!blockers.fit()).then_some(blockers)
    }
}

impl Blockers {
    fn fit(&self) -> bool {
        self.ahead.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>() <= u64::from(self.room)
    }

    /// Waits until enough of them are gone, or until it cannot be told and must be read again.
    pub(crate) async fn clear(mut self, client: &Client, since: i64) -> Result<(), Error> {
        let mut watch = client.watch_from(Watch::new(self.range.clone()).deletions_only(), since);
        while !self.fit() {
            match watch.next().await {
                Some(Ok(batch)) => {
                    for event in batch.events.iter().filter(|event| event.kind == EventKind::Delete) {
                        self.ahead.retain(|(key, _)| *key != event.kv.key);
                    }
                }
                Some(Err(error)) if error.kind() == ErrorKind::OutOfRange => return Ok(()),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// A semaphore's keys say how much they take; anything else takes one.
fn weight_of(kv: &KeyValue) -> u32 {
    std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &str, create_revision: i64) -> KeyValue {
        KeyValue { key: key.to_owned().into(), value: value.to_owned().into(), create_revision, ..Default::default() }
    }

    fn found(kvs: &[KeyValue]) -> Found {
        Found { kvs: kvs.to_vec(), ..Default::default() }
    }

    #[test]
    fn alone_is_who_has_nobody_older() {
        let (rule, own) = (Rule::Alone(KeyRange::prefix("a/")), Bytes::from("a/2"));
        assert!(rule.blockers(&found(&[kv("a/2", "", 5)]), &own, 5).is_none());
        assert!(rule.blockers(&found(&[kv("a/3", "", 6)]), &own, 5).is_none());
        let blocked = rule.blockers(&found(&[kv("a/9", "", 4)]), &own, 5).expect("somebody is before");
        assert_eq!(blocked.range, KeyRange::key("a/9"));
    }

    #[test]
    fn weights_of_the_older_ones_add_up_and_younger_ones_do_not_count() {
        let room = |weight| Rule::Room { range: KeyRange::prefix("s/"), capacity: 4, weight };
        let line = found(&[kv("s/a", "2", 3), kv("s/b", "1", 4), kv("s/me", "1", 5), kv("s/c", "9", 6)]);
        let own = Bytes::from("s/me");
        assert!(room(1).blockers(&line, &own, 5).is_none());
        let mut blocked = room(2).blockers(&line, &own, 5).expect("3 + 2 is more than 4");
        blocked.ahead.retain(|(key, _)| key != "s/b");
        assert!(blocked.fit());
        assert_eq!(weight_of(&kv("s/x", "not a number", 1)), 1);
    }
}
