//! Learners that the leader is to promote once they are in sync.
//!
//! The wish has a row (`state/promote/`, id) until it is taken back or the member is removed.
//! Whether a member votes is in the membership of consensus, so the row of one that votes means
//! nothing, and the leader takes it back.

use crate::keys::{self, promote_row, removed_row};
use crate::machine::Batch;
use crate::meta::scan_meta;
use crate::view::{Fault, Table, View};
use crate::{PromoteWhenReady, Response};

impl<V: View> Batch<'_, V> {
    pub(crate) fn promote_when_ready(&mut self, wish: PromoteWhenReady) -> Result<Response, Fault> {
        let PromoteWhenReady { member, wanted } = wish;
        let row = promote_row(member);
        let stands = self.rows.get(Table::Meta, &row)?.is_some();
        let removed = self.rows.get(Table::Meta, &removed_row(member))?.is_some();
        if stands != wanted && !(wanted && removed) {
            self.machine.digest.other(if wanted { 27 } else { 28 }, &row);
            match wanted {
                true => self.rows.put(Table::Meta, row, Vec::new()),
                false => self.rows.delete(Table::Meta, row),
            }
        }
        Ok(Response::PromoteWhenReady)
    }
}

/// The members that are to be promoted, by id.
pub fn to_promote<V: View>(view: &V) -> Result<Vec<u64>, Fault> {
    let mut members = Vec::new();
    scan_meta(view, keys::PROMOTE, |row, _| {
        let id = row.strip_prefix(keys::PROMOTE).and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| Fault::Corrupt("a row of a member to promote cannot be read".into()))?;
        members.push(u64::from_be_bytes(id));
        Ok(())
    })?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::test_store::TestStore;

    /// The digest after it.
    fn wish(store: &mut TestStore, member: u64, wanted: bool) -> u64 {
        let answer = store.apply(&Command::PromoteWhenReady(PromoteWhenReady { member, wanted })).0;
        assert_eq!(answer, Response::PromoteWhenReady);
        store.machine.digest()
    }

    fn wanted(store: &TestStore) -> Vec<u64> {
        to_promote(&store.view).unwrap()
    }

    #[test]
    fn a_wish_stands_until_it_is_taken_back_or_the_member_is_removed() {
        let mut store = TestStore::new();
        let first = wish(&mut store, 7, true);
        assert_eq!(wish(&mut store, 7, true), first, "a repetition changes nothing");
        wish(&mut store, 8, true);
        assert_eq!(wanted(&store), [7, 8]);
        wish(&mut store, 7, false);
        store.step(|batch| batch.members_changed(&[], &[8]));
        assert_eq!(wanted(&store), Vec::<u64>::new());
        wish(&mut store, 8, true);
        assert_eq!(wanted(&store), Vec::<u64>::new(), "it was removed");
    }
}
