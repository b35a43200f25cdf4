//! Parties: the owners of places in elections and of tenures of claims.
//!
//! A party is a session and an instance in it. Two requests belong to one party only if both are
//! the same, so two processes that omit a field are never taken for one party.
//!
//! 1. An omitted instance is the session's own: its id in hexadecimal.
//! 2. A place belongs to one session. Another session takes it over with a new term, or is
//!    rejected.
//! 3. A claim outlives its session. Then only the instance identifies the holder, and a returning
//!    process must name it. An instance that was omitted ends with the session.

use super::row::{Candidate, Tenure};
use crate::LeaseId;
use crate::machine::Batch;
use crate::view::{Fault, View};

/// The instance of a request. Without a session there is no default, and an empty instance stays
/// empty.
pub fn instance_of(session: LeaseId, named: &str) -> String {
    if named.is_empty() && session != 0 { format!("{session:x}") } else { named.to_owned() }
}

impl Candidate {
    /// Whether the candidacy belongs to this session's instance.
    pub(super) fn is_of(&self, session: LeaseId, named: &str) -> bool {
        self.lease == session && self.instance == instance_of(session, named)
    }

    /// Whether a request to leave concerns this candidacy. A request without a session is an
    /// operator's and may concern any candidacy.
    pub(super) fn is_left_by(&self, session: LeaseId, named: Option<&str>) -> bool {
        let meant = named.is_none_or(|named| self.instance == instance_of(session, named));
        meant && (session == 0 || self.lease == session)
    }
}

impl Tenure {
    /// Whether the holder is the session's own instance.
    pub(super) fn is_of_its_session(&self) -> bool {
        self.session != 0 && self.instance == instance_of(self.session, "")
    }
}

impl<V: View> Batch<'_, V> {
    /// Whether the tenure belongs to this session's instance.
    pub(super) fn is_own(&self, tenure: &Tenure, session: LeaseId, named: &str) -> Result<bool, Fault> {
        if tenure.instance != instance_of(session, named) {
            return Ok(false);
        }
        let returns = !named.is_empty() && tenure.session != 0;
        Ok(tenure.session == session || (returns && !self.lease_exists(tenure.session)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_sessions_own() {
        assert_eq!(instance_of(0x2a, ""), "2a");
        assert_eq!(instance_of(-1, ""), "ffffffffffffffff");
        assert_eq!(instance_of(0x2a, "i"), "i");
        assert_eq!(instance_of(0, ""), "");
    }

    #[test]
    fn a_candidacy_is_of_one_session_and_one_instance_in_it() {
        let of = |lease, instance: &str| Candidate { lease, instance: instance.into(), ..Candidate::default() };
        assert!(of(1, "1").is_of(1, "") && of(1, "i").is_of(1, "i"));
        assert!(!of(1, "1").is_of(2, ""), "another session");
        assert!(!of(1, "i").is_of(2, "i"), "another session, though its instance has the same name");
        assert!(!of(1, "1").is_of(2, "1"), "another session that names the first one's instance");
        assert!(!of(1, "i").is_of(1, "") && !of(1, "1").is_of(1, "i"), "another instance in the session");
    }

    #[test]
    fn a_session_leaves_what_is_its_own_and_an_operator_what_is_named() {
        let row = Candidate { lease: 1, instance: "i".into(), ..Candidate::default() };
        assert!(row.is_left_by(1, None) && row.is_left_by(1, Some("i")));
        assert!(!row.is_left_by(2, None) && !row.is_left_by(2, Some("i")));
        assert!(!row.is_left_by(1, Some("")), "the session's own is another");
        assert!(row.is_left_by(0, None) && row.is_left_by(0, Some("i")) && !row.is_left_by(0, Some("j")));
    }
}
