//! A renewal tells the truth: none that was sent after the lease is known to be gone is
//! acknowledged, and no lease has more time left than it was ever granted.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, millis, violation},
    },
    lease::leases,
};
use crate::history::{Answer, Call, LeaseAnswer, LeaseCall};

pub(crate) const PROPERTY: Property = Property {
    name: "lease-renewal",
    workloads: &["lease", "lock", "election"],
    says: "An acknowledged renewal found the lease alive.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for (id, lease) in leases(case) {
        judged += lease.renewals.len();
        let Some((gone, how, index)) = lease.gone.first() else { continue };
        // The same id granted again after its end is a lease of its own.
        let granted_again = |sent: u64| {
            case.run.ops.iter().any(|op| {
                matches!(&op.call, Call::Lease(LeaseCall::Grant { lease, .. }) if *lease == id)
                    && op.returned > *gone
                    && op.invoked <= sent
            })
        };
        if let Some(renewal) =
            lease.renewals.iter().find(|renewal| renewal.sent > *gone && !granted_again(renewal.sent))
        {
            let sentence =
                format!("lease {id:x} was renewed by a call sent {} after {how}", millis(renewal.sent - gone));
            return Err(violation(&[*index, renewal.index], sentence));
        }
    }
    for op in &case.run.ops {
        if let Some(Answer::Lease(LeaseAnswer::Remains { granted_ms, remaining_ms, .. })) = op.answer()
            && *remaining_ms > *granted_ms as i64
        {
            let sentence = format!("a lease granted for {granted_ms} ms has {remaining_ms} ms left");
            return Err(violation(&[op.index, op.completed], sentence));
        }
    }
    Ok(judged)
}
