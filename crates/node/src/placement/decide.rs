//! What a leader should do about its leadership: a function of what it knows.

use conclave_state::placement::Preference;
use std::time::Duration;

/// Entries that a member may lack and still have kept up: under load some are always on their way.
pub(super) const MAX_LAG: u64 = 100;
/// For how long a leader that should not lead looks before it hands over.
const SOON: Duration = Duration::from_millis(500);
/// The first rest of a member to which such a leader's move did not hold, and the longest.
const SHORT_REST: Duration = Duration::from_secs(1);
const LONGEST_SHORT_REST: Duration = Duration::from_secs(30);
/// The longest rest of a member that would lead for its weight.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// How much a member should lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Maintenance,
    Never,
    Weight(u32),
}

impl Rank {
    pub(super) fn new(preference: Preference, maintenance: bool) -> Rank {
        match preference {
            _ if maintenance => Rank::Maintenance,
            Preference::Never => Rank::Never,
            Preference::Weight(weight) => Rank::Weight(weight),
        }
    }
}

/// A voter that could lead instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: u64,
    pub(super) rank: Rank,
    /// Entries it lacks; `None`: not known.
    pub(super) lag: Option<u64>,
    /// For how long it has been reached and has kept up, without a break.
    pub(super) fit_for: Duration,
    /// How often in a row leadership did not hold there, and how long ago the last time was.
    pub(super) failures: u32,
    pub(super) failed_ago: Duration,
}

/// What a leader knows.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) rank: Rank,
    /// For how long it has led, with a quorum, and without a change of the membership.
    pub(super) calm_for: Duration,
    /// How much calm the policy asks for.
    pub(super) calm: Duration,
    pub(super) candidates: Vec<Candidate>,
}

impl Situation {
    /// Whom to hand leadership to now.
    pub(super) fn decide(&self) -> Option<Candidate> {
        let (wait, rest, longest) = match self.rank {
            // Who should not lead goes as soon as somebody else can.
            Rank::Maintenance | Rank::Never => (SOON, SHORT_REST, LONGEST_SHORT_REST),
            Rank::Weight(_) => (self.calm, self.calm, LONGEST_REST),
        };
        if self.calm_for < wait {
            return None;
        }
        let able = |one: &&Candidate| {
            let rested = one.failures == 0 || one.failed_ago >= rest_after(one.failures, rest, longest);
            let kept_up = one.lag.is_some_and(|lag| lag <= MAX_LAG);
            one.rank > self.rank && kept_up && one.fit_for >= wait && rested
        };
        // Of equals the one that lacks least, and always the same one.
        let best = self.candidates.iter().filter(able);
        best.max_by_key(|one| (one.rank, std::cmp::Reverse((one.lag, one.id)))).copied()
    }
}

/// Twice as long each time.
fn rest_after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1_000_000);
    const CALM: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn weight(id: u64, weight: u32) -> Candidate {
        let rank = Rank::Weight(weight);
        Candidate { id, rank, lag: Some(0), fit_for: LONG, failures: 0, failed_ago: LONG }
    }

    /// Whom a leader of this rank hands over to that has led for a long time.
    fn to(rank: Rank, candidates: &[Candidate]) -> Option<u64> {
        after(LONG, rank, candidates)
    }

    fn after(calm_for: Duration, rank: Rank, candidates: &[Candidate]) -> Option<u64> {
        let situation = Situation { rank, calm_for, calm: CALM, candidates: candidates.to_vec() };
        situation.decide().map(|one| one.id)
    }

    #[test]
    fn the_table() {
        let lagging = |lag| Candidate { lag, ..weight(2, 10) };
        let fit_for = |fit_for| Candidate { fit_for, ..weight(2, 10) };
        let failed = |failures, failed_ago| Candidate { failures, failed_ago, ..weight(2, 10) };
        let ranked = |rank| Candidate { rank, ..weight(2, 0) };
        let (me, out, never) = (Rank::Weight(5), Rank::Maintenance, Rank::Never);
        /// What it shows, the leader's rank, for how long it has been calm, the others, and where
        /// it moves.
        type Row<'a> = (&'a str, Rank, Duration, &'a [Candidate], Option<u64>);
        let rows: &[Row<'_>] = &[
            ("nobody else", me, LONG, &[], None),
            ("nobody is preferred", me, LONG, &[weight(2, 5), weight(3, 0)], None),
            ("a heavier one", me, LONG, &[weight(2, 6), weight(3, 0)], Some(2)),
            ("the heaviest", me, LONG, &[weight(2, 6), weight(3, 7)], Some(3)),
            ("the same of equals", me, LONG, &[weight(3, 7), weight(2, 7)], Some(2)),
            ("of equals the one that lacks least", me, LONG, &[lagging(Some(9)), weight(3, 10)], Some(3)),
            // Calm.
            ("before the calm is over", me, seconds(29), &[weight(2, 10)], None),
            ("when it is over", me, CALM, &[weight(2, 10)], Some(2)),
            ("the target has kept up too shortly", me, LONG, &[fit_for(seconds(29))], None),
            ("and long enough", me, LONG, &[fit_for(CALM)], Some(2)),
            // What the target lacks.
            ("as much as is always on its way", me, LONG, &[lagging(Some(MAX_LAG))], Some(2)),
            ("too much", me, LONG, &[lagging(Some(MAX_LAG + 1))], None),
            ("it is not known", me, LONG, &[lagging(None)], None),
            ("then the next one", me, LONG, &[lagging(Some(5_000)), weight(3, 6)], Some(3)),
            // A move that did not hold.
            ("the first rest", me, LONG, &[failed(1, seconds(29))], None),
            ("after the first rest", me, LONG, &[failed(1, seconds(30))], Some(2)),
            ("the third rest is four times as long", me, LONG, &[failed(3, seconds(119))], None),
            ("after the third rest", me, LONG, &[failed(3, seconds(120))], Some(2)),
            ("the longest rest", me, LONG, &[failed(u32::MAX, seconds(3599))], None),
            ("after the longest rest", me, LONG, &[failed(u32::MAX, seconds(3600))], Some(2)),
            ("meanwhile another one", me, LONG, &[failed(1, seconds(1)), weight(3, 6)], Some(3)),
            // Never.
            ("never leads by election", never, SOON, &[weight(2, 0)], Some(2)),
            ("at once is not before a look", never, Duration::ZERO, &[weight(2, 0)], None),
            ("nobody has kept up", never, LONG, &[lagging(Some(5_000))], None),
            ("never does not hand to never", never, LONG, &[ranked(never)], None),
            ("nor to maintenance", never, LONG, &[ranked(out)], None),
            ("nobody moves to never", me, LONG, &[ranked(never)], None),
            ("it rests shortly", never, LONG, &[failed(1, SHORT_REST)], Some(2)),
            ("and never for long", never, LONG, &[failed(60, LONGEST_SHORT_REST)], Some(2)),
            // Maintenance.
            ("maintenance gives away", out, SOON, &[weight(2, 0)], Some(2)),
            ("rather to the heavier one", out, SOON, &[weight(2, 0), weight(3, 1)], Some(3)),
            ("to never, if there is no other", out, LONG, &[ranked(never)], Some(2)),
            ("not to maintenance", out, LONG, &[ranked(out)], None),
            ("nobody moves to maintenance", me, LONG, &[ranked(out)], None),
        ];
        for (what, rank, calm_for, candidates, expected) in rows {
            assert_eq!(after(*calm_for, *rank, candidates), *expected, "{what}");
        }
    }

    #[test]
    fn no_two_members_send_leadership_to_each_other() {
        let ranks = [Rank::Maintenance, Rank::Never, Rank::Weight(0), Rank::Weight(1), Rank::Weight(1_000)];
        for a in ranks {
            for b in ranks {
                let there = to(a, &[Candidate { rank: b, ..weight(2, 0) }]).is_some();
                let back = to(b, &[Candidate { rank: a, ..weight(1, 0) }]).is_some();
                assert!(!(there && back), "{a:?} {b:?}");
                assert_eq!(there || back, a != b, "{a:?} {b:?}");
            }
        }
    }
}
