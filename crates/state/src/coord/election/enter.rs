//! Entering an election.
//!
//! A candidate enters under a name, in a session that it lasts as long as. If nobody leads and
//! nothing delays the next leader, the first in line leads at once; the others wait, by priority
//! and then in the order of their arrival. Entering again finds the same place, so a request may be
//! repeated through any member.
//!
//! 1. An election has one candidate per name. It belongs to one session and one instance in it,
//!    which finds its place again when it enters again.
//! 2. While the candidate exists, another session or instance is rejected, or takes over its place
//!    with a new term.
//! 3. A `try_only` request leaves no trace unless it leads.

use super::{Edit, Told};
use crate::attempt::PlaceRow;
use crate::coord::row::{Candidate, Cause, Dependent, Place, must};
use crate::coord::{CoordResponse, Enter, Kind, Name, instance_of, keys};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, View};
use crate::{LeaseId, Rejection};

impl<V: View> Batch<'_, V> {
    pub(in crate::coord) fn enter(&mut self, session: LeaseId, enter: &Enter) -> Result<CoordResponse, Stop> {
        let Enter { election: name, candidate: id, attempt, .. } = enter;
        if session == 0 {
            return Err(Rejection::LeaseNotFound.into());
        }
        if self.is_banned(Kind::Election, name, id)? {
            return Err(Rejection::CoolingDown.into());
        }
        let mut edit = self.open(name)?;
        match self.candidate(name, id)? {
            Some(row) if row.is_of(session, &enter.instance) => {
                self.attempt_found(place(session, name, id), *attempt)?;
                Ok(self.tell(&edit, false, id)?)
            }
            Some(row) if !enter.takeover => Err(Rejection::AlreadyExists { session: row.lease }.into()),
            Some(row) => {
                self.take_over(&mut edit, session, enter, &row)?;
                Ok(self.tell(&edit, true, id)?)
            }
            None => Ok(self.enter_anew(&mut edit, session, enter)?),
        }
    }

    fn take_over(
        &mut self,
        edit: &mut Edit<'_>,
        session: LeaseId,
        enter: &Enter,
        old: &Candidate,
    ) -> Result<(), Fault> {
        let id = &enter.candidate;
        let dependent = Dependent::Candidate { election: edit.name.clone(), id: id.clone() };
        self.free(old.lease, &dependent);
        self.depend(session, &dependent, enter.attempt);
        let row = Candidate { place: old.place, joined: self.next_revision(), ..candidate(session, enter) };
        self.put_candidate(edit.name, id, &row);
        edit.renew = edit.leads(id);
        self.close(edit, &Told::new(Cause::TakenOver, id))
    }

    fn enter_anew(&mut self, edit: &mut Edit<'_>, session: LeaseId, enter: &Enter) -> Result<CoordResponse, Fault> {
        let id = &enter.candidate;
        let preempts = enter.preempt && self.leader_priority(edit)?.is_some_and(|priority| enter.priority > priority);
        let free = edit.head.leader.is_none() && edit.head.delay_timer == 0 && edit.head.waiting == 0;
        if enter.try_only && !free && !preempts {
            return self.tell(edit, false, id);
        }
        let place = Place { class: enter.priority, rank: edit.head.next_rank };
        edit.head.next_rank += 1;
        let row = Candidate { place, joined: self.next_revision(), ..candidate(session, enter) };
        self.depend(session, &Dependent::Candidate { election: edit.name.clone(), id: id.clone() }, enter.attempt);
        self.put_row(keys::stands_at(id, edit.name), &());
        self.put_candidate(edit.name, id, &row);
        self.join_line(edit, place, id);
        if preempts {
            self.lead(edit, id, &row)?;
        }
        self.close(edit, &Told::new(if preempts { Cause::Preempted } else { Cause::Entered }, id))?;
        self.tell(edit, true, id)
    }

    fn leader_priority(&self, edit: &Edit<'_>) -> Result<Option<i64>, Fault> {
        let Some(leader) = &edit.head.leader else { return Ok(None) };
        Ok(Some(must(self.candidate(edit.name, leader)?, "a leader")?.priority))
    }
}

/// Where the ledger keeps a candidate's attempts.
pub(super) fn place(session: LeaseId, election: &Name, id: &str) -> PlaceRow {
    PlaceRow::of_dependent(session, &Dependent::Candidate { election: election.clone(), id: id.to_owned() })
}

fn candidate(lease: LeaseId, enter: &Enter) -> Candidate {
    Candidate {
        instance: instance_of(lease, &enter.instance),
        lease,
        priority: enter.priority,
        value: enter.value.clone(),
        labels: enter.labels.clone(),
        lock_delay_ms: enter.lock_delay_ms,
        max_hold_ms: enter.max_hold_ms,
        ..Candidate::default()
    }
}
