//! One queue election, with every operation.

use super::{MS, Sim, failure, leases, store::Edit};
use conclave_trials::{
    check::{Kind, holders},
    history::{
        Answer, Call, Candidate, Entry, Event, Process, Promotion, QueueAnswer, QueueCall, QueueEvent, QueueEventKind,
        QueueOp, Term,
    },
};

#[derive(Default)]
pub(super) struct Queue {
    term: Term,
    /// A change that waits for its revision: cause, subject, who led before.
    untold: Option<(&'static str, String, String)>,
    /// Calls that wait for their candidate's win: process, session, how often it will ask again.
    campaigning: Vec<(u64, i64, u32)>,
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
    for number in 0..3_i64 {
        let (process, keeper, lease) = (sim.process(), sim.process(), 0x610 + number);
        leases::grant(sim, process, lease, 600, move |sim, process| {
            // One loses its session while it waits or leads.
            let times = if number == 0 { 1 } else { 14 };
            leases::keep(sim, keeper, lease, 150, times, |_, _| {});
            campaign(sim, process, lease, 5);
        });
    }
}

/// Waits for the win.
fn campaign(sim: &mut Sim, process: u64, session: i64, left: u32) {
    if left == 0 {
        return;
    }
    let candidate = format!("c{session:x}");
    let what = QueueOp::Campaign { candidate: candidate.clone(), session };
    let call = Call::Queue(QueueCall { election: "q".into(), what });
    sim.record(Process::Client(process), None, Entry::Invoke(call));
    let delay = sim.delay();
    sim.after(delay, move |sim| {
        let (instance, priority) = (String::new(), session % 2);
        let enter =
            QueueOp::Enter { candidate, session, instance, priority, try_only: false, takeover: false, preempt: false };
        match perform(sim, &enter) {
            Err(refused) => drop(sim.settle(process, Err(refused))),
            Ok(_) => {
                sim.queue.campaigning.push((process, session, left));
                sim.answer_campaigns();
            }
        }
    });
}

/// Leads for a while, leaves, and campaigns again.
fn reign(sim: &mut Sim, process: u64, session: i64, left: u32) {
    let rest = MS + sim.random(120 * MS);
    sim.after(rest, move |sim| {
        let leave = QueueOp::Leave { candidate: format!("c{session:x}") };
        let call = Call::Queue(QueueCall { election: "q".into(), what: leave.clone() });
        let effect = Box::new(move |sim: &mut Sim| perform(sim, &leave));
        sim.call(process, call, 0, effect, Box::new(move |sim, process, _| campaign(sim, process, session, left - 1)));
    });
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

fn perform(sim: &mut Sim, op: &QueueOp) -> Result<Answer, conclave_trials::history::Failure> {
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
        let place = |one: &Candidate| format!("/_conclave/e/default/q/q/{}", one.id);
        let among = |line: &[Candidate], one: &Candidate| line.iter().any(|other| other.id == one.id);
        edits.extend(term.candidates.iter().filter(|one| !among(&line, one)).map(|one| (place(one), None, 0)));
        let new = line.iter().filter(|one| !among(&term.candidates, one));
        edits.extend(new.map(|one| (place(one), Some(String::new()), one.session)));
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
        let again = QueueEvent { stream: "q2".into(), ..event.clone() };
        self.after(MS, move |sim| sim.event(0, Event::Queue(event)));
        self.after(2 * MS, move |sim| sim.event(0, Event::Queue(again)));
        self.answer_campaigns();
    }

    /// Tells those who lead now, and those who stand in the line no more.
    fn answer_campaigns(&mut self) {
        for (process, session, left) in std::mem::take(&mut self.queue.campaigning) {
            let (candidate, delay) = (format!("c{session:x}"), self.delay());
            let term = self.queue.term.clone();
            if term.leader == candidate {
                let (fence, standing, revision) = (term.id, "leads".to_owned(), self.store.revision);
                let answer = QueueAnswer { revision, changed: true, standing, fence, term: Some(term) };
                self.after(delay, move |sim| {
                    sim.settle(process, Ok(Answer::Queue(answer)));
                    sim.after(1000, move |sim| reign(sim, process, session, left));
                });
            } else if term.candidates.iter().any(|one| one.id == candidate) {
                self.queue.campaigning.push((process, session, left));
            } else {
                self.after(delay, move |sim| drop(sim.settle(process, Err(failure("NotFound", "no such session")))));
            }
        }
    }
}
