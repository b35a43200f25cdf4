//! What members compare of their logs, to find one that has lost something.

/// The term of a leader, and how far a member's log was durable when that leader heard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    pub term: u64,
    /// Index of the last acknowledged entry; 0 if none is known.
    pub index: u64,
}

/// The term of a member's vote and the last index of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

impl LogPosition {
    /// Whether a member at this position has lost something that it acknowledged.
    #[must_use]
    pub fn is_behind(&self, acknowledged: Acknowledged) -> bool {
        self.term < acknowledged.term || (self.term == acknowledged.term && self.index < acknowledged.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_in_the_term_of_the_vote_or_a_later_one_counts() {
        let stands = LogPosition { term: 5, index: 100 };
        let claim = |term, index| Acknowledged { term, index };
        // An acknowledgement of an earlier term: a later leader may have replaced the entries.
        assert!(!stands.is_behind(claim(4, 5000)));
        assert!(!stands.is_behind(claim(5, 100)));
        assert!(!stands.is_behind(claim(5, 0)));
        assert!(stands.is_behind(claim(5, 101)));
        assert!(stands.is_behind(claim(6, 0)), "it had voted");
        assert!(!LogPosition::default().is_behind(Acknowledged::default()));
    }
}
