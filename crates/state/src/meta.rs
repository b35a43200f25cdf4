//! The meta table: the store's numbers, and the alarms.

use crate::bounds::Meta;
use crate::keys;
use crate::overlay::Overlay;
use crate::view::{Fault, Step, Table, View};
use crate::{Alarm, AlarmKind};

/// The numbers of the store.
pub fn meta<V: View>(view: &V) -> Result<Meta, Fault> {
    Ok(view.decoded(Table::Meta, keys::STORE, |row| decode_meta(row))?.unwrap_or(Meta::EMPTY))
}

/// The alarms that are raised, by kind and member.
pub fn alarms<V: View>(view: &V) -> Result<Vec<Alarm>, Fault> {
    let mut alarms = Vec::new();
    scan_meta(view, keys::ALARMS, |row, _| {
        alarms.push(decode_alarm(row)?);
        Ok(())
    })?;
    Ok(alarms)
}

pub(crate) fn scan_meta<V: View>(
    view: &V,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let below = keys::successor(prefix).expect("the prefixes of the meta table are text");
    view.scan(Table::Meta, prefix, &below, &mut |row, value| visit(row, value).map(|()| Step::Next))
}

pub(crate) fn store_meta<V: View>(rows: &mut Overlay<'_, V>, meta: &Meta) {
    let mut row = Vec::with_capacity(24);
    row.extend_from_slice(&meta.revision.to_be_bytes());
    row.extend_from_slice(&meta.compacted.to_be_bytes());
    row.extend_from_slice(&meta.digest.to_be_bytes());
    rows.put(Table::Meta, keys::STORE.to_vec(), row);
}

pub(crate) fn decode_meta(row: &[u8]) -> Result<Meta, Fault> {
    let number = |at: usize| row.get(at..at + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    match (number(0), number(8), number(16)) {
        (Some(revision), Some(compacted), Some(digest)) => Ok(Meta {
            revision: i64::from_be_bytes(revision),
            compacted: i64::from_be_bytes(compacted),
            digest: u64::from_be_bytes(digest),
        }),
        _ => Err(Fault::Corrupt("the row of the store's numbers is too short".into())),
    }
}

pub(crate) fn alarm_row(alarm: Alarm) -> Vec<u8> {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    };
    [keys::ALARMS, &[kind], &alarm.member.to_be_bytes()].concat()
}

pub(crate) fn decode_alarm(row: &[u8]) -> Result<Alarm, Fault> {
    let unknown = || Fault::Corrupt("a row of an alarm cannot be read".into());
    let (kind, member) = row.strip_prefix(keys::ALARMS).and_then(<[u8]>::split_first).ok_or_else(unknown)?;
    let kind = match kind {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return Err(unknown()),
    };
    let member = member.try_into().map_err(|_| unknown())?;
    Ok(Alarm { member: u64::from_be_bytes(member), kind })
}
