//! Leaving an election: by the candidate, by eviction, and by deletion of the whole election.

use super::Told;
use super::enter::place;
use crate::coord::row::{self, Cause, must};
use crate::coord::{CoordResponse, Evict, EvictEverywhere, Kind, Leave, Name, keys};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, Step, Table, View};
use crate::{LeaseId, MOST_KEYS, Rejection};

impl<V: View> Batch<'_, V> {
    pub(in crate::coord) fn leave(&mut self, session: LeaseId, leave: &Leave) -> Result<CoordResponse, Stop> {
        let Leave { election: name, candidate: id, instance } = leave;
        let mut edit = self.open(name)?;
        let row = self.candidate(name, id)?.filter(|row| row.is_left_by(session, instance.as_deref()));
        let Some(row) = row else { return Ok(self.tell(&edit, false, id)?) };
        self.take_out(&mut edit, id, &row, Cause::Left)?;
        self.close(&mut edit, &Told::new(Cause::Left, id))?;
        Ok(self.tell(&edit, true, id)?)
    }

    /// Removes a candidate for a cancelled attempt. Returns whether it was removed.
    pub(crate) fn cancel_candidate(
        &mut self,
        session: LeaseId,
        attempt: u64,
        name: &Name,
        id: &str,
    ) -> Result<bool, Fault> {
        let Some(row) = self.candidate(name, id)?.filter(|row| row.lease == session) else { return Ok(false) };
        let mut edit = self.open(name)?;
        if self.attempt_cancelled(place(session, name, id), attempt)?.decide(|| Ok(edit.leads(id)))? {
            return Ok(false);
        }
        self.take_out(&mut edit, id, &row, Cause::Left)?;
        self.close(&mut edit, &Told::new(Cause::Left, id))?;
        Ok(true)
    }

    pub(in crate::coord) fn evict(&mut self, evict: &Evict) -> Result<CoordResponse, Stop> {
        let Evict { election: name, candidate: id, cooldown_ms, reason, ignore_missing } = evict;
        if self.wanted(name, id, *ignore_missing)?.is_none() {
            return Ok(self.tell(&self.open(name)?, false, id)?);
        }
        self.evict_from(name, id, *cooldown_ms, reason)?;
        Ok(self.tell(&self.open(name)?, true, id)?)
    }

    fn evict_from(&mut self, name: &Name, id: &str, cooldown_ms: u64, reason: &str) -> Result<(), Fault> {
        let row = must(self.candidate(name, id)?, "a candidate to evict")?;
        let mut edit = self.open(name)?;
        self.ban(Kind::Election, name, id, cooldown_ms)?;
        self.take_out(&mut edit, id, &row, Cause::Evicted)?;
        self.close(&mut edit, &Told { cause: Cause::Evicted, subject: id, reason })
    }

    /// Evicts from all elections in one command and one revision, so a node is drained at once.
    pub(in crate::coord) fn evict_everywhere(&mut self, evict: &EvictEverywhere) -> Result<CoordResponse, Stop> {
        let EvictEverywhere { namespace, candidate: id, cooldown_ms, reason } = evict;
        let (from, below) = match namespace {
            Some(namespace) => keys::stands_in(id, namespace).all(),
            None => keys::stands(id).all(),
        };
        let skip = keys::stands(id).done().len();
        let mut names = Vec::new();
        self.rows.scan(Table::Coord, &from, &below, &mut |key, _| {
            let mut rest = key.get(skip..).unwrap_or_default();
            let (namespace, name) = (keys::take_text(&mut rest), keys::take_text(&mut rest));
            let (namespace, name) = (must(namespace, "a candidacy")?, must(name, "a candidacy")?);
            names.push(Name { namespace, name });
            Ok(if names.len() <= MOST_KEYS { Step::Next } else { Step::Stop })
        })?;
        self.looked_at(names.len())?;
        for name in &names {
            self.evict_from(name, id, *cooldown_ms, reason)?;
        }
        Ok(CoordResponse::EvictedEverywhere { evicted: names.len() as u64 })
    }

    /// Ends the election. Watchers see the deletion of its term key. A later election of that name
    /// counts from one again, with term ids above all earlier ones.
    pub(in crate::coord) fn delete_election(&mut self, name: &Name) -> Result<CoordResponse, Stop> {
        let head = self.election_head(name)?.ok_or(Rejection::NoElection)?;
        let mut ids: Vec<String> = head.leader.clone().into_iter().collect();
        let mut lines = Vec::new();
        row::each(&self.rows, keys::line(Kind::Election, name).all(), |key, id: String| {
            lines.push(key.to_vec());
            ids.push(id);
            Ok(if lines.len() <= MOST_KEYS { Step::Next } else { Step::Stop })
        })?;
        let mut bans = Vec::new();
        row::each(&self.rows, keys::cooldowns(Kind::Election, name).all(), |key, timer: u64| {
            bans.push((key.to_vec(), timer));
            Ok(if bans.len() <= MOST_KEYS { Step::Next } else { Step::Stop })
        })?;
        self.looked_at(ids.len() + bans.len())?;
        for id in ids {
            let row = must(self.candidate(name, &id)?, "a candidate")?;
            self.forget_candidate(name, &id, &row);
        }
        lines.into_iter().for_each(|line| self.delete_row(line));
        for (row, timer) in bans {
            self.delete_row(row);
            self.disarm(timer)?;
        }
        self.disarm(head.delay_timer)?;
        self.disarm(head.hold_timer)?;
        self.disarm(head.transfer.map_or(0, |pending| pending.timer))?;
        self.delete_row(keys::head(Kind::Election, name));
        self.hide(keys::leader_key(name, head.term_id));
        self.hide(keys::term_key(name));
        Ok(CoordResponse::ElectionDeleted {})
    }
}
