//! Messages of sessions.

use super::{BadField, millis};
use conclave_api::conclave::v1;
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_node::keeper::{Renewed, whole_millis};
use conclave_state::{LeaseGrant, LeaseId};
use std::time::Duration;

/// A session outlasts so many elections, so that none ends because nobody was there to renew it
/// with.
const ELECTIONS: u32 = 3;

/// The TTL in milliseconds below which no session is opened.
#[must_use]
pub fn shortest_session(election_timeout: Duration) -> u64 {
    whole_millis(election_timeout.saturating_mul(ELECTIONS))
}

/// `id` is 0 if the server is to choose one. Any other id, negative ones too, is the client's
/// choice.
pub fn open(request: &v1::OpenSessionRequest, shortest: u64) -> Result<LeaseGrant, BadField> {
    let ttl_ms = millis("ttl_ms", request.ttl_ms)?.max(shortest);
    Ok(LeaseGrant { id: request.session, ttl_ms })
}

#[must_use]
pub fn opened(header: ResponseHeader, session: LeaseId, ttl_ms: u64) -> v1::OpenSessionResponse {
    v1::OpenSessionResponse { header: Some(header), session, ttl_ms }
}

/// A session that is gone has TTL 0; that is no error.
#[must_use]
pub fn kept(header: ResponseHeader, session: LeaseId, kept: Renewed) -> v1::KeepSessionResponse {
    v1::KeepSessionResponse { header: Some(header), session, ttl_ms: whole_millis(kept.span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_outlasts_elections_and_need_not_last_whole_seconds() {
        let shortest = shortest_session(Duration::from_millis(150));
        assert_eq!(shortest, 450);
        let ttl = |ttl_ms| open(&v1::OpenSessionRequest { session: -3, ttl_ms }, shortest).map(|grant| grant.ttl_ms);
        assert_eq!([ttl(0), ttl(449), ttl(450), ttl(1_234)], [Ok(450), Ok(450), Ok(450), Ok(1_234)]);
        assert_eq!(ttl(1 << 53), Ok(1 << 53));
        let absurd = ttl((1 << 53) + 1).unwrap_err().to_string();
        assert!(absurd.starts_with("ttl_ms is 9007199254740993"), "{absurd}");
    }
}
