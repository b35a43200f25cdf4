//! No zombie waits: a call whose key is gone, because its lease ran out or somebody deleted it,
//! ends within the bound of the run. (That it does not end with a grant is the property `grants`.)
//! Not judged where the server does not promise it (`zombies_fail`).

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, millis, violation},
    },
    waiting::{lines, waits},
};

pub(crate) const PROPERTY: Property = Property {
    name: "zombies",
    workloads: &["lock", "election", "queue"],
    says: "A waiting call whose place is gone ends soon.",
    judge,
};

/// Counts calls whose place ended or stands.
fn judge(case: &Case<'_>) -> Judged {
    let lines = lines(case);
    let mut judged = 0;
    for wait in waits(case, &lines).into_iter().filter(|wait| wait.stands_for_it) {
        judged += 1;
        let before = wait.granted.is_some_and(|granted| granted < wait.place.until);
        let Some((gone, index)) = case.timeline.seen(wait.place.until) else { continue };
        if before || !case.run.bounds.zombies_fail {
            continue;
        }
        // A waiter's key that is replaced by a holder's in one revision is a grant.
        let holder = wait.place.key.replace("/q/", "/holder/");
        if holder != wait.place.key && case.timeline.at(&holder, wait.place.until).is_some() {
            continue;
        }
        let due = case.due_for_clients(gone.max(wait.op.invoked), case.run.bounds.wake);
        let over = wait.over.unwrap_or(case.ended);
        if over > due {
            let sentence = format!(
                "{} was gone at revision {}, and the call that waited for {} went on for {}",
                wait.place.key,
                wait.place.until,
                wait.name,
                millis(over - gone)
            );
            return Err(violation(&[index, wait.op.index, wait.op.completed], sentence));
        }
    }
    Ok(judged)
}
