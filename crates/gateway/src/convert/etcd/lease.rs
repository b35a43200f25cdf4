//! Lease messages.

use crate::status::Invalid;
use bytes::Bytes;
use conclave_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseStatus, LeaseTimeToLiveResponse, ResponseHeader,
};
use conclave_node::lease_keeper::KeepAlive;
use conclave_state::{Command, LeaseGrant, LeaseId};
use std::time::Duration;

/// Clients know this bound by etcd's.
const LONGEST_TTL_SECONDS: i64 = 9_000_000_000;

/// What clients of the etcd wire get for anything shorter with etcd's default election timeout; recipes count on it.
const SHORTEST_TTL_SECONDS: i64 = 2;

/// The TTL below which no lease is granted: it must outlast an election.
#[must_use]
pub fn shortest_ttl(election_timeout: Duration) -> i64 {
    let milliseconds = election_timeout.as_millis().saturating_mul(3) / 2;
    i64::try_from(milliseconds.div_ceil(1000)).unwrap_or(LONGEST_TTL_SECONDS).max(SHORTEST_TTL_SECONDS)
}

/// `id` is 0 if the server is to choose one. Any other id, negative ones too, is the client's choice.
pub fn lease_grant(request: &LeaseGrantRequest, shortest_ttl: i64) -> Result<LeaseGrant, Invalid> {
    if request.ttl > LONGEST_TTL_SECONDS {
        return Err(Invalid::LeaseTtlTooLarge);
    }
    let seconds = u64::try_from(request.ttl.max(shortest_ttl)).unwrap_or_default();
    Ok(LeaseGrant { id: request.id, ttl_ms: seconds * 1000 })
}

/// A TTL as this wire has it: rounded up.
#[must_use]
pub fn whole_seconds(ttl_ms: u64) -> i64 {
    i64::try_from(ttl_ms.div_ceil(1000)).unwrap_or(i64::MAX)
}

#[must_use]
pub fn lease_revoke(request: &LeaseRevokeRequest) -> Command {
    Command::LeaseRevoke { id: request.id }
}

#[must_use]
pub fn lease_granted(header: ResponseHeader, id: LeaseId, ttl_ms: u64) -> LeaseGrantResponse {
    LeaseGrantResponse { header: Some(header), id, ttl: whole_seconds(ttl_ms), error: String::new() }
}

/// A lease that is gone has TTL 0; that is no error on this wire.
#[must_use]
pub fn lease_kept_alive(header: ResponseHeader, id: LeaseId, kept: KeepAlive) -> LeaseKeepAliveResponse {
    LeaseKeepAliveResponse { header: Some(header), id, ttl: kept.ttl }
}

/// What is known of a living lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLife {
    pub remaining_seconds: i64,
    pub granted_seconds: i64,
    /// Filled if asked for.
    pub keys: Vec<Bytes>,
}

/// A lease that is not there has TTL −1; that is no error on this wire.
#[must_use]
pub fn lease_time_to_live(header: ResponseHeader, id: LeaseId, life: Option<LeaseLife>) -> LeaseTimeToLiveResponse {
    let life = life.unwrap_or(LeaseLife { remaining_seconds: -1, granted_seconds: 0, keys: Vec::new() });
    LeaseTimeToLiveResponse {
        header: Some(header),
        id,
        ttl: life.remaining_seconds,
        granted_ttl: life.granted_seconds,
        keys: life.keys,
    }
}

#[must_use]
pub fn lease_leases(header: ResponseHeader, leases: impl IntoIterator<Item = LeaseId>) -> LeaseLeasesResponse {
    let leases = leases.into_iter().map(|id| LeaseStatus { id }).collect();
    LeaseLeasesResponse { header: Some(header), leases }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(ttl: i64, id: i64) -> Result<LeaseGrant, Invalid> {
        lease_grant(&LeaseGrantRequest { ttl, id }, 2)
    }

    #[test]
    fn the_shortest_ttl_outlasts_an_election_and_is_not_below_etcds() {
        for (election_ms, seconds) in [(150, 2), (250, 2), (1000, 2), (1334, 3), (5000, 8), (50_000, 75)] {
            assert_eq!(shortest_ttl(Duration::from_millis(election_ms)), seconds, "{election_ms} ms");
        }
    }

    #[test]
    fn short_ttls_are_raised_and_long_ones_refused() {
        for ttl in [i64::MIN, -5, 0, 1, 2] {
            assert_eq!(grant(ttl, 0).unwrap().ttl_ms, 2_000);
        }
        assert_eq!(grant(LONGEST_TTL_SECONDS, 0).unwrap().ttl_ms, LONGEST_TTL_SECONDS.unsigned_abs() * 1000);
        assert_eq!(grant(LONGEST_TTL_SECONDS + 1, 0), Err(Invalid::LeaseTtlTooLarge));
        assert_eq!(grant(5, -7).unwrap().id, -7);
    }

    #[test]
    fn a_lease_that_is_not_there() {
        let answer = lease_time_to_live(ResponseHeader::default(), 9, None);
        assert_eq!((answer.id, answer.ttl, answer.granted_ttl, answer.keys.len()), (9, -1, 0, 0));
    }
}
