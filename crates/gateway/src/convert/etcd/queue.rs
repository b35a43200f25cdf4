//! Messages of Lock and Election: places in native queues.

use super::{Limits, key_value};
use crate::status::Invalid;
use crate::waiters::{AcquireRequest, Acquired};
use bytes::Bytes;
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderResponse, ProclaimRequest, ResignRequest,
};
use conclave_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use conclave_state::{Command, Dequeue, DequeueBy, KeyValue, Proclaim, QueueKind};
use prost::Message;

pub fn lock(request: LockRequest, limits: Limits) -> Result<AcquireRequest, Invalid> {
    limits.admit(request.encoded_len())?;
    Ok(AcquireRequest { kind: QueueKind::Lock, name: request.name, lease: request.lease, value: Bytes::new() })
}

pub fn campaign(request: CampaignRequest, limits: Limits) -> Result<AcquireRequest, Invalid> {
    limits.admit(request.encoded_len())?;
    Ok(AcquireRequest { kind: QueueKind::Election, name: request.name, lease: request.lease, value: request.value })
}

pub fn unlock(request: UnlockRequest, limits: Limits) -> Result<Command, Invalid> {
    limits.admit(request.encoded_len())?;
    let key = some(request.key)?;
    Ok(Command::Dequeue(Dequeue { key, by: DequeueBy::Lock }))
}

/// The lease in the request is not looked at: the key keeps the one it has.
pub fn proclaim(request: ProclaimRequest, limits: Limits) -> Result<Command, Invalid> {
    limits.admit(request.encoded_len())?;
    let leader = request.leader.ok_or(Invalid::LeaderMissing)?;
    let (key, create_revision) = (some(leader.key)?, leader.rev);
    Ok(Command::Proclaim(Proclaim { key, create_revision, value: request.value }))
}

pub fn resign(request: ResignRequest, limits: Limits) -> Result<Command, Invalid> {
    limits.admit(request.encoded_len())?;
    let leader = request.leader.ok_or(Invalid::LeaderMissing)?;
    let (key, create_revision) = (some(leader.key)?, leader.rev);
    Ok(Command::Dequeue(Dequeue { key, by: DequeueBy::CreateRevision(create_revision) }))
}

fn some(key: Bytes) -> Result<Bytes, Invalid> {
    if key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(key) }
}

#[must_use]
pub fn locked(header: ResponseHeader, acquired: Acquired) -> LockResponse {
    LockResponse { header: Some(header), key: acquired.place.key }
}

/// `rev`, the create revision, is the term and the fencing token.
#[must_use]
pub fn elected(header: ResponseHeader, name: Bytes, acquired: Acquired) -> CampaignResponse {
    let place = acquired.place;
    let leader = LeaderKey { name, key: place.key, rev: place.create_revision, lease: place.lease };
    CampaignResponse { header: Some(header), leader: Some(leader) }
}

#[must_use]
pub fn leader(header: ResponseHeader, kv: KeyValue) -> LeaderResponse {
    LeaderResponse { header: Some(header), kv: Some(key_value(kv)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_request_bytes: 100, max_txn_ops: 128 };

    #[test]
    fn a_leader_must_be_named() {
        assert_eq!(proclaim(ProclaimRequest::default(), LIMITS), Err(Invalid::LeaderMissing));
        assert_eq!(resign(ResignRequest::default(), LIMITS), Err(Invalid::LeaderMissing));
        let nobody = Some(LeaderKey::default());
        assert_eq!(resign(ResignRequest { leader: nobody.clone() }, LIMITS), Err(Invalid::EmptyKey));
        assert_eq!(proclaim(ProclaimRequest { leader: nobody, value: Bytes::new() }, LIMITS), Err(Invalid::EmptyKey));
    }

    #[test]
    fn unlock_needs_a_key() {
        assert_eq!(unlock(UnlockRequest::default(), LIMITS), Err(Invalid::EmptyKey));
    }

    #[test]
    fn too_much_is_refused() {
        let value = Bytes::from(vec![0; 200]);
        let request = CampaignRequest { value, ..CampaignRequest::default() };
        assert!(matches!(campaign(request, LIMITS), Err(Invalid::TooLarge)));
    }

    #[test]
    fn proclaim_keeps_to_the_key_and_its_create_revision() {
        let leader = LeaderKey { name: "n".into(), key: "n/1".into(), rev: 5, lease: 77 };
        let command = proclaim(ProclaimRequest { leader: Some(leader), value: "v".into() }, LIMITS).unwrap();
        let expected = Proclaim { key: "n/1".into(), create_revision: 5, value: "v".into() };
        assert_eq!(command, Command::Proclaim(expected));
    }
}
