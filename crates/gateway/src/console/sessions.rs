//! Leases. The list is for who may read all keys, as `LeaseLeases` asks for it; one lease for who
//! may read the keys that end with it, as with `LeaseTimeToLive`.

use super::ends::{Ends, asked, left};
use super::query::Query;
use super::{PAGE, beginning};
use crate::auth::current;
use crate::gateway::Gateway;
use crate::service::conclave::decide::{look, look_at};
use crate::status::rejected;
use conclave_console::sessions::{self as shown, Lease, MOST_COUNTED, Row};
use conclave_console::{Frame, Left};
use conclave_state::{Rejection, read};
use conclave_storage::StateView;
use tonic::Status;

pub(super) async fn list(gateway: &Gateway, frame: &Frame, query: &Query) -> Result<String, Status> {
    let after = query.lease("after")?;
    let read = move |view: &StateView| {
        let mut leases = read::leases_after(view, after, PAGE + 1)?;
        let more = leases.len() > PAGE;
        leases.truncate(PAGE);
        let row = |(id, ttl_ms): (i64, u64)| {
            let keys = read::lease_key_count(view, id, MOST_COUNTED)?;
            Ok(Row { id, ttl_ms, left: Left::AtLeader, keys })
        };
        let rows = leases.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok((rows, more))
    };
    let ((mut rows, more), _) = look_at(gateway, true, true, || beginning(b""), read).await?;
    for row in &mut rows {
        row.left = left(gateway, Ends::Lease(row.id));
    }
    let next = rows.last().filter(|_| more).map(|last| last.id);
    Ok(shown::sessions(frame, gateway.node.leases.len() as u64, &rows, after.is_some(), next))
}

pub(super) async fn one(gateway: &Gateway, frame: &Frame, query: &Query) -> Result<String, Status> {
    let id = query.lease("id")?.unwrap_or(0);
    let after = Some(query.bytes("after").to_vec()).filter(|after| !after.is_empty());
    let (goes_on, caller) = (after.is_some(), current());
    let read = move |view: &StateView| {
        if let Some(auth) = view.auth()
            && let Err(refusal) = auth.check_lease_read(caller.as_ref(), view, id)?
        {
            return Ok(Err(refusal));
        }
        let Some(ttl_ms) = read::lease_ttl(view, id)? else { return Ok(Ok(None)) };
        Ok(Ok(Some((ttl_ms, read::lease_keys_after(view, id, after.as_deref(), PAGE + 1)?))))
    };
    let (found, _) = look(gateway, true, true, read).await?;
    let found = found.map_err(|refusal| rejected(Rejection::Auth(refusal)))?;
    let (ttl_ms, keys) = found.ok_or_else(|| Status::not_found("There is no lease of this id. It may have ended."))?;
    let mut keys: Vec<Vec<u8>> = keys.into_iter().map(Into::into).collect();
    let more = keys.len() > PAGE;
    keys.truncate(PAGE);
    let left = asked(gateway, Ends::Lease(id)).await;
    let next = keys.last().filter(|_| more).cloned();
    Ok(shown::session(frame, &Lease { id, ttl_ms, left, keys, goes_on, next }))
}
