//! Every kind of coordination row, for the fuzz target.

use super::field::{Field, decode, encode};
use super::row::{
    Candidate, ClaimHead, ClaimWaiter, Dependent, ElectionHead, LockHead, LockRequest, PendingTransfer, PinRow, Place,
    Tenure, TimerRow,
};
use super::{CoordResponse, Limits, Name};
use std::fmt::Debug;

/// Decodes the row as this kind. A decoded row is encoded again and must decode to the same.
pub(crate) fn coordination_row(kind: u8, row: &[u8]) -> String {
    match kind % 15 {
        0 => read::<ElectionHead>(row),
        1 => read::<PendingTransfer>(row),
        2 => read::<Place>(row),
        3 => read::<Candidate>(row),
        4 => read::<LockHead>(row),
        5 => read::<LockRequest>(row),
        6 => read::<ClaimHead>(row),
        7 => read::<Tenure>(row),
        8 => read::<ClaimWaiter>(row),
        9 => read::<PinRow>(row),
        10 => read::<Dependent>(row),
        11 => read::<TimerRow>(row),
        12 => read::<Limits>(row),
        13 => read::<CoordResponse>(row),
        _ => read::<Vec<(String, Option<Name>)>>(row),
    }
}

fn read<T: Field + Debug>(row: &[u8]) -> String {
    let found = decode::<T>(row);
    if let Ok(value) = &found {
        let again = decode::<T>(&encode(value)).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{value:?}"));
    }
    format!("{found:?}")
}
