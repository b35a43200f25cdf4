//! Watchers with equal interests, as one group: matched once, encoded once.

use crate::follow::Span;
use crate::follow::followers::{Followers, Follows};
use conclave_state::{Event, EventKind};
use std::sync::Arc;

/// What a watcher wants to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Interest {
    pub(crate) span: Span,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    /// Events carry what the key held before.
    pub(crate) previous: bool,
}

impl Follows for Arc<Interest> {
    fn span(&self) -> &Span {
        &self.span
    }

    fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// Where a member stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) group: usize,
    pub(crate) position: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Groups(Followers<Arc<Interest>, Vec<usize>>);

impl Groups {
    pub(crate) fn join(&mut self, interest: &Arc<Interest>, member: usize) -> Seat {
        let group = self.0.open(interest, Vec::new);
        let members = self.0.get_mut(group);
        members.push(member);
        Seat { group, position: members.len() - 1 }
    }

    /// Gives the seat up. Answers with the member that sits there now, if one moved.
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<usize> {
        let members = self.0.get_mut(seat.group);
        members.swap_remove(seat.position);
        let moved = members.get(seat.position).copied();
        if members.is_empty() {
            self.0.close(seat.group);
        }
        moved
    }

    pub(crate) fn get(&self, group: usize) -> (&Interest, &[usize]) {
        let (interest, members) = self.0.get(group);
        (interest, members)
    }

    /// The groups that want any of `events`, each with the positions of those it wants.
    pub(crate) fn matching(&mut self, events: &[Event]) -> Vec<(usize, Vec<usize>)> {
        self.0.matching(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_kept_when_members_leave() {
        let span = Span::key(&b"a"[..]);
        let interest = Arc::new(Interest { span, no_put: false, no_delete: false, previous: false });
        let mut groups = Groups::default();
        let seats: Vec<Seat> = (10..14).map(|member| groups.join(&interest, member)).collect();
        assert_eq!(groups.leave(seats[1]), Some(13));
        assert_eq!(groups.get(seats[0].group).1, [10, 13, 12]);
        assert_eq!(groups.leave(seats[2]), None);
        assert_eq!(groups.leave(seats[1]), None);
        assert_eq!(groups.leave(seats[0]), None);
        assert!(groups.0.is_empty());
    }
}
