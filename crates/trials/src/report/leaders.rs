//! Who each member took for the leader, over time: one strip a member, one colour a leader, the
//! term in the title of each stretch.

use super::{
    super::{
        check::Case,
        history::{Fact, Leader},
    },
    chart::Chart,
    push,
};
use std::collections::BTreeMap;

const COLOURS: [&str; 7] = ["#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d"];
const ROW: f64 = 20.0;

fn told<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (u64, u32, &'a Leader)> {
    case.run.facts().filter_map(|(record, fact)| match fact {
        Fact::Leader(leader) => Some((record.time, record.node.unwrap_or(0), leader)),
        _ => None,
    })
}

/// How often a new term had a leader, after the first.
pub(super) fn changes(case: &Case<'_>) -> usize {
    let mut terms: Vec<u64> =
        told(case).filter(|(_, _, told)| told.leader != 0).map(|(_, _, told)| told.term).collect();
    terms.sort_unstable();
    terms.dedup();
    terms.len().saturating_sub(1)
}

/// Which member an id is, where the run's end told.
fn names(case: &Case<'_>) -> BTreeMap<u64, String> {
    let told = case.run.facts().filter_map(|(record, fact)| match fact {
        Fact::Log(log) if log.member != 0 => Some((log.member, format!("n{}", record.node?))),
        _ => None,
    });
    told.collect()
}

pub(super) fn section(case: &Case<'_>) -> String {
    let names = names(case);
    // Small numbers are those of nodes, others members' ids.
    let name = |id: u64| match names.get(&id) {
        Some(name) => name.clone(),
        None if id < 100 => format!("n{id}"),
        None => format!("{id:x}"),
    };
    let mut nodes: BTreeMap<u32, Vec<(u64, &Leader)>> = BTreeMap::new();
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    for (time, node, leader) in told(case) {
        nodes.entry(node).or_default().push((time, leader));
        numbers.entry(leader.leader).or_default();
    }
    if nodes.is_empty() {
        return "<p>Nobody told.</p>".into();
    }
    for (number, (_, colour)) in numbers.iter_mut().enumerate() {
        *colour = number;
    }
    let mut chart = Chart::new(case, nodes.len() as f64 * ROW + 4.0);
    for (row, (node, told)) in nodes.iter().enumerate() {
        let y = row as f64 * ROW + 4.0;
        chart.level(y + ROW / 2.0 - 2.0, &format!("n{node}"));
        for stretch in told.chunk_by(|(_, a), (_, b)| a == b) {
            let (Some((from, leader)), Some((until, _))) = (stretch.first(), stretch.last()) else { continue };
            // A stretch lasts until the next one begins.
            let next = told.iter().find(|(time, _)| time > until).map_or(*until, |(time, _)| *time);
            let style = if leader.leader == 0 {
                "fill=\"none\" stroke=\"#c33a3a\" stroke-dasharray=\"3 2\"".to_owned()
            } else {
                format!("fill=\"{}\"", COLOURS[numbers[&leader.leader] % COLOURS.len()])
            };
            let title = if leader.leader == 0 {
                format!("no leader known in term {}", leader.term)
            } else {
                format!("leader {} in term {}", name(leader.leader), leader.term)
            };
            chart.bar(*from, next, y, ROW - 6.0, &style, &title);
        }
    }
    let mut text = chart.done();
    text.push_str("<div class=\"legend\">leader:");
    for (leader, colour) in numbers.iter().filter(|(leader, _)| **leader != 0) {
        push(
            &mut text,
            format_args!("<i style=\"background:{}\"></i>{}", COLOURS[colour % COLOURS.len()], name(*leader)),
        );
    }
    push(&mut text, format_args!(" &nbsp; {} changes of leader</div>", changes(case)));
    text
}
