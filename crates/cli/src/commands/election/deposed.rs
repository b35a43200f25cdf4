//! How a term of this process ends without its doing, and whether the candidate stands again.

use conclave_client::{
    Cause, Client, ErrorKind, LostReason, QueueElection,
    api::conclave::v1::{Name, Term},
    queue::{ElectionEvent, ElectionEventKind, ElectionWatch},
};
use futures::{StreamExt as _, future::pending};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two attempts at a watch.
const PAUSE: Duration = Duration::from_millis(300);
/// How long history is looked into.
const LOOK: Duration = Duration::from_secs(2);

/// Whether a leader that lost its place so stands again with `--again`: it was moved, not taken
/// out. A reason that nobody can tell is no order to go.
pub(super) fn comes_back(reason: LostReason) -> bool {
    match reason {
        LostReason::TakenAway(cause) => {
            !matches!(cause, Cause::Evicted | Cause::TakenOver | Cause::Left | Cause::Expired | Cause::SessionClosed)
        }
        LostReason::KeyGone => true,
        _ => false,
    }
}

/// Ends when the cluster says that a term is over, with why.
pub(super) async fn deposed(client: Client, name: Option<Name>, id: String, term: Option<Term>) -> LostReason {
    let (Some(name), Some(term)) = (name, term) else { return pending().await };
    let election = QueueElection::new(&client, name);
    let mut from = term.revision.max(term.id) + 1;
    loop {
        if let Ok(mut changes) = election.watch(ElectionWatch::new().from_revision(from).leaders_only()).await {
            while let Some(change) = changes.next().await {
                match change {
                    Ok(change) => {
                        if let Some(reason) = over(&change, &id, term.id) {
                            return reason;
                        }
                    }
                    // History is gone: from how things stand now.
                    Err(error) if error.kind() == ErrorKind::OutOfRange => from = 0,
                    Err(_) => {}
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Why the term of a candidate is over after a change, if it is.
fn over(change: &ElectionEvent, id: &str, term: i64) -> Option<LostReason> {
    if change.kind == ElectionEventKind::Deleted {
        return Some(LostReason::Deleted);
    }
    if change.term.id == term && change.term.leader.as_deref() == Some(id) {
        return None;
    }
    // How things stand now may have come about by a later change than the one that ended the term.
    let told = change.kind != ElectionEventKind::Snapshot || change.subject.as_deref() == Some(id);
    Some(if told { LostReason::TakenAway(change.cause) } else { LostReason::KeyGone })
}

/// By what a candidate was taken out since its term began; `None` if history does not tell in time.
pub(super) async fn taken_out(client: &Client, name: Option<Name>, id: &str, term: Option<&Term>) -> Option<String> {
    let (name, from) = (name?, term?.revision.max(term?.id) + 1);
    let looking = async {
        let election = QueueElection::new(client, name);
        let mut changes = election.watch(ElectionWatch::new().from_revision(from)).await.ok()?;
        while let Some(Ok(change)) = changes.next().await {
            if let Some(why) = out(&change, id) {
                return Some(why);
            }
        }
        None
    };
    timeout(LOOK, looking).await.ok()?
}

/// By what a candidate was taken out, if it was by this change.
fn out(change: &ElectionEvent, id: &str) -> Option<String> {
    let of_it = change.kind != ElectionEventKind::Snapshot && change.subject.as_deref() == Some(id);
    match change.kind {
        ElectionEventKind::Deleted => Some(LostReason::Deleted.to_string()),
        _ if of_it => by(change.cause, &change.reason),
        _ => None,
    }
}

fn by(cause: Cause, reason: &str) -> Option<String> {
    let colon = if reason.is_empty() { "" } else { ": " };
    (!comes_back(LostReason::TakenAway(cause))).then(|| format!("{cause}{colon}{reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_a_candidate_out_is_told_with_its_reason() {
        assert_eq!(by(Cause::Evicted, "disk full").as_deref(), Some("evicted: disk full"));
        assert_eq!(by(Cause::Left, "").as_deref(), Some("left"));
        assert_eq!(by(Cause::Demoted, ""), None, "it stands yet");
    }

    #[test]
    fn what_was_moved_stands_again_and_what_was_taken_out_does_not() {
        use Cause::{
            Anointed, Demoted, Evicted, HoldEnded, Left, Preempted, Promoted, TakenOver, TransferLapsed, Transferred,
        };
        for cause in [Anointed, Demoted, HoldEnded, Preempted, Promoted, TransferLapsed, Transferred, Cause::Unknown] {
            assert!(comes_back(LostReason::TakenAway(cause)), "{cause}");
        }
        for cause in [Evicted, TakenOver, Left] {
            assert!(!comes_back(LostReason::TakenAway(cause)), "{cause}");
        }
        assert!(!comes_back(LostReason::Deleted) && comes_back(LostReason::KeyGone));
    }
}
