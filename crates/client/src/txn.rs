//! Transactions: compare, then do one of two lists of operations, all at one moment.

use crate::{
    Client, Deleted, Error, Found, Get, Put, Written,
    api::etcdserverpb::{self as pb, compare, request_op, response_op},
    kv::{Delete, Header, kv},
};
use bytes::Bytes;

/// A condition on one key.
///
/// # Examples
/// ```
/// use conclave_client::{Cmp, Compare, KeyRange};
///
/// let untouched = Compare::mod_revision("account", Cmp::Equal, 42);
/// let new = Compare::absent("account");
/// let unowned = Compare::lease("job/7", Cmp::Equal, 0).for_all(KeyRange::prefix("job/"));
/// let young = [Compare::version("k", Cmp::Less, 3), Compare::create_revision("k", Cmp::Greater, 40), Compare::present("k")];
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Compare(pub(crate) pb::Compare);

/// How a key's property relates to the given one.
///
/// The [example](Compare#examples) of [`Compare`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// A smaller one.
    Less,
    /// A greater one.
    Greater,
}

/// Conditions, as in the [example](Compare#examples).
impl Compare {
    /// The value; a key that is not there fulfils no condition on its value.
    pub fn value(key: impl Into<Bytes>, cmp: Cmp, value: impl Into<Bytes>) -> Self {
        Self::new(key, cmp, compare::CompareTarget::Value, compare::TargetUnion::Value(value.into()))
    }

    /// How often it was written since it was created; 0 if it is not there.
    pub fn version(key: impl Into<Bytes>, cmp: Cmp, version: i64) -> Self {
        Self::new(key, cmp, compare::CompareTarget::Version, compare::TargetUnion::Version(version))
    }

    /// The revision that created it; 0 if it is not there.
    pub fn create_revision(key: impl Into<Bytes>, cmp: Cmp, revision: i64) -> Self {
        Self::new(key, cmp, compare::CompareTarget::Create, compare::TargetUnion::CreateRevision(revision))
    }

    /// The revision that last changed it; 0 if it is not there.
    pub fn mod_revision(key: impl Into<Bytes>, cmp: Cmp, revision: i64) -> Self {
        Self::new(key, cmp, compare::CompareTarget::Mod, compare::TargetUnion::ModRevision(revision))
    }

    /// The lease it is attached to; 0 if to none, or if it is not there.
    pub fn lease(key: impl Into<Bytes>, cmp: Cmp, lease: i64) -> Self {
        Self::new(key, cmp, compare::CompareTarget::Lease, compare::TargetUnion::Lease(lease))
    }

    /// It is not there.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, Cmp::Equal, 0)
    }

    /// It is there.
    pub fn present(key: impl Into<Bytes>) -> Self {
        Self::create_revision(key, Cmp::NotEqual, 0)
    }

    /// The same condition on every key of a range. A range without keys fulfils it.
    #[must_use]
    pub fn for_all(mut self, range: impl Into<crate::KeyRange>) -> Self {
        let crate::KeyRange { key, end } = range.into();
        (self.0.key, self.0.range_end) = (key, end);
        self
    }

    /// The key that it is about.
    pub(crate) fn key(&self) -> Bytes {
        self.0.key.clone()
    }

    /// As the wire has it.
    #[must_use]
    pub fn into_wire(self) -> pb::Compare {
        self.0
    }

    fn new(key: impl Into<Bytes>, cmp: Cmp, target: compare::CompareTarget, union: compare::TargetUnion) -> Self {
        let result = match cmp {
            Cmp::Equal => compare::CompareResult::Equal,
            Cmp::NotEqual => compare::CompareResult::NotEqual,
            Cmp::Less => compare::CompareResult::Less,
            Cmp::Greater => compare::CompareResult::Greater,
        };
        Self(pb::Compare {
            key: key.into(),
            result: result.into(),
            target: target.into(),
            target_union: Some(union),
            ..Default::default()
        })
    }
}

impl From<pb::Compare> for Compare {
    fn from(compare: pb::Compare) -> Self {
        Self(compare)
    }
}

/// One operation of a transaction. [`Put`], [`Get`], [`Delete`] and [`Txn`] convert into it.
///
/// # Examples
/// ```
/// use conclave_client::{Get, Op, Put, Txn};
///
/// // A list of different operations is one of `Op`s.
/// let txn = Txn::new().then([Op::from(Put::new("a", "1")), Get::new("b").into(), Txn::new().into()]);
/// ```
#[derive(Clone, Debug)]
pub struct Op(request_op::Request);

impl From<Put> for Op {
    fn from(put: Put) -> Self {
        Self(request_op::Request::RequestPut(put.0))
    }
}

impl From<Get> for Op {
    fn from(get: Get) -> Self {
        Self(request_op::Request::RequestRange(get.0))
    }
}

impl From<Delete> for Op {
    fn from(delete: Delete) -> Self {
        Self(request_op::Request::RequestDeleteRange(delete.0))
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Self(request_op::Request::RequestTxn(txn.0))
    }
}

/// A transaction: if all compares hold, the first list of operations is done, else the second.
/// Nothing happens in between, and everything it writes has one revision.
///
/// # Limits
/// 128 compares and 128 operations in each list unless the cluster is set up otherwise; a key is
/// written at most once.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Compare, Get, Put, Txn};
///
/// let answer = client
///     .txn(Txn::new().when([Compare::absent("seat")]).then([Put::new("seat", "mine")]).or_else([Get::new("seat")]))
///     .await?;
/// if !answer.succeeded {
///     println!("taken: {:?}", answer.found(0));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Txn(pub(crate) pb::TxnRequest);

/// What a transaction does, as in the [example](Txn#examples).
impl Txn {
    /// One without conditions and operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds conditions; all must hold.
    pub fn when(mut self, compares: impl IntoIterator<Item = impl Into<Compare>>) -> Self {
        self.0.compare.extend(compares.into_iter().map(|compare| compare.into().0));
        self
    }

    /// Adds operations to do if all conditions hold.
    pub fn then(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.0.success.extend(ops.into_iter().map(|op| pb::RequestOp { request: Some(op.into().0) }));
        self
    }

    /// Adds operations to do if a condition does not hold.
    pub fn or_else(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.0.failure.extend(ops.into_iter().map(|op| pb::RequestOp { request: Some(op.into().0) }));
        self
    }

    /// As the wire has it.
    #[must_use]
    pub fn into_wire(self) -> pb::TxnRequest {
        self.0
    }

    /// Whether it writes nothing, whatever the conditions say.
    fn reads_only(txn: &pb::TxnRequest) -> bool {
        txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
            Some(request_op::Request::RequestRange(_)) | None => true,
            Some(request_op::Request::RequestTxn(inner)) => Self::reads_only(inner),
            Some(_) => false,
        })
    }
}

/// What a transaction did.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Compare, Get, OpAnswer, Put, Txn};
///
/// let txn = Txn::new().when([Compare::absent("seat")]).then([Put::new("seat", "mine").previous()]);
/// let answer = client.txn(txn.or_else([Get::new("seat")])).await?;
/// match answer.answers.first() {
///     Some(OpAnswer::Written(written)) => println!("mine since revision {}", written.header.revision),
///     Some(OpAnswer::Found(found)) => println!("taken: {:?}", found.kvs),
///     _ => unreachable!("one operation has one answer"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TxnAnswer {
    /// Its revision is that of what was written, if something was.
    pub header: Header,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One answer for each operation that was done, in order.
    pub answers: Vec<OpAnswer>,
}

/// What one operation of a transaction did.
///
/// The [example](TxnAnswer#examples) of [`TxnAnswer`] shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OpAnswer {
    /// Of a [`Get`].
    Found(Found),
    /// Of a [`Put`].
    Written(Written),
    /// Of a [`Delete`].
    Deleted(Deleted),
    /// Of a [`Txn`].
    Txn(TxnAnswer),
}

impl TxnAnswer {
    /// What the operation at `index` read; `None` if it was no [`Get`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Get, Txn};
    ///
    /// // Two reads of one moment.
    /// let answer = client.txn(Txn::new().then([Get::new("a"), Get::new("b")])).await?;
    /// let second = answer.found(1).and_then(|found| found.kvs.first());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn found(&self, index: usize) -> Option<&Found> {
        match self.answers.get(index) {
            Some(OpAnswer::Found(found)) => Some(found),
            _ => None,
        }
    }
}

impl Client {
    /// Runs a transaction. When this returns, what it wrote is held durably by a majority.
    ///
    /// One that only reads is tried again like a read; one that may write is never sent twice.
    ///
    /// # Errors
    /// As [`Client::put`]. A condition that does not hold is no error: see
    /// [`TxnAnswer::succeeded`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Cmp, Compare, Put, Txn};
    ///
    /// let paid = Compare::value("order/7", Cmp::Equal, "paid");
    /// let done = client.txn(Txn::new().when([paid]).then([Put::new("order/7", "shipped")])).await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn txn(&self, txn: Txn) -> Result<TxnAnswer, Error> {
        let call = |channel, request| async move { kv(channel).txn(request).await };
        let response = match Txn::reads_only(&txn.0) {
            true => self.read(txn.0, call).await,
            false => self.write(txn.0, call).await,
        };
        Ok(response?.into())
    }

    /// A transaction whose conditions make it the same twice as once.
    pub(crate) async fn txn_repeatable(&self, txn: Txn) -> Result<TxnAnswer, Error> {
        self.txn_with_doubt(txn).await.0
    }

    /// The same; also tells whether a request other than the answered one may yet arrive.
    pub(crate) async fn txn_with_doubt(&self, txn: Txn) -> (Result<TxnAnswer, Error>, bool) {
        let call = |channel, request| async move { kv(channel).txn(request).await };
        let (response, doubt) = self.repeatable_with_doubt(txn.0, call).await;
        (response.map(TxnAnswer::from), doubt)
    }
}

impl From<pb::TxnResponse> for TxnAnswer {
    fn from(response: pb::TxnResponse) -> Self {
        let answer = |op: pb::ResponseOp| match op.response? {
            response_op::Response::ResponseRange(found) => Some(OpAnswer::Found(found.into())),
            response_op::Response::ResponsePut(put) => {
                Some(OpAnswer::Written(Written { header: put.header.unwrap_or_default(), previous: put.prev_kv }))
            }
            response_op::Response::ResponseDeleteRange(deleted) => Some(OpAnswer::Deleted(deleted.into())),
            response_op::Response::ResponseTxn(inner) => Some(OpAnswer::Txn(inner.into())),
        };
        Self {
            header: response.header.unwrap_or_default(),
            succeeded: response.succeeded,
            answers: response.responses.into_iter().filter_map(answer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_write_is_a_write() {
        let reads = Txn::new().then([Get::new("a")]).or_else([Txn::new().then([Get::new("b")])]);
        assert!(Txn::reads_only(&reads.0));
        let writes = reads.or_else([Txn::new().or_else([Put::new("b", "")])]);
        assert!(!Txn::reads_only(&writes.0));
    }
}
