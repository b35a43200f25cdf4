//! Queue elections: Atomix's model with fences, priorities and hand-over, and without the faults of
//! its versions.
//!
//! An operation opens the election, changes the leader and the line, and closes it. Closing
//! installs the first in line if there is no leader and no lock-delay, and advances the term at
//! most once for the whole operation.
//!
//! 1. An operation advances the term at most once, whatever it did in between.
//! 2. The leader is in the head, all other candidates are in the line, each once.
//! 3. The term id is the revision that installed the leader, and stays when the leader leaves. The
//!    sequence counts installations.

mod enter;
mod leave;
mod line;
mod order;
mod transfer;

use super::project::Json;
use super::row::{self, Candidate, Cause, Dependent, ElectionHead, Place, Purpose, must};
use super::settle::ElectionDue;
use super::{CoordResponse, Kind, Name, Standing, Term, keys};
use crate::Rejection;
use crate::machine::{Batch, Stop};
use crate::view::{Fault, View};

/// An election while an operation changes it.
pub(super) struct Edit<'n> {
    name: &'n Name,
    head: ElectionHead,
    /// The leader when it was opened, and its term.
    leader: Option<String>,
    term_id: i64,
    /// A new term though the leader's name is the same.
    renew: bool,
    /// The lock-delay after a lost leader.
    delay_ms: u64,
}

impl<'n> Edit<'n> {
    fn leads(&self, id: &str) -> bool {
        self.head.leader.as_deref() == Some(id)
    }
}

/// The description of an operation for the projected term.
struct Told<'a> {
    cause: Cause,
    subject: &'a str,
    reason: &'a str,
}

impl<'a> Told<'a> {
    fn new(cause: Cause, subject: &'a str) -> Told<'a> {
        Told { cause, subject, reason: "" }
    }
}

impl<V: View> Batch<'_, V> {
    pub(super) fn election_head(&self, name: &Name) -> Result<Option<ElectionHead>, Fault> {
        self.get_row(&keys::head(Kind::Election, name))
    }

    fn open<'n>(&self, name: &'n Name) -> Result<Edit<'n>, Fault> {
        let head = self.election_head(name)?.unwrap_or_default();
        let (leader, term_id) = (head.leader.clone(), head.term_id);
        Ok(Edit { name, head, leader, term_id, renew: false, delay_ms: 0 })
    }

    pub(in crate::coord) fn candidate(&self, name: &Name, id: &str) -> Result<Option<Candidate>, Fault> {
        self.get_row(&keys::candidate(name, id))
    }

    /// The candidate of an operation; `None` if it is missing and may be.
    fn wanted(&self, name: &Name, id: &str, ignore_missing: bool) -> Result<Option<Candidate>, Stop> {
        match self.candidate(name, id)? {
            None if !ignore_missing => Err(Rejection::NotACandidate.into()),
            found => Ok(found),
        }
    }

    /// Ends the operation: installs a leader, advances the term, writes and projects the head.
    fn close(&mut self, edit: &mut Edit<'_>, told: &Told<'_>) -> Result<(), Fault> {
        let name = edit.name;
        if edit.delay_ms > 0 && edit.head.leader.is_none() {
            self.disarm(edit.head.delay_timer)?;
            edit.head.delay_timer = self.arm(Purpose::ElectionDelay { election: name.clone() }, edit.delay_ms)?;
        }
        if edit.head.leader.is_none() && edit.head.delay_timer == 0 {
            self.lead_first(edit)?;
        }
        edit.head.previous = None;
        if edit.renew || edit.head.leader != edit.leader {
            self.step_term(edit)?;
            self.end_transfer(edit)?;
        }
        let head = &mut edit.head;
        head.changed = self.next_revision();
        head.cause = told.cause;
        told.subject.clone_into(&mut head.subject);
        told.reason.clone_into(&mut head.reason);
        self.put_row(keys::head(Kind::Election, name), &edit.head);
        self.show(keys::term_key(name), term_value(&edit.head), 0);
        Ok(())
    }

    fn step_term(&mut self, edit: &mut Edit<'_>) -> Result<(), Fault> {
        if let Some(old) = &edit.leader {
            self.hide(keys::leader_key(edit.name, edit.term_id));
            self.disarm(edit.head.hold_timer)?;
            edit.head.hold_timer = 0;
            edit.head.previous = Some(old.clone());
        }
        if let Some(id) = &edit.head.leader {
            let Candidate { value, lease, max_hold_ms, .. } = must(self.candidate(edit.name, id)?, "a leader")?;
            edit.head.term_id = self.next_revision();
            edit.head.seq += 1;
            self.show(keys::leader_key(edit.name, edit.head.term_id), value.to_vec(), lease);
            if max_hold_ms > 0 {
                let purpose = Purpose::ElectionHold { election: edit.name.clone() };
                edit.head.hold_timer = self.arm(purpose, max_hold_ms)?;
            }
        }
        Ok(())
    }

    fn end_transfer(&mut self, edit: &mut Edit<'_>) -> Result<(), Fault> {
        edit.head.transfer.take().map_or(Ok(()), |pending| self.disarm(pending.timer))
    }

    /// Removes a candidate, whether it leads or waits.
    fn take_out(&mut self, edit: &mut Edit<'_>, id: &str, row: &Candidate, cause: Cause) -> Result<(), Fault> {
        if edit.leads(id) {
            edit.head.leader = None;
            if cause.is_abnormal() {
                edit.delay_ms = row.lock_delay_ms;
            }
        } else {
            self.leave_line(edit, row.place);
        }
        if edit.head.transfer.as_ref().is_some_and(|pending| pending.to == id) {
            self.end_transfer(edit)?;
        }
        self.forget_candidate(edit.name, id, row);
        Ok(())
    }

    fn forget_candidate(&mut self, name: &Name, id: &str, row: &Candidate) {
        self.delete_row(keys::candidate(name, id));
        self.delete_row(keys::stands_at(id, name));
        self.free(row.lease, &Dependent::Candidate { election: name.clone(), id: id.to_owned() });
        self.hide(keys::candidate_key(name, id));
    }

    fn put_candidate(&mut self, name: &Name, id: &str, row: &Candidate) {
        self.put_row(keys::candidate(name, id), row);
        self.show(keys::candidate_key(name, id), candidate_value(row), row.lease);
    }

    /// Handles ended sessions and timers.
    pub(super) fn settle_election(&mut self, name: &Name, due: ElectionDue) -> Result<(), Fault> {
        let mut edit = self.open(name)?;
        let mut told: Option<(Cause, String)> = None;
        if due.delay_over {
            edit.head.delay_timer = 0;
            told = Some((Cause::DelayOver, String::new()));
        }
        if due.transfer_over
            && let Some(pending) = &mut edit.head.transfer
        {
            pending.timer = 0;
            let (to, force) = (pending.to.clone(), pending.force);
            self.end_transfer(&mut edit)?;
            told = Some((if force { Cause::Transferred } else { Cause::TransferLapsed }, to.clone()));
            if force && edit.head.leader.is_some() && !due.gone.contains_key(&to) {
                let row = must(self.candidate(name, &to)?, "a candidate that is to lead")?;
                self.lead(&mut edit, &to, &row)?;
            }
        }
        let mut gone = due.gone;
        if due.hold_over
            && let Some(leader) = edit.leader.clone()
        {
            edit.head.hold_timer = 0;
            gone.entry(leader).or_insert(Cause::HoldEnded);
        }
        for (id, cause) in gone {
            let Some(row) = self.candidate(name, &id)? else { continue };
            let told_of_leader = told.as_ref().is_some_and(|(_, subject)| Some(subject) == edit.leader.as_ref());
            if !told_of_leader {
                told = Some((cause, id.clone()));
            }
            self.take_out(&mut edit, &id, &row, cause)?;
        }
        match told {
            Some((cause, subject)) => self.close(&mut edit, &Told::new(cause, &subject)),
            None => Ok(()),
        }
    }

    fn tell(&self, edit: &Edit<'_>, changed: bool, id: &str) -> Result<CoordResponse, Fault> {
        let standing = if edit.leads(id) {
            Standing::Leads {}
        } else if self.candidate(edit.name, id)?.is_some() {
            Standing::Waiting {}
        } else {
            Standing::Absent {}
        };
        Ok(CoordResponse::Election { term: term(&edit.head), changed, standing })
    }
}

pub(super) fn term(head: &ElectionHead) -> Term {
    let ElectionHead { term_id, seq, leader, waiting, changed, .. } = head;
    Term { id: *term_id, seq: *seq, leader: leader.clone(), waiting: *waiting, revision: *changed }
}

fn term_value(head: &ElectionHead) -> Vec<u8> {
    let mut json = Json::new()
        .number("term", head.term_id)
        .number("seq", head.seq)
        .text("leader", head.leader.as_deref().unwrap_or_default())
        .number("waiting", head.waiting)
        .number("at", head.changed)
        .text("cause", head.cause.word())
        .some("subject", &head.subject)
        .some("previous", head.previous.as_deref().unwrap_or_default())
        .some("reason", &head.reason);
    if let Some(pending) = &head.transfer {
        json = json.text("transfer_to", &pending.to);
    }
    if head.delay_timer != 0 {
        json = json.number("delayed", 1);
    }
    json.done()
}

fn candidate_value(row: &Candidate) -> Vec<u8> {
    let Place { class, rank } = row.place;
    Json::new()
        .text("instance", &row.instance)
        .number("priority", row.priority)
        .number("class", class)
        .number("rank", rank)
        .number("joined", row.joined)
        .texts("labels", &row.labels)
        .done()
}

/// The head of an election in any view, for reads.
pub(super) fn head_of<V: View>(view: &V, name: &Name) -> Result<Option<ElectionHead>, Fault> {
    row::get(view, &keys::head(Kind::Election, name))
}
