//! The line of an election: who waits, in order of place.
//!
//! A place is a class (the priority) and a rank. Arrivals get rising ranks; to stand before the
//! first in line is to have its class and a lower rank. Moving within the line exchanges places, so
//! nobody else is written.
//!
//! Who goes leaves a deleted row behind, and where a line moves they lie thick at its front. So the
//! head remembers a place that nobody stands before
//! ([`ElectionHead::first`](crate::coord::row::ElectionHead)): it moves on with whoever is found
//! first, and back to who comes before it. To find who is next costs the same however many were
//! before.

use super::Edit;
use crate::coord::Name;
use crate::coord::keys;
use crate::coord::row::{self, Candidate, Place, must};
use crate::machine::Batch;
use crate::view::{Fault, Step, View};

/// A place, and the candidate that stands there.
pub(super) type Standing = (Place, String);

impl<V: View> Batch<'_, V> {
    pub(super) fn join_line(&mut self, edit: &mut Edit<'_>, place: Place, id: &str) {
        self.put_row(keys::place(edit.name, place.class, place.rank), &id.to_owned());
        if edit.head.waiting == 0 || place.is_before(edit.head.first) {
            edit.head.first = place;
        }
        edit.head.waiting += 1;
    }

    pub(super) fn leave_line(&mut self, edit: &mut Edit<'_>, place: Place) {
        self.delete_row(keys::place(edit.name, place.class, place.rank));
        edit.head.waiting -= 1;
    }

    /// Who waits from a place on, at most so many.
    fn waiting_from(&self, name: &Name, place: Place, limit: usize) -> Result<Vec<Standing>, Fault> {
        take(self.rows(), keys::line_from(name, place.class, place.rank), limit, |_| false)
    }

    /// Everybody before a place, and who stands there.
    fn waiting_to(&self, edit: &Edit<'_>, place: Place) -> Result<Vec<Standing>, Fault> {
        let Place { class, rank } = edit.head.first;
        take(self.rows(), keys::line_from(edit.name, class, rank), usize::MAX, |at| at == place)
    }

    pub(super) fn first_in_line(&self, edit: &mut Edit<'_>) -> Result<Option<Standing>, Fault> {
        if edit.head.waiting == 0 {
            return Ok(None);
        }
        let first = self.waiting_from(edit.name, edit.head.first, 1)?.pop();
        if let Some((place, _)) = &first {
            edit.head.first = *place;
        }
        Ok(first)
    }

    /// The place before everybody who waits; for one of higher priority in its own class, so that
    /// it stays before later arrivals.
    fn front(&self, edit: &mut Edit<'_>, priority: i64) -> Result<Place, Fault> {
        Ok(match self.first_in_line(edit)? {
            Some((Place { class, rank }, _)) if class >= priority => Place { class, rank: rank - 1 },
            _ => Place { class: priority, rank: 0 },
        })
    }

    /// The first in line leads, if there is one.
    pub(super) fn lead_first(&mut self, edit: &mut Edit<'_>) -> Result<(), Fault> {
        if let Some((place, id)) = self.first_in_line(edit)? {
            self.leave_line(edit, place);
            edit.head.leader = Some(id);
        }
        Ok(())
    }

    /// Makes one that waits the leader; the leader is first in line then. Without a leader it is
    /// put first in line: what forbids that anybody leads forbids this too. Gives whether anything
    /// moved.
    pub(super) fn lead(&mut self, edit: &mut Edit<'_>, id: &str, row: &Candidate) -> Result<bool, Fault> {
        let Some(old) = edit.head.leader.clone() else { return self.put_in_front(edit, id, row) };
        self.leave_line(edit, row.place);
        edit.head.leader = Some(id.to_owned());
        let mut old_row = must(self.candidate(edit.name, &old)?, "a leader")?;
        old_row.place = self.front(edit, old_row.priority)?;
        self.put_candidate(edit.name, &old, &old_row);
        self.join_line(edit, old_row.place, &old);
        Ok(true)
    }

    pub(super) fn put_in_front(&mut self, edit: &mut Edit<'_>, id: &str, row: &Candidate) -> Result<bool, Fault> {
        if self.first_in_line(edit)?.is_some_and(|(place, _)| place == row.place) {
            return Ok(false);
        }
        self.leave_line(edit, row.place);
        let mut row = row.clone();
        row.place = self.front(edit, row.priority)?;
        self.put_candidate(edit.name, id, &row);
        self.join_line(edit, row.place, id);
        Ok(true)
    }

    /// Moves one that waits `places` ahead. Gives whether that takes it past the first in line.
    pub(super) fn ahead(&mut self, edit: &Edit<'_>, row: &Candidate, places: u32) -> Result<Ahead, Fault> {
        let before = self.waiting_to(edit, row.place)?;
        let at = before.len() - 1;
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        if edit.head.leader.is_some() && places > at {
            return Ok(Ahead::PastTheFirst);
        }
        let part = &before[at.saturating_sub(places)..];
        let mut ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        ids.rotate_right(1);
        self.rearrange(edit.name, part, &ids)
    }

    /// Moves one that waits `places` back, or to the end.
    pub(super) fn back(&mut self, edit: &Edit<'_>, row: &Candidate, places: u32) -> Result<Ahead, Fault> {
        let limit = usize::try_from(places).unwrap_or(usize::MAX).saturating_add(1);
        let part = self.waiting_from(edit.name, row.place, limit)?;
        let mut ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        ids.rotate_left(1);
        self.rearrange(edit.name, &part, &ids)
    }

    /// Gives places to candidates anew.
    fn rearrange(&mut self, name: &Name, places: &[Standing], ids: &[String]) -> Result<Ahead, Fault> {
        if places.len() < 2 {
            return Ok(Ahead::Stays);
        }
        for ((place, before), id) in places.iter().zip(ids) {
            if before == id {
                continue;
            }
            let mut row = must(self.candidate(name, id)?, "a candidate in line")?;
            row.place = *place;
            self.put_candidate(name, id, &row);
            self.put_row(keys::place(name, place.class, place.rank), id);
        }
        Ok(Ahead::Moved)
    }

    fn rows(&self) -> &crate::overlay::Overlay<'_, V> {
        &self.rows
    }
}

/// What moving in the line came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    Stays,
    Moved,
    PastTheFirst,
}

fn take<V: View>(
    view: &V,
    bounds: (Vec<u8>, Vec<u8>),
    limit: usize,
    last: impl Fn(Place) -> bool,
) -> Result<Vec<Standing>, Fault> {
    let mut found = Vec::new();
    row::each(view, bounds, |key, id: String| {
        let (class, rank) = must(keys::split_place(key), "a place")?;
        let place = Place { class, rank };
        found.push((place, id));
        Ok(if found.len() >= limit || last(place) { Step::Stop } else { Step::Next })
    })?;
    Ok(found)
}
