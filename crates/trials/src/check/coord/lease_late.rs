//! A lease that is no longer renewed ends in bounded time: by the end of its last possible renewal,
//! plus its time to live, plus the bound of the run; counted anew from the end of every fault of
//! the servers and from every change of leader (who grants each lease its whole time again). Judged
//! only where a sentinel or a question could tell.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, millis, violation},
    },
    lease::leases,
};

pub(crate) const PROPERTY: Property = Property {
    name: "lease-late",
    workloads: &["lease"],
    says: "A lease that is not renewed is gone soon after its time.",
    judge,
};

/// Counts leases that had to be gone within the run.
fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for (id, lease) in leases(case) {
        let Some(ttl_ms) = lease.renewals.iter().map(|renewal| renewal.ttl_ms).max() else { continue };
        let could_tell = lease.watched || !lease.gone.is_empty();
        if lease.revoked.is_some() || !could_tell {
            continue;
        }
        let (received, index) =
            lease.renewals.iter().map(|renewal| (renewal.received, renewal.index)).max().unwrap_or((0, 0));
        let due = case.due(received.max(lease.doubtful), ttl_ms * 1_000_000 + case.run.bounds.late);
        let (until, mut window) = match lease.gone.first() {
            Some((gone, _, index)) => (*gone, vec![*index]),
            None => (case.ended, Vec::new()),
        };
        if until > due {
            window.push(index);
            let state = if lease.gone.is_empty() { "was still there" } else { "was seen gone only" };
            let sentence = format!(
                "lease {id:x} of {ttl_ms} ms, last renewed by the call that was acknowledged in record {index}, {state} {} after that, {} too late",
                millis(until - received),
                millis(until - due)
            );
            return Err(violation(&window, sentence));
        }
        judged += usize::from(!lease.gone.is_empty());
    }
    Ok(judged)
}
