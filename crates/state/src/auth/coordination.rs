//! What operations on elections, locks and claims need.
//!
//! The rights follow from the keys that show a thing: a user who may write all keys of an
//! election's prefix may campaign in it, and one who may read them may observe it. So etcd's roles
//! govern conclave.v1 without a second model. What acts on others (anoint, promote, demote, evict,
//! delete, revoke and pin without a session of one's own) needs the *admin prefix* of the thing,
//! which holds no keys: `/_conclave/admin/e/<ns>/<name>/`. A write permission on it, on
//! `/_conclave/admin/e/<ns>/` or on all of `/_conclave/admin/` is the right to act on one thing, on
//! those of a namespace, or on all.

use super::check::Needs;
use crate::coord::{
    Coord, CoordBody, EvictEverywhere, Name, Release, RequestTransfer, Revoke, SetLimits, claim_prefix,
    election_prefix, lock_parts, lock_prefix, pins_prefix, projected,
};
use crate::view::{Fault, View};

/// The admin prefix of an election (`e`), a lock (`l`) or a claim (`c`).
pub fn admin_prefix(sort: &str, name: &Name) -> Vec<u8> {
    projected("admin", &[sort, &name.namespace, &name.name, ""])
}

/// The admin prefix of all of a sort in a namespace.
pub fn admin_of(sort: &str, namespace: &str) -> Vec<u8> {
    projected("admin", &[sort, namespace, ""])
}

/// The admin prefix of all of a sort.
pub fn admin_everywhere(sort: &str) -> Vec<u8> {
    projected("admin", &[sort, ""])
}

/// The range of keys that lists the names of a sort, in a namespace or in all.
pub fn listed(sort: &str, namespace: Option<&str>) -> crate::KeyRange {
    crate::keys::prefix_range(&match namespace {
        Some(namespace) => projected(sort, &[namespace, ""]),
        None => projected(sort, &[""]),
    })
}

pub(super) fn needs<V: View>(view: &V, coord: &Coord, needs: &mut Vec<Needs>) -> Result<(), Fault> {
    if coord.session != 0 {
        needs.push(Needs::Lease(coord.session));
    }
    let own = coord.session != 0;
    let mut write = |prefix| needs.push(Needs::WritePrefix(prefix));
    match &coord.body {
        CoordBody::Enter(enter) => write(election_prefix(&enter.election)),
        CoordBody::ProclaimTerm(proclaim) => write(election_prefix(&proclaim.election)),
        CoordBody::Transfer(transfer) => write(election_prefix(&transfer.election)),
        CoordBody::Leave(leave) if own => write(election_prefix(&leave.election)),
        CoordBody::Leave(leave) => write(admin_prefix("e", &leave.election)),
        CoordBody::RequestTransfer(RequestTransfer { election, force: false, .. }) => write(election_prefix(election)),
        CoordBody::RequestTransfer(request) => write(admin_prefix("e", &request.election)),
        CoordBody::Anoint(anoint) => write(admin_prefix("e", &anoint.election)),
        CoordBody::Promote(promote) => write(admin_prefix("e", &promote.election)),
        CoordBody::Demote(demote) => write(admin_prefix("e", &demote.election)),
        CoordBody::Evict(evict) => write(admin_prefix("e", &evict.election)),
        CoordBody::DeleteElection(election) => write(admin_prefix("e", election)),
        CoordBody::EvictEverywhere(EvictEverywhere { namespace: Some(namespace), .. }) => {
            write(admin_of("e", namespace));
        }
        CoordBody::EvictEverywhere(_) => write(admin_everywhere("e")),
        CoordBody::Acquire(acquire) => acquire.parts.iter().for_each(|part| write(lock_prefix(&part.lock))),
        CoordBody::Release(Release { fence, evict, .. }) => {
            // A request that is not there has no names; the answer says no more than that.
            for lock in lock_parts(view, *fence)? {
                write(if *evict || !own { admin_prefix("l", &lock) } else { lock_prefix(&lock) });
            }
        }
        CoordBody::Claim(items) => items.iter().for_each(|item| write(claim_prefix(&item.claim))),
        CoordBody::Unclaim(unclaim) if own => write(claim_prefix(&unclaim.claim)),
        CoordBody::Unclaim(unclaim) => write(admin_prefix("c", &unclaim.claim)),
        // A holder that gives its claim back names itself.
        CoordBody::Revoke(Revoke { claim, holder: Some(_), instance: Some(_) }) => write(claim_prefix(claim)),
        CoordBody::Revoke(revoke) => write(admin_prefix("c", &revoke.claim)),
        CoordBody::Pin(pin) if own => write(pins_prefix(&pin.claim)),
        CoordBody::Pin(pin) => write(admin_prefix("c", &pin.claim)),
        CoordBody::Unpin(unpin) if own => write(pins_prefix(&unpin.claim)),
        CoordBody::Unpin(unpin) => write(admin_prefix("c", &unpin.claim)),
        CoordBody::SetLimits(SetLimits { namespace, .. }) => write(admin_of("n", namespace)),
    }
    Ok(())
}
