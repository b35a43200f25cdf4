//! A lease never ends early: if it is known to be gone at some moment, and nobody asked for its end
//! before that, every renewal that had been sent by then and was acknowledged has run its time,
//! less what two clocks may differ. Across changes of leader, pauses, snapshots and restarts.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, millis, violation},
    },
    lease::leases,
};

pub(crate) const PROPERTY: Property = Property {
    name: "lease-early",
    workloads: &["lease", "lock", "election"],
    says: "No lease ends before its time, counted from when the last acknowledged renewal was sent.",
    judge,
};

/// Counts leases that ended by themselves.
fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for (id, lease) in leases(case) {
        let Some((gone, how, index)) = lease.gone.first() else { continue };
        if lease.revoked.is_some_and(|revoked| revoked <= *gone) {
            continue;
        }
        judged += 1;
        for renewal in lease.renewals.iter().filter(|renewal| renewal.sent <= *gone) {
            let promised = renewal.sent.saturating_add(case.at_least(renewal.ttl_ms));
            if promised > *gone {
                let sentence = format!(
                    "lease {id:x} was promised {} ms from a call that was acknowledged, but {how} {} after that call, {} early",
                    renewal.ttl_ms,
                    millis(gone - renewal.sent),
                    millis(promised - gone)
                );
                return Err(violation(&[renewal.index, *index], sentence));
            }
        }
    }
    Ok(judged)
}
