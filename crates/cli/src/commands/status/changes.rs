//! What has happened from one look to the next, a line each.

use super::view::{Election, Member, State, View, kind_text};
use crate::output::human;

/// The lines; none if nothing that people care about has changed. `known`: what was last known of
/// elections, which may be of an earlier look.
pub(super) fn changes(before: &View, known: &[Election], now: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for member in &now.members {
        let old = before.members.iter().find(|old| old.id == member.id);
        lines.extend(member_change(old, member));
    }
    let gone = before.members.iter().filter(|old| now.members.iter().all(|member| member.id != old.id));
    lines.extend(gone.map(|old| format!("{} is no member any more", before.name(old.id))));
    match (before.leader, now.leader) {
        (old, Some(id)) if old != Some(id) => {
            lines.push(format!("{} leads the cluster in term {}", now.name(id), now.term));
        }
        (Some(id), None) => {
            lines.push(format!("the cluster has no leader; {} led in term {}", now.name(id), before.term))
        }
        (Some(id), Some(_)) if before.term != now.term => {
            lines.push(format!("{} leads again, in term {}", now.name(id), now.term));
        }
        _ => {}
    }
    let raised = now.alarms.iter().filter(|alarm| !before.alarms.contains(alarm));
    lines.extend(raised.map(|(member, alarm)| format!("ALARM {alarm} at {}", now.name(*member))));
    // Without an answer about elections nothing can be said of them; it will be, when there is one.
    if !now.elections.unknown {
        election_changes(known, &now.elections.rows, &mut lines);
    }
    lines
}

fn member_change(old: Option<&Member>, member: &Member) -> Option<String> {
    let name = human::or_dash(&member.name);
    match (old.map(|old| &old.state), &member.state) {
        (None, _) => Some(format!("{name} is a new member")),
        (Some(State::Up { .. }), State::Down(reason)) => Some(format!("{name} is down: {reason}")),
        (Some(State::Down(_)), State::Up { .. }) => Some(format!("{name} is up again")),
        (Some(State::Up { leader: before, .. }), State::Up { leader: 0, .. }) if *before != 0 => {
            Some(format!("{name} knows no leader"))
        }
        _ => None,
    }
}

fn election_changes(before: &[Election], now: &[Election], lines: &mut Vec<String>) {
    let same = |a: &Election, b: &Election| a.kind == b.kind && a.name == b.name;
    for row in now {
        let old = before.iter().find(|old| same(old, row));
        if old.is_some_and(|old| old.fence == row.fence && old.leader == row.leader) {
            continue;
        }
        let kind = kind_text(row.kind);
        match (row.leader.as_str(), old) {
            ("", _) => lines.push(format!("{kind} {:?}: nobody", row.name)),
            (leader, Some(old)) if !old.leader.is_empty() => {
                lines.push(format!("{kind} {:?}: {leader} after {} (fence {})", row.name, old.leader, row.fence));
            }
            (leader, _) => lines.push(format!("{kind} {:?}: {leader} (fence {})", row.name, row.fence)),
        }
    }
    for old in before.iter().filter(|old| now.iter().all(|row| !same(old, row))) {
        let kind = kind_text(old.kind);
        lines.push(format!("{kind} {:?} is gone", old.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, up: bool) -> Member {
        let state = if up {
            State::Up { index: 9, applied: 9, leader: 1, size: 0, version: String::new(), errors: String::new() }
        } else {
            State::Down("connection refused".into())
        };
        Member { id, name: format!("n{id}"), address: String::new(), learner: false, state }
    }

    #[test]
    fn what_people_care_about_is_told() {
        let before =
            View { term: 1, leader: Some(1), members: vec![member(1, true), member(2, true)], ..View::default() };
        let changes = |before: &View, now: &View| changes(before, &before.elections.rows, now);
        assert!(changes(&before, &before).is_empty());
        let after =
            View { term: 2, leader: Some(2), members: vec![member(1, false), member(2, true)], ..before.clone() };
        assert_eq!(changes(&before, &after), ["n1 is down: connection refused", "n2 leads the cluster in term 2"]);
        assert_eq!(changes(&after, &before)[0], "n1 is up again");
        let none = View { leader: None, ..before.clone() };
        assert_eq!(changes(&before, &none), ["the cluster has no leader; n1 led in term 1"]);
    }

    fn row(leader: &str, fence: i64) -> Election {
        Election { kind: "election", name: "e".into(), leader: leader.into(), fence, waiting: 0 }
    }

    #[test]
    fn what_is_not_known_is_not_gone_and_is_told_later() {
        let view = View::default();
        let mut silent = View::default();
        silent.elections.unknown = true;
        assert!(changes(&view, &[row("a", 5)], &silent).is_empty());
        assert_eq!(changes(&silent, &[row("a", 5)], &view), [r#"election "e" is gone"#]);
    }

    #[test]
    fn elections_change_hands() {
        let mut lines = Vec::new();
        election_changes(&[row("a", 5)], &[row("b", 7)], &mut lines);
        election_changes(&[row("b", 7)], &[row("", 7)], &mut lines);
        election_changes(&[row("", 7)], &[row("c", 9)], &mut lines);
        election_changes(&[row("c", 9)], &[], &mut lines);
        assert_eq!(
            lines,
            [
                r#"election "e": b after a (fence 7)"#,
                r#"election "e": nobody"#,
                r#"election "e": c (fence 9)"#,
                r#"election "e" is gone"#
            ]
        );
    }
}
