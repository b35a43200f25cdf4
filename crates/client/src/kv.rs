//! Keys and values: reads, pages of reads, puts and deletions.

use crate::Channel;
pub use crate::api::{
    etcdserverpb::{
        ResponseHeader as Header,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::KeyValue,
};
use crate::{
    Client, Error, KeyRange,
    api::etcdserverpb::{self as pb, kv_client::KvClient},
};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};

/// A read, with its options. A key or a [`KeyRange`] converts into it.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Get, KeyRange, SortOrder, SortTarget};
///
/// let newest = Get::new(KeyRange::prefix("job/")).sort(SortTarget::Create, SortOrder::Descend).limit(1);
/// for entry in client.range(newest).await?.kvs {
///     println!("{:?} was created at revision {}", entry.key, entry.create_revision);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Get(pub(crate) pb::RangeRequest);

/// What to read, as in the [example](Get#examples).
impl Get {
    /// A linearizable read of everything in the range.
    pub fn new(range: impl Into<KeyRange>) -> Self {
        let KeyRange { key, end } = range.into();
        Self(pb::RangeRequest { key, range_end: end, ..Default::default() })
    }

    /// At most so many keys; 0 is no limit.
    pub fn limit(mut self, keys: i64) -> Self {
        self.0.limit = keys;
        self
    }

    /// As it was at this revision; it must not be compacted, nor lie in the future.
    pub fn at_revision(mut self, revision: i64) -> Self {
        self.0.revision = revision;
        self
    }

    /// From the member's own state as it is: cheaper, works without a quorum, and may be old.
    pub fn serializable(mut self) -> Self {
        self.0.serializable = true;
        self
    }

    /// In another order than that of the keys.
    pub fn sort(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.0.sort_target = target.into();
        self.0.sort_order = order.into();
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.0.keys_only = true;
        self
    }

    /// Only how many there are.
    pub fn count_only(mut self) -> Self {
        self.0.count_only = true;
        self
    }

    /// Only what was last changed at `min` or later and at `max` or earlier; 0 is no bound.
    pub fn modified_between(mut self, min: i64, max: i64) -> Self {
        (self.0.min_mod_revision, self.0.max_mod_revision) = (min, max);
        self
    }

    /// Only what was created at `min` or later and at `max` or earlier; 0 is no bound.
    pub fn created_between(mut self, min: i64, max: i64) -> Self {
        (self.0.min_create_revision, self.0.max_create_revision) = (min, max);
        self
    }
}

impl<R: Into<KeyRange>> From<R> for Get {
    fn from(range: R) -> Self {
        Self::new(range)
    }
}

/// A put, with its options.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::Put;
///
/// let before = client.put_with(Put::new("config", "v2").previous()).await?.previous;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Put(pub(crate) pb::PutRequest);

/// What to write, as in the [example](Put#examples).
impl Put {
    /// Sets the value of a key; without a lease, even if the key had one.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self(pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() })
    }

    /// The key goes when the lease does.
    pub fn lease(mut self, id: i64) -> Self {
        self.0.lease = id;
        self
    }

    /// The key keeps the lease it has; it must exist.
    pub fn keep_lease(mut self) -> Self {
        self.0.ignore_lease = true;
        self
    }

    /// The key keeps the value it has, and only its lease changes; it must exist.
    pub fn keep_value(mut self) -> Self {
        self.0.value = Bytes::new();
        self.0.ignore_value = true;
        self
    }

    /// Answers with what the key held before.
    pub fn previous(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }
}

/// A deletion, with its options. A key or a [`KeyRange`] converts into it.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Delete, KeyRange};
///
/// for gone in client.delete(Delete::new(KeyRange::prefix("job/")).previous()).await?.previous {
///     println!("{:?} held {:?}", gone.key, gone.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Delete(pub(crate) pb::DeleteRangeRequest);

/// What to delete, as in the [example](Delete#examples).
impl Delete {
    /// Deletes everything in the range, in one revision.
    pub fn new(range: impl Into<KeyRange>) -> Self {
        let KeyRange { key, end } = range.into();
        Self(pb::DeleteRangeRequest { key, range_end: end, ..Default::default() })
    }

    /// Answers with what was deleted.
    pub fn previous(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }
}

impl<R: Into<KeyRange>> From<R> for Delete {
    fn from(range: R) -> Self {
        Self::new(range)
    }
}

/// What a read found.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Get, KeyRange};
///
/// let found = client.range(Get::new(KeyRange::prefix("job/")).limit(100)).await?;
/// println!("{} of {} at revision {}", found.kvs.len(), found.count, found.header.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The store's revision at the read, and who answered.
    pub header: Header,
    /// The keys, in key order unless sorted otherwise.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut it short.
    pub more: bool,
    /// How many keys there are in the range, whatever the limit and bounds.
    pub count: i64,
}

/// What a put did.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// let written = client.put("greeting", "hello").await?;
/// println!("written at revision {}", written.header.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Written {
    /// Its revision is that of the new version.
    pub header: Header,
    /// What the key held before; only if asked for.
    pub previous: Option<KeyValue>,
}

/// What a deletion did.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// let deleted = client.delete("greeting").await?;
/// println!("{} gone at revision {}", deleted.count, deleted.header.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Deleted {
    /// Its revision is that of the deletion, if there was something to delete.
    pub header: Header,
    /// How many keys went.
    pub count: i64,
    /// What they held; only if asked for.
    pub previous: Vec<KeyValue>,
}

impl Client {
    /// Reads one key, linearizably: what it holds at some moment between call and return.
    ///
    /// Tried again after any failure of a member, within
    /// [`Builder::timeout`](crate::Builder::timeout).
    ///
    /// # Errors
    /// Retryable: no member answered in time. Final: the request is refused.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// match client.get("greeting").await? {
    ///     Some(entry) => println!("{:?}, since revision {}", entry.value, entry.mod_revision),
    ///     None => println!("not there"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>, Error> {
        Ok(self.range(Get::new(KeyRange::key(key))).await?.kvs.into_iter().next())
    }

    /// Reads a range at one revision, linearizably unless [`Get::serializable`].
    ///
    /// The answer comes in one message however large it is; [`Client::pages`] is for large ranges.
    /// Retries, errors and cancel safety as [`Client::get`]; also final: the revision is compacted
    /// or lies in the future ([`ErrorKind::OutOfRange`](crate::ErrorKind)).
    ///
    /// # Errors
    /// See above.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Get, KeyRange};
    ///
    /// let now = client.range(KeyRange::prefix("config/")).await?;
    /// // The same keys as they were before.
    /// let before = client.range(Get::new(KeyRange::prefix("config/")).at_revision(now.header.revision - 1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn range(&self, get: impl Into<Get>) -> Result<Found, Error> {
        let call = |channel, request| async move { kv(channel).range(request).await };
        Ok(self.read(get.into().0, call).await?.into())
    }

    /// Reads a range page by page, all pages at the revision of the first: a stream of pages of at
    /// most `size` keys, in key order.
    ///
    /// # Errors
    /// Each item as [`Client::range`]; the stream ends after an error. If the revision is compacted
    /// while the pages are read, the error is [`ErrorKind::OutOfRange`](crate::ErrorKind).
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing: the page is read by the next one.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::KeyRange;
    /// use futures::TryStreamExt;
    ///
    /// let mut pages = client.pages(KeyRange::prefix("log/"), 1000);
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} keys more", page.kvs.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages(&self, range: impl Into<KeyRange>, size: u32) -> BoxStream<'static, Result<Found, Error>> {
        let get = Get::new(range).limit(i64::from(size.max(1)));
        stream::try_unfold(Some((self.clone(), get)), async move |state| {
            let Some((client, mut get)) = state else { return Ok(None) };
            let page = client.range(get.clone()).await?;
            let last = page.kvs.last().filter(|_| page.more).map(|kv| kv.key.clone());
            let next = last.map(|key| {
                let rest = KeyRange { key: get.0.key.clone(), end: get.0.range_end.clone() }.after(&key);
                get.0.key = rest.key;
                if get.0.revision == 0 {
                    get.0.revision = page.header.revision;
                }
                (client, get)
            });
            Ok(Some((page, next)))
        })
        .boxed()
    }

    /// Sets the value of a key. When this returns, a majority holds it durably, and every later
    /// linearizable read sees it.
    ///
    /// Never sent twice: tried again only if it surely had no effect.
    ///
    /// # Errors
    /// Outcome unknown: the answer was lost. Retryable: no member took it. Final: refused, for
    /// example [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// let revision = client.put("greeting", "hello").await?.header.revision;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Written, Error> {
        self.put_with(Put::new(key, value)).await
    }

    /// [`Client::put`] with options.
    ///
    /// # Errors
    /// As [`Client::put`]; also final:
    /// [`ErrorKind::LeaseNotFound`](crate::ErrorKind::LeaseNotFound).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Put;
    ///
    /// // Goes with the session.
    /// client.put_with(Put::new("here/host-7", "10.0.0.7").lease(session.lease())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_with(&self, put: Put) -> Result<Written, Error> {
        let call = |channel, request| async move { kv(channel).put(request).await };
        let pb::PutResponse { header, prev_kv } = self.write(put.0, call).await?;
        Ok(Written { header: header.unwrap_or_default(), previous: prev_kv })
    }

    /// Deletes a key or a range, in one revision. Retries, errors and cancel safety as
    /// [`Client::put`].
    ///
    /// # Errors
    /// See above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::KeyRange;
    /// let gone = client.delete(KeyRange::prefix("job/")).await?.count;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, delete: impl Into<Delete>) -> Result<Deleted, Error> {
        let call = |channel, request| async move { kv(channel).delete_range(request).await };
        Ok(self.write(delete.into().0, call).await?.into())
    }

    /// Forgets all history before `revision`; reads and watches that need it fail from then on.
    /// With `physical`, returns only when the space is free for other use.
    ///
    /// # Errors
    /// Final: [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), compacted already or in the
    /// future. Outcome unknown: the answer was lost; repeating it is harmless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// let now = client.put("checkpoint", "").await?.header.revision;
    /// client.compact(now, false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn compact(&self, revision: i64, physical: bool) -> Result<Header, Error> {
        let call = |channel, request| async move { kv(channel).compact(request).await };
        let request = pb::CompactionRequest { revision, physical };
        Ok(self.write(request, call).await?.header.unwrap_or_default())
    }
}

impl From<pb::RangeResponse> for Found {
    fn from(response: pb::RangeResponse) -> Self {
        let pb::RangeResponse { header, kvs, more, count } = response;
        Self { header: header.unwrap_or_default(), kvs, more, count }
    }
}

impl From<pb::DeleteRangeResponse> for Deleted {
    fn from(response: pb::DeleteRangeResponse) -> Self {
        let pb::DeleteRangeResponse { header, deleted, prev_kvs } = response;
        Self { header: header.unwrap_or_default(), count: deleted, previous: prev_kvs }
    }
}

/// Answers may be as large as the member likes; the member bounds what it takes.
pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}
