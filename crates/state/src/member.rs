//! What is remembered of members, and commands about members and alarms. The rows are in the meta
//! table.
//!
//! Who is a member is in the membership of consensus. The rows here follow it, in the entry that
//! changes it:
//!
//! 1. The id of a removed member has a row for ever. No command gives it another one again.
//! 2. A member that was added to a running cluster has a row, in which the first data directory
//!    that was started as this member claims it ([`Join`]). The members of the first start have
//!    none: they know each other's directories by the registry in the log.

use crate::keys::{self, promote_row, removed_row, supports_row};
use crate::machine::Batch;
use crate::meta::{alarm_row, scan_meta};
use crate::view::{Fault, Table, View};
use crate::{Admission, AlarmChange, Join, Member, Response};

impl<V: View> Batch<'_, V> {
    /// Publishes a member's name and client URLs. What a removed member still says has no effect.
    pub(crate) fn announce(&mut self, member: &Member) -> Result<Response, Fault> {
        if self.rows.get(Table::Meta, &removed_row(member.id))?.is_none() {
            let row = encode_member(member);
            self.machine.digest.other(7, &row);
            self.rows.put(Table::Meta, member_row(member.id), row);
        }
        Ok(Response::Announce)
    }

    pub(crate) fn join(&mut self, join: Join) -> Result<Response, Fault> {
        let Join { member, incarnation } = join;
        if self.rows.get(Table::Meta, &removed_row(member))?.is_some() {
            return Ok(Response::Join(Admission::Removed));
        }
        let row = added_row(member);
        let Some(holder) = self.rows.get(Table::Meta, &row)? else {
            return Ok(Response::Join(Admission::Unknown));
        };
        let claim = incarnation.to_be_bytes();
        Ok(Response::Join(match &holder[..] {
            [] => {
                self.machine.digest.other(22, &[&row, &claim[..]].concat());
                self.rows.put(Table::Meta, row, claim.to_vec());
                Admission::Admitted
            }
            holder if holder == claim => Admission::Admitted,
            _ => Admission::Taken,
        }))
    }

    /// Follows a change of the membership. A member of the first membership is in neither list.
    pub fn members_changed(&mut self, added: &[u64], removed: &[u64]) {
        for member in added {
            let row = added_row(*member);
            self.machine.digest.other(20, &row);
            self.rows.put(Table::Meta, row, Vec::new());
        }
        for member in removed {
            let row = removed_row(*member);
            self.machine.digest.other(21, &row);
            self.rows.put(Table::Meta, row, Vec::new());
            self.rows.delete(Table::Meta, member_row(*member));
            self.rows.delete(Table::Meta, added_row(*member));
            self.rows.delete(Table::Meta, supports_row(*member));
            self.rows.delete(Table::Meta, promote_row(*member));
            self.forget_placement(*member);
        }
    }

    /// Raises or clears an alarm. The answer names it, unless there was none to clear.
    pub(crate) fn alarm(&mut self, change: AlarmChange) -> Response {
        let AlarmChange { raise, alarm } = change;
        let row = alarm_row(alarm);
        let changed = if raise { self.machine.alarms.insert(alarm) } else { self.machine.alarms.remove(&alarm) };
        if changed {
            self.machine.digest.other(if raise { 8 } else { 9 }, &row);
            if raise {
                self.rows.put(Table::Meta, row, Vec::new());
            } else {
                self.rows.delete(Table::Meta, row);
            }
        }
        Response::Alarm { alarms: if raise || changed { vec![alarm] } else { Vec::new() } }
    }
}

/// The published members, by id.
pub fn members<V: View>(view: &V) -> Result<Vec<Member>, Fault> {
    let mut members = Vec::new();
    scan_meta(view, keys::MEMBERS, |row, value| {
        members.push(decode_member(row, value)?);
        Ok(())
    })?;
    Ok(members)
}

/// The members that were removed, by id.
pub fn removed<V: View>(view: &V) -> Result<Vec<u64>, Fault> {
    let mut removed = Vec::new();
    scan_meta(view, keys::REMOVED, |row, _| {
        let id = row.strip_prefix(keys::REMOVED).and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| Fault::Corrupt("a row of a removed member cannot be read".into()))?;
        removed.push(u64::from_be_bytes(id));
        Ok(())
    })?;
    Ok(removed)
}

/// Whether a member with this id was removed.
pub fn was_removed<V: View>(view: &V, member: u64) -> Result<bool, Fault> {
    Ok(view.get(Table::Meta, &removed_row(member))?.is_some())
}

fn member_row(id: u64) -> Vec<u8> {
    [keys::MEMBERS, &id.to_be_bytes()[..]].concat()
}

fn added_row(id: u64) -> Vec<u8> {
    [keys::ADDED, &id.to_be_bytes()[..]].concat()
}

/// The name, then the URLs, each with its length before it.
fn encode_member(member: &Member) -> Vec<u8> {
    let mut row = Vec::new();
    for text in std::iter::once(&member.name).chain(&member.client_urls) {
        row.extend_from_slice(&(text.len() as u64).to_be_bytes());
        row.extend_from_slice(text.as_bytes());
    }
    row
}

pub(crate) fn decode_member(row: &[u8], value: &[u8]) -> Result<Member, Fault> {
    let unknown = || Fault::Corrupt("a row of a member cannot be read".into());
    let id = row.strip_prefix(keys::MEMBERS).and_then(|id| id.try_into().ok()).ok_or_else(unknown)?;
    let mut texts = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<8>().ok_or_else(unknown)?;
        let len = usize::try_from(u64::from_be_bytes(*len)).map_err(|_| unknown())?;
        let (text, tail) = tail.split_at_checked(len).ok_or_else(unknown)?;
        texts.push(String::from_utf8(text.to_vec()).map_err(|_| unknown())?);
        rest = tail;
    }
    if texts.is_empty() {
        return Err(unknown());
    }
    let name = texts.remove(0);
    Ok(Member { id: u64::from_be_bytes(id), name, client_urls: texts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::decode_alarm;
    use crate::test_store::TestStore;
    use crate::{Alarm, AlarmKind, Command, Machine};

    fn join(store: &mut TestStore, member: u64, incarnation: u64) -> Admission {
        match store.apply(&Command::Join(Join { member, incarnation })).0 {
            Response::Join(admission) => admission,
            other => panic!("{other:?}"),
        }
    }

    fn announce(store: &mut TestStore, id: u64) {
        store.apply(&Command::Announce(Member { id, name: "m".into(), client_urls: Vec::new() }));
    }

    fn announced(store: &TestStore) -> Vec<u64> {
        members(&store.view).unwrap().into_iter().map(|member| member.id).collect()
    }

    #[test]
    fn one_directory_claims_an_added_member() {
        let mut store = TestStore::new();
        assert_eq!(join(&mut store, 4, 9), Admission::Unknown, "nobody was added");
        store.step(|batch| batch.members_changed(&[4], &[]));
        assert_eq!(join(&mut store, 4, 9), Admission::Admitted);
        assert_eq!(join(&mut store, 4, 9), Admission::Admitted, "a repetition");
        assert_eq!(join(&mut store, 4, 8), Admission::Taken);
        assert_eq!(join(&mut store, 1, 9), Admission::Unknown, "of the first start");
    }

    #[test]
    fn a_removed_member_stays_removed() {
        let mut store = TestStore::new();
        store.step(|batch| batch.members_changed(&[4], &[]));
        assert_eq!(join(&mut store, 4, 9), Admission::Admitted);
        announce(&mut store, 4);
        announce(&mut store, 1);
        assert_eq!(announced(&store), [1, 4]);
        let before = store.machine.digest();
        store.step(|batch| batch.members_changed(&[], &[4]));
        assert_ne!(store.machine.digest(), before);
        assert_eq!(removed(&store.view).unwrap(), [4]);
        assert!(was_removed(&store.view, 4).unwrap() && !was_removed(&store.view, 1).unwrap());
        assert_eq!(join(&mut store, 4, 9), Admission::Removed);
        announce(&mut store, 4);
        assert_eq!(announced(&store), [1], "a late announcement has no effect");
        // All of it is in the rows.
        store.machine = Machine::load(&store.view).unwrap();
        assert_eq!(join(&mut store, 4, 9), Admission::Removed);
    }

    #[test]
    fn members_and_alarms_read_back_as_written() {
        let member = Member { id: 7, name: String::new(), client_urls: vec!["http://a:1".into(), String::new()] };
        assert_eq!(decode_member(&member_row(7), &encode_member(&member)).unwrap(), member);
        assert!(decode_member(&member_row(7), &[0; 7]).is_err());
        assert!(decode_member(&member_row(7), &[0xff; 9]).is_err());
        for kind in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
            let alarm = Alarm { member: u64::MAX, kind };
            assert_eq!(decode_alarm(&alarm_row(alarm)).unwrap(), alarm);
        }
    }
}
