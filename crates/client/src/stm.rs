//! Transactions written as ordinary code: reads and writes that either all happened at one moment,
//! or are done again.

use crate::{Client, Cmp, Compare, Error, ErrorKind, Get, KeyValue, Op, Put, Txn, kv::Delete};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What a transaction of [`Client::stm`] is protected from. The names and meanings are those of
/// etcd's `concurrency` package.
///
/// [`Client::stm`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// All reads are of one revision, and nothing that was read or is written has changed since.
    #[default]
    SerializableSnapshot,
    /// All reads are of one revision, and nothing that was read has changed since.
    Serializable,
    /// Reads are of the time they are made, and nothing that was read has changed since.
    RepeatableReads,
    /// Reads are of the time they are made; what was read may have changed since.
    ReadCommitted,
}

/// One attempt of a transaction: reads from the cluster, writes kept until the end.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Error, Isolation, Put};
///
/// client
///     .stm(Isolation::RepeatableReads, async |txn| {
///         let owner = txn.get("owner").await?;
///         if txn.mod_revision("state").await? == 0 {
///             txn.put("state", "new");
///         }
///         txn.put_with(Put::new("seen", owner.unwrap_or_default()).previous());
///         txn.delete("hint");
///         Ok::<_, Error>(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StmTxn {
    client: Client,
    isolation: Isolation,
    /// What was read, or found absent.
    reads: BTreeMap<Bytes, Option<KeyValue>>,
    /// What is known already of the attempt before, at `revision`.
    prefetched: BTreeMap<Bytes, Option<KeyValue>>,
    /// `None` is a deletion.
    writes: BTreeMap<Bytes, Option<Put>>,
    /// What serializable reads read; 0 before the first.
    revision: i64,
    /// History at that revision is gone: this attempt cannot be finished.
    stale: bool,
}

/// Reads and writes, as in the [example](StmTxn#examples).
impl StmTxn {
    /// The value of a key as this transaction sees it: its own write, else what is stored.
    ///
    /// # Errors
    /// As [`Client::range`]. Return it from the transaction.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn get(&mut self, key: impl Into<Bytes>) -> Result<Option<Bytes>, Error> {
        let key = key.into();
        if let Some(write) = self.writes.get(&key) {
            return Ok(write.as_ref().map(|put| put.0.value.clone()));
        }
        Ok(self.read(key).await?.map(|kv| kv.value))
    }

    /// The revision that last changed a key; 0 if it is not there. Own writes do not count.
    ///
    /// # Errors
    /// As [`StmTxn::get`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn mod_revision(&mut self, key: impl Into<Bytes>) -> Result<i64, Error> {
        Ok(self.read(key.into()).await?.map_or(0, |kv| kv.mod_revision))
    }

    /// Writes a key at the end.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.put_with(Put::new(key, value));
    }

    /// Writes a key at the end, with options.
    pub fn put_with(&mut self, put: Put) {
        self.writes.insert(put.0.key.clone(), Some(put));
    }

    /// Deletes a key at the end.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.writes.insert(key.into(), None);
    }

    async fn read(&mut self, key: Bytes) -> Result<Option<KeyValue>, Error> {
        if let Some(known) = self.reads.get(&key) {
            return Ok(known.clone());
        }
        let found = match self.prefetched.remove(&key) {
            Some(found) => found,
            None => {
                let at = if self.of_one_revision() { self.revision } else { 0 };
                let found = self.client.range(Get::new(key.clone()).at_revision(at)).await;
                self.stale |= found.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutOfRange);
                let found = found?;
                if self.revision == 0 {
                    self.revision = found.header.revision;
                }
                found.kvs.into_iter().next()
            }
        };
        self.reads.insert(key, found.clone());
        Ok(found)
    }

    fn of_one_revision(&self) -> bool {
        matches!(self.isolation, Isolation::SerializableSnapshot | Isolation::Serializable)
    }

    /// Writes if nothing is in the way; else what the next attempt may begin with.
    async fn commit(self) -> Result<Option<Self>, Error> {
        // Reads of one linearizable revision were true together.
        if self.writes.is_empty() && (self.of_one_revision() || self.isolation == Isolation::ReadCommitted) {
            return Ok(None);
        }
        let keys: Vec<Bytes> = self.reads.keys().cloned().collect();
        let txn = Txn::new().when(self.conditions()).then(self.writes.into_iter().map(|(key, write)| match write {
            Some(put) => Op::from(put),
            None => Op::from(Delete::new(key)),
        }));
        let answer = self.client.txn(txn.or_else(keys.iter().cloned().map(Get::new))).await?;
        if answer.succeeded {
            return Ok(None);
        }
        let mut next = Self::new(self.client, self.isolation);
        next.revision = answer.header.revision;
        let found = |i| answer.found(i).and_then(|found| found.kvs.first().cloned());
        next.prefetched = keys.into_iter().enumerate().map(|(i, key)| (key, found(i))).collect();
        Ok(Some(next))
    }

    fn conditions(&self) -> Vec<Compare> {
        let unchanged = |(key, kv): (&Bytes, &Option<KeyValue>)| {
            Compare::mod_revision(key.clone(), Cmp::Equal, kv.as_ref().map_or(0, |kv| kv.mod_revision))
        };
        let mut conditions: Vec<_> = match self.isolation {
            Isolation::ReadCommitted => Vec::new(),
            _ => self.reads.iter().map(unchanged).collect(),
        };
        if self.isolation == Isolation::SerializableSnapshot && self.revision > 0 {
            let unread = self.writes.keys().filter(|key| !self.reads.contains_key(*key));
            let not_since = |key: &Bytes| Compare::mod_revision(key.clone(), Cmp::Less, self.revision + 1);
            conditions.extend(unread.map(not_since));
        }
        conditions
    }

    fn new(client: Client, isolation: Isolation) -> Self {
        let (reads, prefetched, writes) = Default::default();
        Self { client, isolation, reads, prefetched, writes, revision: 0, stale: false }
    }
}

impl Client {
    /// Runs `work` as one transaction: it reads and writes by the [`StmTxn`] it is given, and at
    /// the end all its writes happen at one moment, if nothing that the [`Isolation`] protects has
    /// changed. If something has, or the revision that was read at is compacted, `work` is run
    /// again from the start, until it succeeds, so it must have no effect but by the transaction.
    ///
    /// # Limits
    /// Keys read and written together are bounded as operations of one [`Txn`].
    ///
    /// # Errors
    /// What `work` returns: then nothing is written. Else as [`Client::txn`], in particular outcome
    /// unknown if the answer to the last step is lost.
    ///
    /// # Cancel safety
    /// Dropping the future during the last step leaves the outcome unknown; before it, nothing is
    /// written.
    ///
    /// # Source
    /// etcd's `concurrency.STM`.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Error, Isolation};
    ///
    /// let seats = client
    ///     .stm(Isolation::SerializableSnapshot, async |txn| {
    ///         let left: u32 = txn.get("seats").await?.and_then(|v| String::from_utf8_lossy(&v).parse().ok()).unwrap_or(0);
    ///         if left > 0 {
    ///             txn.put("seats", (left - 1).to_string());
    ///         }
    ///         Ok::<_, Error>(left)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stm<T, E: From<Error>>(
        &self,
        isolation: Isolation,
        mut work: impl AsyncFnMut(&mut StmTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut txn = StmTxn::new(self.clone(), isolation);
        let mut pause = FIRST_PAUSE;
        loop {
            let value = work(&mut txn).await;
            if txn.stale {
                // What was read at is compacted, whatever the work made of that: as good as a
                // conflict.
                txn = StmTxn::new(self.clone(), isolation);
            } else {
                let value = value?;
                match txn.commit().await? {
                    None => return Ok(value),
                    Some(next) => txn = next,
                }
            }
            // Somebody got ahead; all who were overtaken are not to come back together.
            sleep(pause.mul_f64(rand::random())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(isolation: Isolation) -> StmTxn {
        let mut txn = StmTxn::new(Client::new(["127.0.0.1:9"]).expect("an address"), isolation);
        let known = KeyValue { key: "a".into(), mod_revision: 5, ..Default::default() };
        txn.reads.insert("a".into(), Some(known));
        txn.reads.insert("b".into(), None);
        txn.revision = 7;
        txn.put("a", "1");
        txn.delete("c");
        txn
    }

    #[tokio::test]
    async fn each_isolation_has_its_conditions() {
        let read = [Compare::mod_revision("a", Cmp::Equal, 5), Compare::mod_revision("b", Cmp::Equal, 0)];
        let snapshot = [&read[..], &[Compare::mod_revision("c", Cmp::Less, 8)]].concat();
        assert_eq!(txn(Isolation::SerializableSnapshot).conditions(), snapshot);
        assert_eq!(txn(Isolation::Serializable).conditions(), read);
        assert_eq!(txn(Isolation::RepeatableReads).conditions(), read);
        assert_eq!(txn(Isolation::ReadCommitted).conditions(), []);
    }

    #[tokio::test]
    async fn own_writes_are_seen() {
        let mut txn = txn(Isolation::default());
        assert_eq!(txn.get("a").await.expect("no call is made"), Some("1".into()));
        assert_eq!(txn.get("c").await.expect("no call is made"), None);
        assert_eq!(txn.get("b").await.expect("no call is made"), None);
        assert_eq!(txn.mod_revision("a").await.expect("no call is made"), 5);
    }
}
