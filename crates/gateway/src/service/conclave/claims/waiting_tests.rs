//! Claims that wait, over the state machine alone, with answers that are lost or come late.

use super::waiting::Bid;
use crate::convert::conclave::Caller;
use crate::follow::tests::{World, name};
use crate::pending::tests::{MOST_POLLS, TestLog, cancel_after, courses};
use crate::pending::{Calls, Request};
use conclave_state::coord::read;
use conclave_state::{Claim, ClaimAnswer, CoordBody, Expect, LeaseId, Twin};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn start() -> (World, TestLog, Calls) {
    let world = World::new();
    let decided = world.clone();
    let log = TestLog::new(move |command| decided.apply(std::slice::from_ref(command)).remove(0));
    let calls = Calls::new(Arc::new(log.clone()), CancellationToken::new());
    (world, log, calls)
}

fn of(session: LeaseId) -> Caller {
    Caller { session, ..Caller::default() }
}

fn claim(holder: &str) -> Claim {
    let (claim, holder) = (name("c"), holder.to_owned());
    Claim { claim, holder, instance: "i".into(), duration_ms: 9_000, wait: true, ..Claim::default() }
}

/// The holder, its fence and how many wait.
fn standing(world: &World) -> (String, i64, u32) {
    let state = read::claim(&world.store.lock().view, &name("c")).unwrap().unwrap();
    let holder = state.holder.unwrap();
    (holder.holder, holder.fence, state.waiting)
}

fn holds(world: &World, holder: &str) {
    world.apply(&[of(0).command(CoordBody::Claim(vec![claim(holder)]))]);
}

#[tokio::test(start_paused = true)]
async fn whenever_the_call_ends_it_stands_in_line_once_and_stays() {
    for course in courses() {
        for polls in 0..MOST_POLLS {
            let (world, log, calls) = start();
            holds(&world, "a");
            course.iter().for_each(|fate| log.fate(fate.clone()));
            let ended = cancel_after(polls, &course, calls.ask(Bid::new(&of(1), claim("b")))).await;
            let (holder, _, waiting) = standing(&world);
            assert!(
                holder == "a" && (waiting == 1 || (waiting == 0 && !ended)),
                "{course:?}, {polls} polls: {waiting}"
            );
            assert!(calls.is_idle());
            // The next call finds the same place.
            let again = calls.ask(Bid::new(&of(1), claim("b"))).await.ok().unwrap();
            assert!(matches!(again.request().answer, Some((_, ClaimAnswer::Waiting { .. }))));
            assert_eq!(standing(&world).2, 1);
            if ended {
                break;
            }
        }
    }
}

/// It deposes the other instance once, and an expectation that the first proposal met stays met.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_takes_effect_once() {
    for course in courses() {
        let (world, log, calls) = start();
        holds(&world, "a");
        let fence = standing(&world).1;
        course.iter().for_each(|fate| {
            if let crate::pending::tests::Fate::Held(until) | crate::pending::tests::Fate::Late(until) = fate {
                until.notify_one();
            }
            log.fate(fate.clone());
        });
        let expect = Some(Expect { fence: Some(fence), ..Expect::default() });
        let item = Claim { instance: "j".into(), twin: Twin::TakeOver, ..claim("a") };
        let asked = calls.ask(Bid::new(&Caller { expect, ..of(1) }, item)).await;
        let taken = asked.ok().unwrap_or_else(|| panic!("{course:?}"));
        let Some((_, ClaimAnswer::Taken { fence, .. })) = taken.request().answer else { panic!("{course:?}") };
        assert_eq!(standing(&world), ("a".into(), fence, 0));
        assert_eq!(world.revision(), fence, "one change: {course:?}");
    }
}

#[test]
fn only_what_would_not_be_the_same_again_takes_a_dedupe_id() {
    let dedupe = |caller: &Caller, twin| {
        let command = Bid::new(caller, Claim { twin, ..claim("a") }).command(7);
        match command {
            conclave_state::Command::Coord(coord) => coord.dedupe.is_some(),
            other => panic!("{other:?}"),
        }
    };
    assert!(!dedupe(&of(1), Twin::Deny) && !dedupe(&of(1), Twin::Share));
    assert!(dedupe(&of(1), Twin::TakeOver));
    assert!(dedupe(&Caller { expect: Some(Expect::default()), ..of(1) }, Twin::Deny));
}
