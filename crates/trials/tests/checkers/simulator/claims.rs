//! One claim: taken, extended, denied, waited for, revoked, and its vacancy awaited.

use super::{MS, Sim};
use conclave_trials::{
    check::{Kind, holders},
    history::{Answer, Call, ClaimAnswer, ClaimCall, Entry, Process},
};

#[derive(Default)]
pub(super) struct Claims {
    /// Holder, fence, when it ends.
    held: Option<(String, i64, u64)>,
    /// Revisions at which tenures ended.
    ended: Vec<i64>,
    /// Ticket, process, holder, milliseconds.
    line: Vec<(u64, u64, String, u64)>,
    tickets: u64,
    /// Processes that wait for a vacancy.
    awaiting: Vec<u64>,
}

pub(super) fn start(sim: &mut Sim) {
    for number in 0..4 {
        let process = sim.process();
        step(sim, process, format!("h{number}"), 14);
    }
}

fn step(sim: &mut Sim, process: u64, holder: String, left: u32) {
    if left == 0 {
        return;
    }
    let (claim, rest) = ("c".to_owned(), sim.random(80 * MS));
    let call = match sim.random(6) {
        0..=2 => {
            let (duration_ms, wait) = (100 + sim.random(200), sim.random(2) == 0);
            ClaimCall::Claim { claim, holder: holder.clone(), instance: String::new(), duration_ms, wait }
        }
        3 => ClaimCall::Check { claim, holder: holder.clone() },
        4 => ClaimCall::AwaitVacant { claim, min_revision: sim.store.revision },
        _ => ClaimCall::Revoke { claim, holder: Some(holder.clone()) },
    };
    sim.record(Process::Client(process), None, Entry::Invoke(Call::Claim(call.clone())));
    let delay = sim.delay();
    sim.after(delay, move |sim| {
        if let Some(answer) = perform(sim, process, &holder, &call) {
            sim.claimed(process, answer);
        }
        sim.after(rest, move |sim| step_when_free(sim, process, holder, left - 1));
    });
}

/// A call that waits goes on waiting; the client's next one belongs to another process.
fn step_when_free(sim: &mut Sim, process: u64, holder: String, left: u32) {
    let waits = sim.claims.awaiting.contains(&process) || sim.claims.line.iter().any(|(_, by, ..)| *by == process);
    let process = if waits { sim.process() } else { process };
    sim.after(10 * MS, move |sim| step(sim, process, holder, left));
}

fn perform(sim: &mut Sim, process: u64, holder: &str, call: &ClaimCall) -> Option<ClaimAnswer> {
    let revision = sim.store.revision;
    let held = sim.claims.held.clone();
    let mine = held.as_ref().filter(|(by, ..)| by == holder).map(|(_, fence, _)| *fence);
    Some(match (call, held) {
        (ClaimCall::Claim { duration_ms, .. }, Some((by, fence, _))) if by == holder => {
            sim.promise(fence, *duration_ms);
            ClaimAnswer::Extended { revision, fence, guaranteed_ms: *duration_ms }
        }
        (ClaimCall::Claim { duration_ms, wait: true, .. }, Some(_)) => {
            sim.claims.tickets += 1;
            let ticket = sim.claims.tickets;
            sim.claims.line.push((ticket, process, holder.into(), *duration_ms));
            sim.commit(vec![(ticket_key(ticket), Some(holder.into()), 0)]);
            return None;
        }
        (ClaimCall::Claim { .. }, Some((by, fence, _))) => ClaimAnswer::Denied { revision, holder: by, fence },
        (ClaimCall::Claim { duration_ms, .. }, None) => {
            let fence = sim.commit(vec![(tenure_key(revision + 1), Some(holder.into()), 0)]);
            sim.claims.held = Some((holder.into(), fence, 0));
            sim.promise(fence, *duration_ms);
            ClaimAnswer::Taken { revision: fence, fence, guaranteed_ms: *duration_ms }
        }
        (ClaimCall::Check { .. }, _) => match mine {
            Some(fence) => ClaimAnswer::Holds { revision, fence },
            None => ClaimAnswer::NotHolder { revision },
        },
        (ClaimCall::AwaitVacant { min_revision, .. }, held) => {
            let first = sim.claims.ended.iter().find(|ended| **ended >= *min_revision).copied();
            match (first, held) {
                (Some(at), _) => ClaimAnswer::Vacant { revision, at, handed_over: false },
                (None, None) => ClaimAnswer::Vacant { revision, at: revision, handed_over: false },
                (None, Some(_)) => {
                    sim.claims.awaiting.push(process);
                    return None;
                }
            }
        }
        (_, _) => {
            if mine.is_some() {
                sim.end_tenure();
            }
            ClaimAnswer::Done { revision: sim.store.revision, changed: mine.is_some() }
        }
    })
}

fn tenure_key(fence: i64) -> String {
    format!("{}{fence:016x}", holders(Kind::Claim, "c"))
}

fn ticket_key(ticket: u64) -> String {
    format!("/_conclave/c/default/c/q/{ticket:016x}")
}

impl Sim {
    fn claimed(&mut self, process: u64, answer: ClaimAnswer) {
        let delay = self.delay();
        self.after(delay, move |sim| drop(sim.settle(process, Ok(Answer::Claim(answer)))));
    }

    /// Lets a tenure last for a duration from now at least.
    fn promise(&mut self, fence: i64, duration_ms: u64) {
        let until = self.now + duration_ms * MS * 102 / 100;
        if let Some((_, _, end)) = &mut self.claims.held {
            *end = until.max(*end);
        }
        self.after(until - self.now, move |sim| {
            let over = |(_, held, end): &(String, i64, u64)| *held == fence && *end <= sim.now;
            if sim.claims.held.as_ref().is_some_and(over) {
                sim.end_tenure();
            }
        });
    }

    fn end_tenure(&mut self) {
        let Some((_, fence, _)) = self.claims.held.take() else { return };
        let next = self.store.revision + 1;
        let mut edits = vec![(tenure_key(fence), None, 0)];
        let first = (!self.claims.line.is_empty()).then(|| self.claims.line.remove(0));
        if let Some((ticket, _, holder, _)) = &first {
            edits.push((ticket_key(*ticket), None, 0));
            edits.push((tenure_key(next), Some(holder.clone()), 0));
        }
        let revision = self.commit(edits);
        self.claims.ended.push(revision);
        for process in std::mem::take(&mut self.claims.awaiting) {
            self.claimed(process, ClaimAnswer::Vacant { revision, at: revision, handed_over: first.is_some() });
        }
        if let Some((_, process, holder, duration_ms)) = first {
            self.claims.held = Some((holder, revision, 0));
            self.promise(revision, duration_ms);
            self.claimed(process, ClaimAnswer::Taken { revision, fence: revision, guaranteed_ms: duration_ms });
        }
    }
}
