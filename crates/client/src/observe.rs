//! Following an election: the whole line is mirrored from one read and one watch, and its head is
//! reported whenever it changes.
//!
//! 1. All changes of one revision are applied before anything is reported: a handover is no
//!    vacancy.
//! 2. When history is compacted, the line is read again.

use crate::{Client, Error, ErrorKind, EventKind, Get, KeyRange, KeyValue, Token, Watch, WatchStream, place};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::time::sleep;

/// Rest between reads while no member answers.
const PAUSE: Duration = Duration::from_millis(200);

/// Who leads an election.
///
/// # Examples
/// ```no_run
/// # async fn example(election: conclave_client::Election) -> Result<(), conclave_client::Error> {
/// let leader = election.leader().await?;
/// println!("{:?} leads; its fence is {}", leader.value, leader.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leader {
    /// The candidate's key.
    pub key: Bytes,
    /// What it proclaimed.
    pub value: Bytes,
    /// The revision that created the key: the leader's fence.
    pub revision: i64,
    /// The lease that keeps it.
    pub lease: i64,
}

impl From<KeyValue> for Leader {
    fn from(kv: KeyValue) -> Self {
        Self { key: kv.key, value: kv.value, revision: kv.create_revision, lease: kv.lease }
    }
}

impl Leader {
    /// The proof of this tenure, for transactions of others that are to happen only under it.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::Election, client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Put;
    ///
    /// // By somebody else, on the leader's behalf: written only while it leads.
    /// let leader = election.leader().await?;
    /// client.guarded(leader.token()).then([Put::new("seen/leader", leader.value)]).commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn token(&self) -> Token {
        place::token(&self.key, self.revision)
    }
}

/// A state of an election.
///
/// # Examples
/// ```no_run
/// # async fn example(election: conclave_client::Election) -> Result<(), conclave_client::Error> {
/// use conclave_client::Observed;
/// use futures::TryStreamExt;
///
/// let mut seen = election.observe();
/// while let Some(state) = seen.try_next().await? {
///     match state {
///         Observed::Leader(leader) => println!("{:?} leads", leader.value),
///         Observed::Vacant => println!("nobody leads"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// This candidate leads.
    Leader(Leader),
    /// Nobody leads.
    Vacant,
}

pub(crate) struct Observer {
    client: Client,
    range: KeyRange,
    line: BTreeMap<Bytes, KeyValue>,
    watch: Option<WatchStream>,
    reported: Option<Observed>,
    pending: VecDeque<Observed>,
}

impl Observer {
    pub(crate) fn new(client: Client, range: KeyRange) -> Self {
        Self { client, range, line: BTreeMap::new(), watch: None, reported: None, pending: VecDeque::new() }
    }

    pub(crate) fn stream(self) -> BoxStream<'static, Result<Observed, Error>> {
        let states = stream::unfold(Some(self), async |observer| {
            let mut observer = observer?;
            match observer.next().await {
                Ok(state) => Some((Ok(state), Some(observer))),
                Err(error) => Some((Err(error), None)),
            }
        });
        states.boxed()
    }

    async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            if let Some(state) = self.pending.pop_front() {
                return Ok(state);
            }
            match &mut self.watch {
                None => self.read().await?,
                Some(watch) => match watch.next().await {
                    Some(Ok(batch)) => self.apply(batch.events),
                    Some(Err(error)) if error.kind() != ErrorKind::OutOfRange => return Err(error),
                    Some(Err(_)) | None => self.watch = None,
                },
            }
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let found = match self.client.range(Get::new(self.range.clone())).await {
            Ok(found) => found,
            Err(error) if error.is_final() => return Err(error),
            Err(_) => {
                sleep(PAUSE).await;
                return Ok(());
            }
        };
        self.watch = Some(self.client.watch_from(Watch::new(self.range.clone()), found.header.revision + 1));
        self.line = found.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        self.note();
        Ok(())
    }

    fn apply(&mut self, events: Vec<crate::Event>) {
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            let revision = event.kv.mod_revision;
            match event.kind {
                EventKind::Put => drop(self.line.insert(event.kv.key.clone(), event.kv)),
                EventKind::Delete => drop(self.line.remove(&event.kv.key)),
            }
            if events.peek().is_none_or(|next| next.kv.mod_revision != revision) {
                self.note();
            }
        }
    }

    /// Reports the head of the line if it is another one than before.
    fn note(&mut self) {
        let head = self.line.values().min_by_key(|kv| kv.create_revision).cloned();
        let state = head.map_or(Observed::Vacant, |kv| Observed::Leader(kv.into()));
        if self.reported.as_ref() != Some(&state) {
            self.reported = Some(state.clone());
            self.pending.push_back(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn put(key: &str, value: &str, create_revision: i64, mod_revision: i64) -> Event {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let kv = KeyValue { key, value, create_revision, mod_revision, ..Default::default() };
        Event { kind: EventKind::Put, kv, previous: None }
    }

    fn delete(key: &str, mod_revision: i64) -> Event {
        Event { kind: EventKind::Delete, ..put(key, "", 0, mod_revision) }
    }

    #[tokio::test]
    async fn tells_each_head_once_and_no_vacancy_within_a_revision() {
        let client = Client::new(["127.0.0.1:9"]).expect("an address");
        let mut observer = Observer::new(client, KeyRange::prefix("e/"));
        observer.note();
        observer.apply(vec![put("e/a", "A", 2, 2), put("e/b", "B", 3, 3), put("e/a", "A2", 2, 4)]);
        // Two leases lapse together, and a third candidate stays.
        observer.apply(vec![put("e/c", "C", 5, 5), delete("e/a", 6), delete("e/b", 6), delete("e/c", 7)]);
        let reported: Vec<_> = observer
            .pending
            .iter()
            .map(|state| match state {
                Observed::Leader(leader) => String::from_utf8_lossy(&leader.value).into_owned(),
                Observed::Vacant => "-".into(),
            })
            .collect();
        assert_eq!(reported, ["-", "A", "A2", "C", "-"]);
    }
}
