//! Watching who holds a claim.

use super::super::decide::look;
use super::vacancy::ended;
use crate::auth::Reading;
use crate::convert::conclave::cause;
use crate::convert::conclave::claim::Watch;
use crate::follow::{Batch, Span, Subscription};
use crate::gateway::Gateway;
use crate::service::conclave::values::{self, TenureValue};
use crate::service::etcd::watch::WatchContext;
use crate::status::fault;
use conclave_api::conclave::v1::claim_event::Type;
use conclave_api::conclave::v1::{Cause, ClaimEvent};
use conclave_state::auth::prefix_range;
use conclave_state::coord::read::HolderState;
use conclave_state::coord::{Shown, claim_prefix, read, revoked_key, tenure_key, tenures_prefix};
use conclave_state::{Event, EventKind, Fault, Name, View, read as store};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use tonic::Status;

pub(super) async fn events(
    gateway: Arc<Gateway>,
    watch: Watch,
    require_leader: bool,
) -> Result<BoxStream<'static, Result<ClaimEvent, Status>>, Status> {
    let end = gateway.stream_end(require_leader)?;
    let end = Reading::new(&gateway.access).guard(prefix_range(&claim_prefix(&watch.claim)), end)?;
    let Watch { claim, from, snapshot } = watch;
    let mut tenures = gateway.feed.subscribe(Span::prefix(tenures_prefix(&claim)), from);
    let mut first = None;
    if from.is_none() {
        let name = claim.clone();
        let ((holder, value), revision) = look(&gateway, false, false, move |view| present(view, &name)).await?;
        tenures.skip(revision);
        if snapshot {
            let header = Some(gateway.header(revision));
            first = Some(ClaimEvent { header, ..of_tenure(Type::Snapshot, holder, value.unwrap_or_default()) });
        }
    }
    let following = stream::unfold(Some((gateway, tenures, end)), |live| async {
        let (gateway, mut tenures, mut end) = live?;
        let event = tokio::select! {
            event = following(&gateway, &mut tenures) => event,
            status = &mut end => Err(status),
        };
        match event {
            Ok(event) => Some((Ok(event), Some((gateway, tenures, end)))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(stream::iter(first.map(Ok)).chain(following).boxed())
}

/// Who holds the claim, and what the key of the tenure says.
fn present<V: View>(view: &V, claim: &Name) -> Result<(Option<HolderState>, Option<TenureValue>), Fault> {
    let holder = read::claim(view, claim)?.and_then(|state| state.holder);
    let key = holder.as_ref().map(|holder| tenure_key(claim, holder.fence));
    let shown = key.map(|key| store::version_at(view, &key, i64::MAX)).transpose()?.flatten();
    Ok((holder, shown.and_then(|shown| values::value(&shown.value))))
}

async fn following(gateway: &Gateway, tenures: &mut Subscription) -> Result<ClaimEvent, Status> {
    loop {
        let batch = tenures.next().await.map_err(ended)?;
        let header = Some(gateway.header(batch.revision));
        if let Some(event) = begun(&batch) {
            return Ok(ClaimEvent { header, ..event });
        }
        if let Some(over) = batch.events.iter().find(|event| event.kind == EventKind::Delete) {
            let event = ended_at(&gateway.node.state.view(), &over.kv.key, batch.revision).map_err(fault)?;
            return Ok(ClaimEvent { header, ..event });
        }
    }
}

/// Of a tenure that ended there and was followed by none: its time was over, unless the revision
/// notes a revocation. Why it was is not known if that revision is compacted: the note may be gone.
fn ended_at<V: View>(view: &V, tenure: &[u8], revision: i64) -> Result<ClaimEvent, Fault> {
    // Not there any more if it was compacted meanwhile.
    let before = store::version_at(view, tenure, revision - 1)?;
    let before: TenureValue = before.and_then(|kv| values::value(&kv.value)).unwrap_or_default();
    let noted = match Shown::parse(tenure) {
        Some(Shown::Tenure { claim, .. }) => store::version_at(view, &revoked_key(&claim.namespace), revision)?,
        _ => None,
    };
    let cause = match noted {
        Some(note) if note.mod_revision == revision => Cause::Revoked,
        _ if revision < store::meta(view)?.compacted => Cause::Unspecified,
        _ => Cause::Expired,
    };
    Ok(ClaimEvent {
        r#type: Type::Vacant.into(),
        cause: cause.into(),
        previous_holder: before.holder,
        ..ClaimEvent::default()
    })
}

fn begun(batch: &Batch) -> Option<ClaimEvent> {
    batch.events.iter().find_map(|event: &Event| {
        let value: TenureValue = values::put(event)?;
        let Some(Shown::Tenure { fence, .. }) = Shown::parse(&event.kv.key) else { return None };
        let (holder, instance) = (value.holder.clone(), value.instance.clone());
        let (longest_ms, timer, session, shared) = (0, 0, 0, false);
        let holder = HolderState { holder, instance, fence, longest_ms, timer, session, shared };
        Some(of_tenure(Type::Held, Some(holder), value))
    })
}

fn of_tenure(r#type: Type, holder: Option<HolderState>, value: TenureValue) -> ClaimEvent {
    let TenureValue { cause: why, previous, .. } = value;
    let event = ClaimEvent {
        r#type: r#type.into(),
        cause: why.map_or(Cause::Unspecified, cause).into(),
        previous_holder: previous,
        ..ClaimEvent::default()
    };
    match holder {
        Some(HolderState { holder, instance, fence, .. }) => ClaimEvent { holder, instance, fence, ..event },
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::tests::{World, coord_command, name};
    use conclave_state::{Claim, CoordBody, Revoke};

    fn cause_of_end(world: &World, fence: i64, revision: i64) -> Cause {
        let store = world.store.lock();
        ended_at(&store.view, &tenure_key(&name("c"), fence), revision).unwrap().cause()
    }

    fn claim_and_revoke(world: &World, of: &str) -> (i64, i64) {
        let claim = Claim {
            claim: name(of),
            holder: "h".into(),
            instance: "i".into(),
            duration_ms: 60_000,
            ..Claim::default()
        };
        let revoke = Revoke { claim: name(of), ..Revoke::default() };
        let commands = [CoordBody::Claim(vec![claim]), CoordBody::Revoke(revoke)].map(coord_command);
        let outcomes = world.apply(&commands);
        (outcomes[0].revision, outcomes[1].revision)
    }

    #[test]
    fn why_a_tenure_ended_is_not_guessed_once_it_is_compacted() {
        let world = World::new();
        let (fence, end) = claim_and_revoke(&world, "c");
        assert_eq!(cause_of_end(&world, fence, end), Cause::Revoked);
        assert_eq!(cause_of_end(&world, fence, fence), Cause::Expired);
        claim_and_revoke(&world, "other");
        world.compact(end);
        assert_eq!(cause_of_end(&world, fence, end), Cause::Revoked);
        world.compact(world.revision());
        assert_eq!(cause_of_end(&world, fence, end), Cause::Unspecified);
    }
}
