//! The line of an election: waiting candidates in order of place.
//!
//! A place is a class (the priority) and a rank. New candidates get rising ranks. A place before
//! the first in line has its class and a lower rank. A move within the line exchanges places, so no
//! other row is written.
//!
//! Each candidate that leaves the line leaves a tombstone, and many of them collect at its front.
//! So the head remembers a place before which there is no candidate
//! ([`ElectionHead::first`](crate::coord::row::ElectionHead)). It advances to the first candidate
//! found, and moves back when one enters before it. So the cost of finding the next candidate does
//! not grow with the number of earlier ones.

use super::Edit;
use crate::MOST_KEYS;
use crate::coord::Name;
use crate::coord::keys;
use crate::coord::row::{self, Candidate, Place, must};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, Step, View};

/// A place and its candidate.
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

    /// At most `limit` waiting candidates from a place on.
    fn waiting_from(&self, name: &Name, place: Place, limit: usize) -> Result<Vec<Standing>, Fault> {
        take(self.rows(), keys::line_from(name, place.class, place.rank), limit, |_| false)
    }

    /// All candidates up to a place, inclusive.
    fn waiting_to(&self, edit: &Edit<'_>, place: Place) -> Result<Vec<Standing>, Stop> {
        let Place { class, rank } = edit.head.first;
        let found = take(self.rows(), keys::line_from(edit.name, class, rank), MOST_KEYS + 1, |at| at == place)?;
        self.looked_at(found.len())?;
        Ok(found)
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

    /// The place before all waiting candidates. A candidate of higher priority keeps its own class,
    /// so that it stays before later ones.
    fn front(&self, edit: &mut Edit<'_>, priority: i64) -> Result<Place, Fault> {
        Ok(match self.first_in_line(edit)? {
            Some((Place { class, rank }, _)) if class >= priority => Place { class, rank: rank - 1 },
            _ => Place { class: priority, rank: 0 },
        })
    }

    /// Makes the first in line the leader, if there is one.
    pub(super) fn lead_first(&mut self, edit: &mut Edit<'_>) -> Result<(), Fault> {
        if let Some((place, id)) = self.first_in_line(edit)? {
            self.leave_line(edit, place);
            edit.head.leader = Some(id);
        }
        Ok(())
    }

    /// Makes a waiting candidate the leader; the previous leader becomes first in line. Without a
    /// leader the candidate becomes first in line, because a lock-delay may forbid a leader.
    /// Returns whether anything moved.
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

    /// Moves a waiting candidate `places` ahead. Returns whether that takes it past the first in
    /// line.
    pub(super) fn ahead(&mut self, edit: &Edit<'_>, row: &Candidate, places: u32) -> Result<Ahead, Stop> {
        let before = self.waiting_to(edit, row.place)?;
        let at = before.len() - 1;
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        if edit.head.leader.is_some() && places > at {
            return Ok(Ahead::PastTheFirst);
        }
        let part = &before[at.saturating_sub(places)..];
        let mut ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        ids.rotate_right(1);
        Ok(self.rearrange(edit.name, part, &ids)?)
    }

    /// Moves a waiting candidate `places` back, or to the end.
    pub(super) fn back(&mut self, edit: &Edit<'_>, row: &Candidate, places: u32) -> Result<Ahead, Stop> {
        let limit = usize::try_from(places).unwrap_or(usize::MAX).saturating_add(1);
        let part = self.waiting_from(edit.name, row.place, limit.min(MOST_KEYS + 1))?;
        self.looked_at(part.len())?;
        let mut ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        ids.rotate_left(1);
        Ok(self.rearrange(edit.name, &part, &ids)?)
    }

    /// Assigns places to candidates again.
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

/// The result of a move in the line.
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
