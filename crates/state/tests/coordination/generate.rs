//! Operations at random, out of few names, candidates and leases, so that they meet.

use conclave_state::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

pub(crate) const NAMESPACE: &str = "n";

/// A command, or the end of timers that are armed when it comes to it.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Command(Command),
    Fire(Vec<Index>),
}

pub(crate) fn name(name: &str) -> Name {
    Name { namespace: NAMESPACE.into(), name: name.into() }
}

fn election() -> impl Strategy<Value = Name> {
    select(vec!["e", "f"]).prop_map(name)
}

fn lock() -> impl Strategy<Value = Name> {
    select(vec!["x", "y", "z"]).prop_map(name)
}

fn claim() -> impl Strategy<Value = Name> {
    select(vec!["c", "d"]).prop_map(name)
}

fn who() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn instance() -> impl Strategy<Value = String> {
    // A session's own, a name that several may give, and the one that is another session's own.
    select(vec!["", "", "", "i", "1"]).prop_map(str::to_owned)
}

fn lease() -> impl Strategy<Value = LeaseId> {
    1..4_i64
}

fn rarely(millis: u64) -> impl Strategy<Value = u64> {
    select(vec![0, 0, 0, millis])
}

fn one_in(n: u8) -> impl Strategy<Value = bool> {
    (0..n).prop_map(|number| number == 0)
}

fn enter() -> impl Strategy<Value = CoordBody> {
    let flags = (one_in(5), one_in(2), one_in(4));
    let spans = (rarely(10), rarely(20));
    (election(), who(), instance(), select(vec![0, 0, 1, 2]), flags, spans, attempt()).prop_map(
        |(election, candidate, instance, priority, flags, (lock_delay_ms, max_hold_ms), attempt)| {
            let (try_only, takeover, preempt) = flags;
            CoordBody::Enter(Enter {
                election,
                candidate,
                instance,
                priority,
                try_only,
                takeover,
                preempt,
                lock_delay_ms,
                max_hold_ms,
                attempt,
                ..Enter::default()
            })
        },
    )
}

fn order() -> impl Strategy<Value = CoordBody> {
    (election(), who(), any::<bool>(), 0..5_u32, 0..4_u8).prop_map(|(election, candidate, missing, places, which)| {
        let to = match places {
            0 => PromoteTo::Front,
            4 => PromoteTo::Lead,
            places => PromoteTo::Places(places),
        };
        match which {
            0 => CoordBody::Anoint(Anoint { election, candidate, ignore_missing: missing }),
            1 | 2 => CoordBody::Promote(Promote { election, candidate, to, ignore_missing: missing }),
            _ => CoordBody::Demote(Demote { election, candidate, places, ignore_missing: missing }),
        }
    })
}

fn leaving() -> impl Strategy<Value = CoordBody> {
    let which = (0..9_u8, instance());
    (election(), who(), rarely(30), which).prop_map(|(election, candidate, cooldown_ms, (which, instance))| match which
    {
        0 => CoordBody::DeleteElection(election),
        1 => CoordBody::EvictEverywhere(EvictEverywhere { candidate, cooldown_ms, ..EvictEverywhere::default() }),
        2..5 => CoordBody::Evict(Evict { election, candidate, cooldown_ms, ..Evict::default() }),
        5..8 => CoordBody::Leave(Leave { election, candidate, ..Leave::default() }),
        _ => CoordBody::Leave(Leave { election, candidate, instance: Some(instance) }),
    })
}

fn transfer() -> impl Strategy<Value = CoordBody> {
    (election(), who(), rarely(40), any::<bool>(), 0..3_u8, 1..30_i64).prop_map(
        |(election, to, deadline_ms, flag, which, term_id)| match which {
            0 => {
                CoordBody::Transfer(Transfer { election, term_id, to: if flag { to } else { "".into() }, leave: flag })
            }
            _ => CoordBody::RequestTransfer(RequestTransfer { election, to, deadline_ms, force: flag }),
        },
    )
}

fn acquire() -> impl Strategy<Value = CoordBody> {
    let permits = |weight| LockMode::Permits { weight, capacity: 3 };
    let mode = select(vec![LockMode::Exclusive, LockMode::Shared, LockMode::Shared, permits(1), permits(2)]);
    let part = (lock(), mode).prop_map(|(lock, mode)| LockPart { lock, mode });
    (vec(part, 1..4), one_in(4), rarely(50), rarely(60), rarely(70), who(), attempt()).prop_map(
        |(parts, try_only, wait_ms, lock_delay_ms, max_hold_ms, owner, attempt)| {
            CoordBody::Acquire(Acquire { parts, owner, try_only, wait_ms, lock_delay_ms, max_hold_ms, attempt })
        },
    )
}

fn release() -> impl Strategy<Value = CoordBody> {
    (1..40_i64, one_in(6), rarely(80)).prop_map(|(fence, evict, cooldown_ms)| {
        CoordBody::Release(Release { fence, evict, cooldown_ms: if evict { cooldown_ms } else { 0 } })
    })
}

fn attempt() -> impl Strategy<Value = u64> {
    // Once cancelled, an attempt of a session takes no place: with few of them little would be
    // left.
    prop_oneof![2 => Just(0), 3 => 1..7_u64]
}

fn dedupe() -> impl Strategy<Value = Option<[u8; 16]>> {
    prop_oneof![6 => Just(None), 1 => (0..3_u8).prop_map(|id| Some([id; 16]))]
}

pub(crate) fn cancel() -> impl Strategy<Value = Command> {
    let candidate = (election(), who()).prop_map(|(election, candidate)| PlaceId::Candidate { election, candidate });
    let fence = prop_oneof![1 => Just(0), 2 => 1..40_i64];
    let request = (fence, dedupe()).prop_map(|(fence, dedupe)| PlaceId::Request { fence, dedupe });
    let place = prop_oneof![1 => candidate, 1 => request];
    (lease(), attempt(), place)
        .prop_map(|(session, attempt, place)| Command::Cancel(Cancel { session, attempt, place }))
}

fn claims() -> impl Strategy<Value = CoordBody> {
    let twin = select(vec![Twin::Deny, Twin::Share, Twin::TakeOver]);
    let one = (claim(), who(), instance(), select(vec![1, 6000, 9000]), twin, any::<bool>(), rarely(90)).prop_map(
        |(claim, holder, instance, duration_ms, twin, wait, wait_ms)| Claim {
            claim,
            holder,
            instance,
            duration_ms,
            twin,
            wait,
            wait_ms,
        },
    );
    vec(one, 1..4).prop_map(CoordBody::Claim)
}

fn around_claims() -> impl Strategy<Value = CoordBody> {
    let which = (0..5_u8, instance());
    (claim(), who(), any::<bool>(), rarely(99), which).prop_map(|(claim, who, flag, max_ms, (which, instance))| {
        match which {
            0 => CoordBody::Unclaim(Unclaim { claim, holder: who, instance }),
            1 => CoordBody::Revoke(Revoke { claim, holder: flag.then_some(who), instance: None }),
            2 => CoordBody::Unpin(Unpin { claim, entity: who }),
            _ => CoordBody::Pin(Pin { claim, entity: who, reason: String::new(), with_session: flag, max_ms }),
        }
    })
}

fn coord() -> impl Strategy<Value = Command> {
    let body = prop_oneof![
        8 => enter(),
        4 => order(),
        3 => leaving(),
        2 => transfer(),
        7 => acquire(),
        5 => release(),
        6 => claims(),
        4 => around_claims(),
    ];
    (prop_oneof![1 => Just(0), 12 => lease()], dedupe(), body)
        .prop_map(|(session, dedupe, body)| Command::Coord(Box::new(Coord { session, dedupe, expect: None, body })))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => coord().prop_map(Step::Command),
        4 => cancel().prop_map(Step::Command),
        4 => lease().prop_map(|id| Step::Command(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 900 }))),
        1 => lease().prop_map(|id| Step::Command(Command::LeaseRevoke { id })),
        2 => vec(lease(), 1..4).prop_map(|leases| Step::Command(Command::Expire(Expire { leases, term: 1, observed: u64::MAX }))),
        4 => vec(any::<Index>(), 1..4).prop_map(Step::Fire),
    ]
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..70).prop_map(|steps| {
        let grants = (1..4).map(|id| Step::Command(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 900 })));
        grants.chain(steps).collect()
    })
}
