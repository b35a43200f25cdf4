//! Commands about placement, and what is read of it.

use super::row::{decode_labels, decode_policy, encode_labels, encode_policy};
use super::{Labels, PlacementPolicy, check_labels};
use crate::keys::{self, labels_row, maintenance_row, removed_row};
use crate::machine::{Batch, Stop};
use crate::meta::scan_meta;
use crate::view::{Fault, Table, View};
use crate::{PlacementChange, Rejection, Response};

impl<V: View> Batch<'_, V> {
    pub(crate) fn placement_change(&mut self, change: &PlacementChange) -> Result<Response, Stop> {
        match change {
            PlacementChange::Labels { member, labels } => {
                check_labels(labels).map_err(|_| Rejection::Malformed)?;
                let value = (!labels.is_empty()).then(|| encode_labels(labels));
                self.of_member(*member, 40, labels_row(*member), value)?;
            }
            PlacementChange::Maintenance { member, on } => {
                self.of_member(*member, 41, maintenance_row(*member), on.then(Vec::new))?;
            }
            PlacementChange::Policy(policy) => {
                policy.check().map_err(|_| Rejection::Malformed)?;
                let value = (*policy != PlacementPolicy::default()).then(|| encode_policy(policy));
                self.set_row(42, keys::PLACEMENT.to_vec(), value)?;
            }
        }
        Ok(Response::Placement)
    }

    /// What is said of a removed member has no effect.
    fn of_member(&mut self, member: u64, tag: u64, row: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Fault> {
        match self.rows.get(Table::Meta, &removed_row(member))? {
            Some(_) => Ok(()),
            None => self.set_row(tag, row, value),
        }
    }

    /// A row that is so already stays as it is, and so does the digest.
    fn set_row(&mut self, tag: u64, row: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Fault> {
        let before = self.rows.get(Table::Meta, &row)?;
        if before.as_deref() == value.as_deref() {
            return Ok(());
        }
        let (there, bytes) = (u8::from(value.is_some()), value.as_deref().unwrap_or_default());
        self.machine.digest.other(tag, &[&[there], &row[..], bytes].concat());
        match value {
            Some(value) => self.rows.put(Table::Meta, row, value),
            None => self.rows.delete(Table::Meta, row),
        }
        Ok(())
    }

    /// A removed member's labels and maintenance go with it.
    pub(crate) fn forget_placement(&mut self, member: u64) {
        self.rows.delete(Table::Meta, labels_row(member));
        self.rows.delete(Table::Meta, maintenance_row(member));
    }
}

/// Which members should lead.
pub fn placement<V: View>(view: &V) -> Result<PlacementPolicy, Fault> {
    Ok(view.decoded(Table::Meta, keys::PLACEMENT, |row| decode_policy(row))?.unwrap_or_default())
}

/// The labels of the members that have any, by id.
pub fn labels<V: View>(view: &V) -> Result<Vec<(u64, Labels)>, Fault> {
    let mut all = Vec::new();
    scan_meta(view, keys::LABELS, |row, value| {
        all.push((member_of(row, keys::LABELS)?, decode_labels(value)?));
        Ok(())
    })?;
    Ok(all)
}

/// The members in maintenance, by id.
pub fn in_maintenance<V: View>(view: &V) -> Result<Vec<u64>, Fault> {
    let mut all = Vec::new();
    scan_meta(view, keys::MAINTENANCE, |row, _| {
        all.push(member_of(row, keys::MAINTENANCE)?);
        Ok(())
    })?;
    Ok(all)
}

fn member_of(row: &[u8], prefix: &[u8]) -> Result<u64, Fault> {
    let id = row.strip_prefix(prefix).and_then(|id| id.try_into().ok());
    id.map(u64::from_be_bytes).ok_or_else(|| Fault::Corrupt("a row of a member's placement cannot be read".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{PlacementRule, Preference, Whom};
    use crate::test_store::TestStore;
    use crate::{Command, Machine};

    fn change(store: &mut TestStore, change: PlacementChange) -> u64 {
        assert_eq!(store.apply(&Command::Placement(Box::new(change))).0, Response::Placement);
        store.machine.digest()
    }

    fn zone(value: &str) -> Labels {
        Labels::from([("zone".into(), value.into())])
    }

    #[test]
    fn what_is_said_of_a_member_goes_with_it() {
        let mut store = TestStore::new();
        let first = change(&mut store, PlacementChange::Labels { member: 7, labels: zone("a") });
        assert_eq!(change(&mut store, PlacementChange::Labels { member: 7, labels: zone("a") }), first, "a repetition");
        change(&mut store, PlacementChange::Labels { member: 8, labels: zone("b") });
        change(&mut store, PlacementChange::Maintenance { member: 7, on: true });
        assert_eq!(labels(&store.view).unwrap(), [(7, zone("a")), (8, zone("b"))]);
        assert_eq!(in_maintenance(&store.view).unwrap(), [7]);
        store.machine = Machine::load(&store.view).unwrap();
        change(&mut store, PlacementChange::Labels { member: 8, labels: Labels::new() });
        assert_eq!(labels(&store.view).unwrap(), [(7, zone("a"))]);
        store.step(|batch| batch.members_changed(&[], &[7]));
        change(&mut store, PlacementChange::Labels { member: 7, labels: zone("a") });
        change(&mut store, PlacementChange::Maintenance { member: 7, on: true });
        assert_eq!((labels(&store.view).unwrap(), in_maintenance(&store.view).unwrap()), (vec![], vec![]));
    }

    #[test]
    fn maintenance_is_taken_back() {
        let mut store = TestStore::new();
        let on = change(&mut store, PlacementChange::Maintenance { member: 7, on: true });
        let off = change(&mut store, PlacementChange::Maintenance { member: 7, on: false });
        assert_ne!(on, off);
        assert_eq!(in_maintenance(&store.view).unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn the_default_policy_has_no_row() {
        let mut store = TestStore::new();
        let rules = vec![PlacementRule { whom: Whom::Member("a".into()), preference: Preference::Weight(3) }];
        let policy = PlacementPolicy { rules, calm_ms: 2_000 };
        change(&mut store, PlacementChange::Policy(policy.clone()));
        assert_eq!(placement(&store.view).unwrap(), policy);
        change(&mut store, PlacementChange::Policy(PlacementPolicy::default()));
        assert_eq!(placement(&store.view).unwrap(), PlacementPolicy::default());
        assert_eq!(store.view.rows(Table::Meta), 1, "the numbers of the store alone");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let mut store = TestStore::new();
        let bad = PlacementPolicy { calm_ms: 0, ..PlacementPolicy::default() };
        let labels = Labels::from([("a b".into(), "c".into())]);
        for change in [PlacementChange::Policy(bad), PlacementChange::Labels { member: 7, labels }] {
            let command = Command::Placement(Box::new(change));
            let (outcome, _) = store.step(|batch| batch.apply(crate::Position::default(), &command, true).unwrap());
            assert_eq!(outcome.result, Err(Rejection::Malformed));
        }
    }
}
