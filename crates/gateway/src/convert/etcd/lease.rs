//! Lease messages.

use crate::status::Invalid;
use bytes::Bytes;
use conclave_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseStatus,
    LeaseTimeToLiveResponse, ResponseHeader,
};
use conclave_node::keeper::{Renewed, whole_millis};
use conclave_state::{LeaseGrant, LeaseId};
use std::time::Duration;

/// Clients know this bound by etcd's.
const LONGEST_TTL_SECONDS: i64 = 9_000_000_000;

/// What clients of the etcd wire get for anything shorter with etcd's default election timeout;
/// recipes count on it.
const SHORTEST_TTL_SECONDS: i64 = 2;

/// The TTL below which no lease is granted: it must outlast an election.
#[must_use]
pub fn shortest_ttl(election_timeout: Duration) -> i64 {
    let milliseconds = election_timeout.as_millis().saturating_mul(3) / 2;
    i64::try_from(milliseconds.div_ceil(1000)).unwrap_or(LONGEST_TTL_SECONDS).max(SHORTEST_TTL_SECONDS)
}

/// `id` is 0 if the server is to choose one. Any other id, negative ones too, is the client's
/// choice.
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
pub fn lease_granted(header: ResponseHeader, id: LeaseId, ttl_ms: u64) -> LeaseGrantResponse {
    LeaseGrantResponse { header: Some(header), id, ttl: whole_seconds(ttl_ms), error: String::new() }
}

/// A lease that is gone has TTL 0; that is no error on this wire.
#[must_use]
pub fn lease_kept_alive(header: ResponseHeader, id: LeaseId, kept: Renewed) -> LeaseKeepAliveResponse {
    let ttl_ms = whole_millis(kept.span);
    // Rounded down: a client may rely on the lease for this long. But 0 would mean that it is gone.
    let ttl = i64::try_from(ttl_ms / 1000).unwrap_or(i64::MAX).max(i64::from(ttl_ms > 0));
    LeaseKeepAliveResponse { header: Some(header), id, ttl }
}

/// What is known of a living lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLife {
    pub remaining: Duration,
    pub granted_seconds: i64,
    /// Filled if asked for.
    pub keys: Vec<Bytes>,
}

/// A lease that is not there has TTL −1; that is no error on this wire.
#[must_use]
pub fn lease_time_to_live(header: ResponseHeader, id: LeaseId, life: Option<LeaseLife>) -> LeaseTimeToLiveResponse {
    let Some(LeaseLife { remaining, granted_seconds, keys }) = life else {
        return LeaseTimeToLiveResponse { header: Some(header), id, ttl: -1, ..LeaseTimeToLiveResponse::default() };
    };
    let ttl = i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX);
    LeaseTimeToLiveResponse { header: Some(header), id, ttl, granted_ttl: granted_seconds, keys }
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
    fn a_ttl_is_told_in_whole_seconds_and_is_0_only_if_the_lease_is_gone() {
        for (millis, ttl) in [(0, 0), (1, 1), (999, 1), (1_999, 1), (60_000, 60)] {
            let kept = Renewed { span: Duration::from_millis(millis), revision: 3 };
            assert_eq!(lease_kept_alive(ResponseHeader::default(), 9, kept).ttl, ttl);
        }
    }

    #[test]
    fn a_lease_that_is_not_there() {
        let answer = lease_time_to_live(ResponseHeader::default(), 9, None);
        assert_eq!((answer.id, answer.ttl, answer.granted_ttl, answer.keys.len()), (9, -1, 0, 0));
    }
}
