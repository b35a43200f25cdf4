//! Claims and locks on the host: there is no planned transfer, so they are told, or taken away.

use super::{
    super::{
        Context, lock_pages,
        names::{self, dedupe_id},
        wire,
    },
    DrainArgs,
    host::Host,
    report::{Outcome, Report, Row},
};
use crate::failure::Result;
use conclave_client::api::conclave::v1::{
    Caller, Expect, GetClaimRequest, LockRequestState, Name, ReleaseRequest, RevokeRequest,
};

const LEFT: &str = "it goes with its holder, or with --evict";

fn row(kind: &'static str, name: &Name, from: &str, to: String) -> Row {
    let namespace = names::namespace(name);
    let (name, from) = (name.name.clone(), from.to_owned());
    Row { kind, name, namespace, from, to, outcome: Outcome::Stayed, why: LEFT.into() }
}

/// Takes it away, or says what would be done.
async fn take(args: &DrainArgs, row: Row, order: impl Future<Output = Result<()>>) -> Row {
    let why = if row.to.is_empty() { "nobody waits" } else { "" };
    match (args.evict, args.dry_run) {
        (false, _) => row,
        (true, true) => Row { outcome: Outcome::Would, why: why.into(), ..row },
        (true, false) => match order.await {
            Ok(()) => Row { outcome: Outcome::Evicted, why: why.into(), ..row },
            Err(failure) => Row { why: failure.message().to_owned(), ..row },
        },
    }
}

pub(super) async fn claims(context: &Context, args: &DrainArgs, host: &Host, report: &mut Report) -> Result<()> {
    let (_, found) = names::all_names(context, &args.list, wire::list_claims).await?;
    for name in found {
        let request = GetClaimRequest { claim: Some(name.clone()), limit: 1, ..GetClaimRequest::default() };
        let claim = context.link.read(|channel| wire::get_claim(channel, request.clone())).await?;
        if claim.holder.is_empty() || !host.has(&claim.holder) {
            continue;
        }
        let next = claim.waiting.first().map(|waiter| waiter.holder.clone()).unwrap_or_default();
        let expect = Expect { fence: Some(claim.fence), ..Expect::default() };
        let request = RevokeRequest {
            caller: Some(Caller { session: 0, dedupe_id: dedupe_id(), expect: Some(expect) }),
            claim: Some(name.clone()),
            holder: Some(claim.holder.clone()),
            instance: None,
        };
        let order =
            async { context.link.repeat(|channel| wire::revoke_claim(channel, request.clone())).await.map(drop) };
        report.rows.push(take(args, row("claim", &name, &claim.holder, next), order).await);
    }
    Ok(())
}

pub(super) async fn locks(context: &Context, args: &DrainArgs, host: &Host, report: &mut Report) -> Result<()> {
    let (_, found) = names::all_names(context, &args.list, wire::list_locks).await?;
    for name in found {
        let lock = lock_pages::whole(context, &name).await?;
        let next = lock.waiting.first().map(names::owner).unwrap_or_default();
        let here: Vec<&LockRequestState> =
            lock.holders.iter().filter(|holder| host.has(&names::owner(holder))).collect();
        for holder in here {
            let request = ReleaseRequest {
                caller: Some(Caller { session: 0, dedupe_id: dedupe_id(), expect: None }),
                fence: holder.fence,
                evict: true,
                cooldown_ms: 0,
            };
            let order =
                async { context.link.repeat(|channel| wire::release(channel, request.clone())).await.map(drop) };
            let held = row("lock", &name, &names::owner(holder), next.clone());
            report.rows.push(take(args, held, order).await);
        }
    }
    Ok(())
}
