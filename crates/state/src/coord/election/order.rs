//! Manual changes of the order: anoint, promote, demote.
//!
//! A move that changes nothing makes no event and takes no revision.

use super::Told;
use super::line::Ahead;
use crate::coord::row::{Cause, must};
use crate::coord::{Anoint, CoordResponse, Demote, Promote, PromoteTo};
use crate::machine::{Batch, Stop};
use crate::view::View;

impl<V: View> Batch<'_, V> {
    pub(in crate::coord) fn anoint(&mut self, anoint: &Anoint) -> Result<CoordResponse, Stop> {
        let Anoint { election: name, candidate: id, ignore_missing } = anoint;
        let row = self.wanted(name, id, *ignore_missing)?;
        let mut edit = self.open(name)?;
        let Some(row) = row.filter(|_| !edit.leads(id)) else { return Ok(self.tell(&edit, false, id)?) };
        if !self.lead(&mut edit, id, &row)? {
            return Ok(self.tell(&edit, false, id)?);
        }
        self.close(&mut edit, &Told::new(Cause::Anointed, id))?;
        Ok(self.tell(&edit, true, id)?)
    }

    pub(in crate::coord) fn promote(&mut self, promote: &Promote) -> Result<CoordResponse, Stop> {
        let Promote { election: name, candidate: id, to, ignore_missing } = promote;
        let row = self.wanted(name, id, *ignore_missing)?;
        let mut edit = self.open(name)?;
        let Some(row) = row.filter(|_| !edit.leads(id)) else { return Ok(self.tell(&edit, false, id)?) };
        let moved = match to {
            PromoteTo::Lead => self.lead(&mut edit, id, &row)?,
            PromoteTo::Front => self.put_in_front(&mut edit, id, &row)?,
            PromoteTo::Places(places) => match self.ahead(&edit, &row, *places)? {
                Ahead::Stays => false,
                Ahead::Moved => true,
                Ahead::PastTheFirst => self.lead(&mut edit, id, &row)?,
            },
        };
        if !moved {
            return Ok(self.tell(&edit, false, id)?);
        }
        self.close(&mut edit, &Told::new(Cause::Promoted, id))?;
        Ok(self.tell(&edit, true, id)?)
    }

    pub(in crate::coord) fn demote(&mut self, demote: &Demote) -> Result<CoordResponse, Stop> {
        let Demote { election: name, candidate: id, places, ignore_missing } = demote;
        let row = self.wanted(name, id, *ignore_missing)?;
        let mut edit = self.open(name)?;
        let Some(row) = row.filter(|_| *places > 0) else { return Ok(self.tell(&edit, false, id)?) };
        let mut left = *places;
        let mut row = row;
        let stepped_down = edit.leads(id);
        if stepped_down {
            if edit.head.waiting == 0 {
                return Ok(self.tell(&edit, false, id)?);
            }
            let (_, next) = must(self.first_in_line(&mut edit)?, "who waits")?;
            let next_row = must(self.candidate(name, &next)?, "who waits")?;
            self.lead(&mut edit, &next, &next_row)?;
            row = must(self.candidate(name, id)?, "a leader that stepped down")?;
            left -= 1;
        }
        let moved = self.back(&edit, &row, left)?;
        if moved == Ahead::Stays && !stepped_down {
            return Ok(self.tell(&edit, false, id)?);
        }
        self.close(&mut edit, &Told::new(Cause::Demoted, id))?;
        Ok(self.tell(&edit, true, id)?)
    }
}
