//! What tokens from before a backup could prove, and the commands that end it ([`crate::import`]).

use super::row::{self, ClaimHead, ElectionHead, LockRequest};
use super::{Coord, CoordBody, Evict, Kind, Name, Release, Revoke, field, keys};
use crate::Command;
use crate::view::{Fault, Step, View};

/// Why a tenure ended, for those who look.
const REASON: &str = "restored from a backup";

#[derive(Default)]
pub(crate) struct Tenures {
    pub(crate) leaders: Vec<(Name, String)>,
    /// Fences of requests for locks, granted and waiting.
    pub(crate) requests: Vec<i64>,
    pub(crate) claims: Vec<Name>,
}

pub(crate) fn tenures<V: View>(view: &V) -> Result<Tenures, Fault> {
    let mut found = Tenures::default();
    let name = |key: &[u8]| row::must(keys::split_head(key), "a head");
    row::each(view, keys::heads(Kind::Election).all(), |key, head: ElectionHead| {
        if let Some(leader) = head.leader {
            found.leaders.push((name(key)?, leader));
        }
        Ok(Step::Next)
    })?;
    row::each(view, keys::heads(Kind::Claim).all(), |key, head: ClaimHead| {
        if head.tenure.is_some() {
            found.claims.push(name(key)?);
        }
        Ok(Step::Next)
    })?;
    row::each(view, keys::requests().all(), |key, _: LockRequest| {
        found.requests.push(row::must(keys::split_id(key), "a request")?.cast_signed());
        Ok(Step::Next)
    })?;
    Ok(found)
}

pub(crate) fn commands(tenures: &Tenures) -> impl Iterator<Item = Command> + '_ {
    let coord = |body| Command::Coord(Box::new(Coord { session: 0, dedupe: None, expect: None, body }));
    // The youngest request first: none is granted because an older one ended.
    let requests =
        tenures.requests.iter().rev().map(|&fence| CoordBody::Release(Release { fence, evict: true, cooldown_ms: 0 }));
    let leaders = tenures.leaders.iter().map(|(election, leader)| {
        let (election, candidate, reason) = (election.clone(), leader.clone(), REASON.into());
        CoordBody::Evict(Evict { election, candidate, cooldown_ms: 0, reason, ignore_missing: true })
    });
    let claims = tenures
        .claims
        .iter()
        .map(|claim| CoordBody::Revoke(Revoke { claim: claim.clone(), holder: None, instance: None }));
    requests.chain(leaders).chain(claims).map(coord)
}

/// A key and a value.
type Row = (Vec<u8>, Vec<u8>);

/// The row of the last id given to a timer or a place in line, raised.
pub(crate) fn raised_ids<V: View>(view: &V, raise: u64) -> Result<Option<Row>, Fault> {
    let Some(last) = row::get::<_, u64>(view, keys::LAST_ID)? else { return Ok(None) };
    let raised = last.checked_add(raise).ok_or_else(|| Fault::Corrupt("the ids are used up".into()))?;
    Ok(Some((keys::LAST_ID.to_vec(), field::encode(&raised))))
}
