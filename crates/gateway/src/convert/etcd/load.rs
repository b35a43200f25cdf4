//! How much there is in an answer: whether converting and encoding it would hold up the event loop.

use conclave_state::{Deleted, KeyValue, OpResult, OpResultKind, RangeResult, TxnResult};

/// About what a millisecond is enough for: a row counts 1, and 1 more for each KiB.
const MOST: usize = 1_000;

pub trait Load {
    /// Takes away what the answer counts; `None` if that is more than what is left. Looks at no
    /// more rows than that.
    fn spend(&self, left: usize) -> Option<usize>;

    fn is_large(&self) -> bool {
        self.spend(MOST).is_none()
    }
}

impl Load for [KeyValue] {
    fn spend(&self, left: usize) -> Option<usize> {
        if self.len() > left {
            return None;
        }
        self.iter().try_fold(left, |left, kv| left.checked_sub(1 + (kv.key.len() + kv.value.len()) / 1024))
    }
}

impl Load for RangeResult {
    fn spend(&self, left: usize) -> Option<usize> {
        self.kvs.spend(left)
    }
}

impl Load for Deleted {
    fn spend(&self, left: usize) -> Option<usize> {
        self.prev.spend(left)
    }
}

impl Load for TxnResult {
    fn spend(&self, left: usize) -> Option<usize> {
        self.responses.iter().try_fold(left, |left, response| response.spend(left.checked_sub(1)?))
    }
}

impl Load for OpResult {
    fn spend(&self, left: usize) -> Option<usize> {
        match &self.kind {
            OpResultKind::Range(range) => range.spend(left),
            OpResultKind::Put { prev } => prev.as_slice().spend(left),
            OpResultKind::DeleteRange(deleted) => deleted.spend(left),
            OpResultKind::Txn(nested) => nested.spend(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(rows: usize, bytes: usize) -> RangeResult {
        let kv = KeyValue { value: vec![7; bytes].into(), ..Default::default() };
        RangeResult { kvs: vec![kv; rows], ..Default::default() }
    }

    fn op(kind: OpResultKind) -> OpResult {
        OpResult { revision: 1, kind }
    }

    fn txn(responses: Vec<OpResult>) -> TxnResult {
        TxnResult { succeeded: true, responses }
    }

    #[test]
    fn rows_and_bytes_count() {
        assert!(!range(1_000, 10).is_large());
        assert!(range(1_001, 0).is_large());
        assert!(!range(1, 900 << 10).is_large());
        assert!(range(2, 600 << 10).is_large());
    }

    #[test]
    fn parts_count_together_however_deep() {
        let part = || op(OpResultKind::Range(range(300, 10)));
        assert!(!txn(vec![part(), part(), part()]).is_large());
        let nested = op(OpResultKind::Txn(txn(vec![part(), part()])));
        assert!(txn(vec![part(), part(), nested]).is_large());
        let deleted = Deleted { deleted: 1_001, prev: range(1_001, 0).kvs };
        assert!(txn(vec![op(OpResultKind::DeleteRange(deleted))]).is_large());
        let prev = range(1, 1 << 20).kvs.pop();
        assert!(txn(vec![op(OpResultKind::Put { prev })]).is_large());
    }
}
