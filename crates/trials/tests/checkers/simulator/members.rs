//! Members come and go: each change is asked for and acknowledged, and lists are read before and
//! after.

use super::{MS, Sim};
use conclave_trials::history::{Answered, ChangeKind, Fact, Listed, MemberChange, Members};

/// Milliseconds between two steps.
const STEP: u64 = 40;

fn list(sim: &mut Sim, members: &[(u64, bool)]) {
    let asked = sim.now - MS;
    let listed = |(id, learner): &(u64, bool)| Listed { id: *id, peer: format!("http://n{id}"), learner: *learner };
    sim.fact(None, Fact::Members(Members { asked, members: members.iter().map(listed).collect() }));
}

fn change(sim: &mut Sim, number: u64, what: ChangeKind, member: u64, done: bool) {
    let peer = if what == ChangeKind::AddLearner { "http://n4".to_owned() } else { String::new() };
    sim.fact(None, Fact::Change(MemberChange { number, what, member, peer, done }));
}

fn answered(sim: &mut Sim, member: u64, before: u64) {
    let asked = sim.now - before * MS;
    sim.fact(None, Fact::Answered(Answered { asked, member }));
}

pub(super) fn start(sim: &mut Sim) {
    let steps: Vec<fn(&mut Sim)> = vec![
        |sim| list(sim, &[(1, false), (2, false), (3, false)]),
        |sim| change(sim, 1, ChangeKind::AddLearner, 0, false),
        |sim| change(sim, 1, ChangeKind::AddLearner, 4, true),
        |sim| list(sim, &[(1, false), (2, false), (3, false), (4, true)]),
        |sim| change(sim, 2, ChangeKind::Promote, 4, false),
        |sim| change(sim, 2, ChangeKind::Promote, 4, true),
        |sim| list(sim, &[(1, false), (2, false), (3, false), (4, false)]),
        |sim| change(sim, 3, ChangeKind::Remove, 1, false),
        |sim| change(sim, 3, ChangeKind::Remove, 1, true),
        // Asked before that was acknowledged.
        |sim| answered(sim, 1, STEP + 5),
        |sim| list(sim, &[(2, false), (3, false), (4, false)]),
        |sim| answered(sim, 4, 1),
    ];
    for (i, step) in (1..).zip(steps) {
        sim.after(i * STEP * MS, step);
    }
}
