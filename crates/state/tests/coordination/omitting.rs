//! Operations of several sessions that all want the same, and of which each may leave out what
//! tells it from the others.

use super::generate::{self, Step};
use conclave_state::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One field in two is left out.
fn some(value: &'static str) -> impl Strategy<Value = String> {
    select(vec!["", value]).prop_map(str::to_owned)
}

/// Left out, a name that all may give, and one session's own.
fn instance() -> impl Strategy<Value = String> {
    select(vec!["", "", "i", "2"]).prop_map(str::to_owned)
}

fn one_in(n: u8) -> impl Strategy<Value = bool> {
    (0..n).prop_map(|number| number == 0)
}

fn enter() -> impl Strategy<Value = CoordBody> {
    let who = select(vec!["a", "a", "a", "b"]).prop_map(str::to_owned);
    (who, instance(), one_in(4), one_in(6), one_in(8), 0..3_u64).prop_map(
        |(candidate, instance, takeover, try_only, preempt, attempt)| {
            let priority = i64::from(preempt);
            let election = generate::name("e");
            let who = Enter { election, candidate, instance, attempt, ..Enter::default() };
            CoordBody::Enter(Enter { takeover, try_only, preempt, priority, ..who })
        },
    )
}

fn leaving() -> impl Strategy<Value = CoordBody> {
    (instance(), 0..3_u8).prop_map(|(instance, which)| {
        let (election, candidate) = (generate::name("e"), "a".to_owned());
        match which {
            0 => CoordBody::Leave(Leave { election, candidate, instance: Some(instance) }),
            1 => CoordBody::Leave(Leave { election, candidate, ..Leave::default() }),
            _ => CoordBody::Anoint(Anoint { election, candidate, ignore_missing: true }),
        }
    })
}

fn locks() -> impl Strategy<Value = CoordBody> {
    let mode = select(vec![
        LockMode::Exclusive,
        LockMode::Shared,
        LockMode::Shared,
        LockMode::Permits { weight: 1, capacity: 2 },
    ]);
    (mode, some("o"), one_in(3), 0..3_u64, 1..30_i64, one_in(3)).prop_map(
        |(mode, owner, try_only, attempt, fence, release)| {
            if release {
                return CoordBody::Release(Release { fence, ..Release::default() });
            }
            let parts = vec![LockPart { lock: generate::name("x"), mode }];
            CoordBody::Acquire(Acquire { parts, owner, try_only, attempt, ..Acquire::default() })
        },
    )
}

fn claims() -> impl Strategy<Value = CoordBody> {
    let twin = select(vec![Twin::Deny, Twin::Deny, Twin::Share, Twin::TakeOver]);
    (instance(), twin, any::<bool>(), 0..6_u8).prop_map(|(instance, twin, wait, which)| {
        let (claim, holder) = (generate::name("c"), "h".to_owned());
        match which {
            0 => CoordBody::Unclaim(Unclaim { claim, holder, instance }),
            1 => CoordBody::Revoke(Revoke { claim, ..Revoke::default() }),
            _ => {
                let item = Claim { claim, holder, instance, duration_ms: 9000, twin, wait, wait_ms: 0 };
                CoordBody::Claim(vec![item])
            }
        }
    })
}

fn coord() -> impl Strategy<Value = Command> {
    let body = prop_oneof![4 => enter(), 2 => leaving(), 3 => locks(), 4 => claims()];
    // Ids that a program with a poor generator would draw: the same in every session, and for
    // different requests.
    let dedupe = prop_oneof![3 => Just(None), 2 => (0..2_u8).prop_map(|id| Some([id; 16]))];
    (prop_oneof![1 => Just(0), 6 => 1..4_i64], dedupe, body)
        .prop_map(|(session, dedupe, body)| Command::Coord(Box::new(Coord { session, dedupe, expect: None, body })))
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let grant = |id| Step::Command(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 900 }));
    let step = prop_oneof![
        24 => coord().prop_map(Step::Command),
        4 => generate::cancel().prop_map(Step::Command),
        2 => (1..4_i64).prop_map(grant),
        1 => (1..4_i64).prop_map(|id| Step::Command(Command::LeaseRevoke { id })),
        1 => vec(any::<Index>(), 1..3).prop_map(Step::Fire),
    ];
    vec(step, 1..60).prop_map(move |steps| (1..4).map(grant).chain(steps).collect())
}
