//! One queue election, with every operation.

use super::{MS, Sim, failure, leases, store::Edit};
use cluster_tests::trials::{
    check::{Kind, holders},
    history::{
        Answer, Call, Candidate, Event, Promotion, QueueAnswer, QueueCall, QueueEvent, QueueEventKind, QueueOp, Term,
    },
};

#[derive(Default)]
pub(super) struct Queue {
    term: Term,
    /// A change that waits for its revision: cause, subject, who led before.
    untold: Option<(&'static str, String, String)>,
}

pub(super) fn start(sim: &mut Sim) {
    for number in 0..4_i64 {
        let (process, keeper, lease) = (sim.process(), sim.process(), 0x600 + number);
        leases::grant(sim, process, lease, 600, move |sim, process| {
            let times = 3 + sim.random(12);
            leases::keep(sim, keeper, lease, 150, times, |_, _| {});
            step(sim, process, lease, 14);
        });
    }
}

fn step(sim: &mut Sim, process: u64, session: i64, left: u32) {
    if left == 0 {
        return;
    }
    let candidate = format!("c{session:x}");
    let other = format!("c{:x}", 0x600 + sim.random(4));
    let what = match sim.random(8) {
        0..=2 => QueueOp::Enter {
            candidate: candidate.clone(),
            session,
            instance: String::new(),
            priority: session % 2,
            try_only: false,
            takeover: false,
            preempt: false,
        },
        3 => QueueOp::Leave { candidate: candidate.clone() },
        4 => QueueOp::Anoint { candidate: other },
        5 => QueueOp::Promote { candidate: other, to: Promotion::Places(1) },
        6 => QueueOp::Demote { candidate: other, places: 1 },
        _ => QueueOp::Term,
    };
    let call = QueueCall { election: "q".into(), what };
    let effect = call.what.clone();
    sim.call(
        process,
        Call::Queue(call),
        30,
        Box::new(move |sim| perform(sim, &effect)),
        Box::new(move |sim, process, _| {
            let rest = sim.random(30 * MS);
            sim.after(rest, move |sim| step(sim, process, session, left - 1));
        }),
    );
}

fn perform(sim: &mut Sim, op: &QueueOp) -> Result<Answer, cluster_tests::trials::history::Failure> {
    let mut line = sim.queue.term.candidates.clone();
    let place = |id: &str| line.iter().position(|one| one.id == id);
    let mut named = String::new();
    let mut change: Option<(&'static str, String)> = None;
    match op {
        QueueOp::Enter { candidate, session, priority, .. } => {
            named.clone_from(candidate);
            if !sim.store.leases.contains_key(session) {
                return Err(failure("NotFound", "no such session"));
            }
            if place(candidate).is_none() {
                let ahead =
                    line.iter().enumerate().take_while(|(at, one)| *at == 0 || one.priority >= *priority).count();
                let joined = sim.store.revision + 1;
                let one = Candidate { id: candidate.clone(), session: *session, priority: *priority, joined };
                line.insert(ahead, one);
                change = Some(("entered", candidate.clone()));
            }
        }
        QueueOp::Leave { candidate } => {
            named.clone_from(candidate);
            if let Some(at) = place(candidate) {
                line.remove(at);
                change = Some(("left", candidate.clone()));
            }
        }
        QueueOp::Anoint { candidate } | QueueOp::Promote { candidate, .. } | QueueOp::Demote { candidate, .. } => {
            named.clone_from(candidate);
            let Some(at) = place(candidate) else { return Err(failure("FailedPrecondition", "not a candidate")) };
            let (cause, to) = match op {
                QueueOp::Anoint { .. } => ("anointed", 0),
                QueueOp::Promote { .. } => ("promoted", at.saturating_sub(1)),
                _ => ("demoted", (at + 1).min(line.len() - 1)),
            };
            if to != at {
                let one = line.remove(at);
                line.insert(to, one);
                change = Some((cause, candidate.clone()));
            }
        }
        _ => {}
    }
    let changed = change.is_some();
    if let Some((cause, subject)) = change {
        let mut edits = sim.change_line(line, cause, subject);
        if edits.is_empty() {
            edits.push(("/_conclave/e/default/q/term".into(), Some(format!("t{}", sim.store.revision)), 0));
        }
        let revision = sim.commit(edits);
        sim.tell_queue(revision);
    }
    let term = sim.queue.term.clone();
    let leads = !named.is_empty() && term.leader == named;
    let standing = if leads { "leads" } else { "waiting" }.to_owned();
    // Only who enters is given a token.
    let fence = if leads && matches!(op, QueueOp::Enter { .. }) { term.id } else { 0 };
    Ok(Answer::Queue(QueueAnswer { revision: sim.store.revision, changed, standing, fence, term: Some(term) }))
}

impl Sim {
    /// Makes a new line; the keys that change with it belong to the next revision.
    fn change_line(&mut self, line: Vec<Candidate>, cause: &'static str, subject: String) -> Vec<Edit> {
        let revision = self.store.revision + 1;
        let term = &mut self.queue.term;
        let previous = term.leader.clone();
        let leader = line.first().map_or_else(String::new, |first| first.id.clone());
        let mut edits = Vec::new();
        let key = |id: i64| format!("{}{id:016x}", holders(Kind::Queue, "q"));
        if leader != previous {
            if !previous.is_empty() {
                edits.push((key(term.id), None, 0));
            }
            if let Some(first) = line.first() {
                (term.id, term.seq) = (revision, term.seq + 1);
                edits.push((key(revision), Some(leader.clone()), first.session));
            }
        }
        (term.leader, term.candidates, term.revision) = (leader, line, revision);
        self.queue.untold = Some((cause, subject, previous));
        edits
    }

    /// What the end of a lease does to the line.
    pub(super) fn drop_candidates(&mut self, lease: i64) -> Vec<Edit> {
        let line = self.queue.term.candidates.clone();
        let Some(gone) = line.iter().find(|one| one.session == lease).map(|one| one.id.clone()) else {
            return Vec::new();
        };
        let rest = line.into_iter().filter(|one| one.session != lease).collect();
        let mut edits = self.change_line(rest, "expired", gone);
        edits.push(("/_conclave/e/default/q/term".into(), Some(format!("t{lease}")), 0));
        edits
    }

    /// Tells those who watch, all in the same order.
    pub(super) fn tell_queue(&mut self, revision: i64) {
        let Some((cause, subject, previous)) = self.queue.untold.take() else { return };
        let term = self.queue.term.clone();
        let kind = if term.leader.is_empty() { QueueEventKind::Vacant } else { QueueEventKind::Changed };
        let (stream, election, cause) = ("q1".into(), "q".into(), cause.into());
        let event = QueueEvent { stream, election, revision, kind, term, cause, subject, previous };
        self.after(MS, move |sim| sim.event(0, Event::Queue(event)));
    }
}
