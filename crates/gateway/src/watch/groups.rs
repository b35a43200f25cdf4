//! Watchers with equal interests, as one group: matched once, encoded once.

use super::index::Index;
use super::interest::Interest;
use conclave_state::Event;
use slab::Slab;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) interest: Arc<Interest>,
    pub(crate) members: Vec<usize>,
    /// Which events of the batch at hand it wants.
    pending: Vec<usize>,
}

/// Where a member stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) group: usize,
    pub(crate) position: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Slab<Group>,
    by_interest: HashMap<Arc<Interest>, usize>,
    index: Index,
}

impl Groups {
    pub(crate) fn join(&mut self, interest: &Arc<Interest>, member: usize) -> Seat {
        let group = match self.by_interest.get(interest) {
            Some(&group) => group,
            None => {
                let group =
                    self.groups.insert(Group { interest: interest.clone(), members: Vec::new(), pending: Vec::new() });
                self.by_interest.insert(interest.clone(), group);
                self.index.insert(&interest.span, group);
                group
            }
        };
        let members = &mut self.groups[group].members;
        members.push(member);
        Seat { group, position: members.len() - 1 }
    }

    /// Gives the seat up. Answers with the member that sits there now, if one moved.
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<usize> {
        let members = &mut self.groups[seat.group].members;
        members.swap_remove(seat.position);
        let moved = members.get(seat.position).copied();
        if members.is_empty() {
            let group = self.groups.remove(seat.group);
            self.by_interest.remove(&group.interest);
            self.index.remove(&group.interest.span, seat.group);
        }
        moved
    }

    pub(crate) fn get(&self, group: usize) -> &Group {
        &self.groups[group]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups that want any of `events`, each with the positions of those it wants.
    pub(crate) fn matching(&mut self, events: &[Event]) -> Vec<(usize, Vec<usize>)> {
        let mut touched = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let groups = &mut self.groups;
            self.index.at(&event.kv.key, |id| {
                let group = &mut groups[id];
                if group.interest.wants(event.kind) {
                    if group.pending.is_empty() {
                        touched.push(id);
                    }
                    group.pending.push(at);
                }
            });
        }
        touched.into_iter().map(|id| (id, std::mem::take(&mut self.groups[id].pending))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::Span;
    use super::*;
    use bytes::Bytes;

    #[test]
    fn seats_are_kept_when_members_leave() {
        let span = Span::Key(Bytes::from_static(b"a"));
        let interest = Arc::new(Interest { span, no_put: false, no_delete: false, previous: false });
        let mut groups = Groups::default();
        let seats: Vec<Seat> = (10..14).map(|member| groups.join(&interest, member)).collect();
        assert_eq!(groups.leave(seats[1]), Some(13));
        assert_eq!(groups.get(seats[0].group).members, vec![10, 13, 12]);
        assert_eq!(groups.leave(seats[2]), None);
        assert_eq!(groups.leave(seats[1]), None);
        assert_eq!(groups.leave(seats[0]), None);
        assert!(groups.is_empty());
    }
}
