//! Who held each lock, election and claim: above, the tenures as the store has them, with their
//! fences; below, thin, what clients believed. A belief that reaches into another's is what
//! `exclusion` forbids; it is drawn in red.

use super::{
    super::check::{Belief, Case, Kind, Place, beliefs, holders, owner, places},
    chart::Chart,
    escape, kind, push,
};
use std::collections::BTreeMap;

const COLOURS: [&str; 6] = ["#7aa6d6", "#f2b36b", "#8fc68a", "#c9a3c4", "#e89a99", "#9fd1cd"];
const ROW: f64 = 34.0;
/// Names and bars of each that are drawn.
const NAMES: usize = 40;
const BARS: usize = 1_500;

pub(super) fn section(case: &Case<'_>) -> String {
    let mut names: BTreeMap<(Kind, &str), Vec<usize>> = BTreeMap::new();
    for (i, grant) in case.grants.iter().enumerate() {
        names.entry((grant.kind, grant.name)).or_default().push(i);
    }
    if names.is_empty() {
        return "<p>Nothing was granted.</p>".into();
    }
    let beliefs = beliefs(case);
    let mut text = String::new();
    let left_out = names.len().saturating_sub(NAMES);
    for ((sort, name), grants) in names.into_iter().take(NAMES) {
        push(
            &mut text,
            format_args!("<h3>{} {} <small>({} grants)</small></h3>", kind(sort), escape(name), grants.len()),
        );
        let mut chart = Chart::new(case, ROW);
        draw_tenures(&mut chart, case, &tenures(case, sort, name));
        let mut believed: Vec<_> =
            beliefs.iter().filter(|belief| (belief.grant.kind, belief.grant.name) == (sort, name)).collect();
        believed.sort_by_key(|belief| belief.from);
        draw_beliefs(&mut chart, case, &believed);
        text.push_str(&chart.done());
    }
    if left_out > 0 {
        push(&mut text, format_args!("<p>{left_out} more are not drawn.</p>"));
    }
    text
}

/// Who held, by revision; etcd's from when the key was the oldest.
fn tenures<'a>(case: &Case<'a>, sort: Kind, name: &str) -> Vec<Place<'a>> {
    let mut found = places(&case.timeline, &holders(sort, name));
    if matches!(sort, Kind::EtcdLock | Kind::EtcdElection) {
        let mut moments: Vec<i64> = found.iter().flat_map(|place| [place.from, place.until]).collect();
        moments.sort_unstable();
        moments.dedup();
        let mut held: Vec<Place<'_>> = Vec::new();
        // Only as many as are drawn: each moment looks at the whole line.
        for moment in moments.into_iter().take(2 * BARS) {
            let Some(first) = owner(&found, moment) else { continue };
            if held.last().is_none_or(|last| (last.key, last.fence) != (first.key, first.fence)) {
                held.push(Place { from: moment, ..first.clone() });
            }
        }
        found = held;
    }
    found
}

/// Side by side where several hold at once.
fn draw_tenures(chart: &mut Chart<'_>, case: &Case<'_>, tenures: &[Place<'_>]) {
    let at_once = |place: &Place<'_>| tenures.iter().take(BARS).filter(|other| other.stands_at(place.from)).count();
    let lanes = tenures.iter().take(BARS).map(at_once).max().unwrap_or(1).clamp(1, 4);
    let mut free = vec![i64::MIN; lanes];
    for tenure in tenures.iter().take(BARS) {
        let lane = free.iter().position(|until| *until <= tenure.from).unwrap_or(lanes - 1);
        free[lane] = tenure.until;
        let height = 17.0 / lanes as f64;
        draw_tenure(chart, case, tenure, 3.0 + lane as f64 * height, height);
    }
}

fn draw_tenure(chart: &mut Chart<'_>, case: &Case<'_>, tenure: &Place<'_>, y: f64, height: f64) {
    let Some((from, _)) = case.timeline.seen(tenure.from) else { return };
    let until = case.timeline.seen(tenure.until).map_or(case.ended, |(time, _)| time);
    let colour = COLOURS[tenure.fence as usize % COLOURS.len()];
    let title =
        format!("fence {}, revisions {} to {}: {}", tenure.fence, tenure.from, until_text(tenure.until), tenure.key);
    chart.bar(from, until, y, height, &format!("fill=\"{colour}\" stroke=\"#fff\" stroke-width=\".6\""), &title);
    let (left, right) = (chart.x(from), chart.x(until));
    if right - left > 26.0 && height > 10.0 {
        let middle = f64::midpoint(left, right);
        let text = format_args!(
            "<text x=\"{middle:.1}\" y=\"15\" text-anchor=\"middle\" style=\"fill:#1d2430\">{}</text>",
            tenure.fence
        );
        push(&mut chart.text, text);
    }
}

fn until_text(until: i64) -> String {
    if until == i64::MAX { "the end".into() } else { until.to_string() }
}

fn draw_beliefs(chart: &mut Chart<'_>, case: &Case<'_>, believed: &[&Belief<'_>]) {
    let mut longest: Option<&Belief<'_>> = None;
    for belief in believed.iter().take(BARS) {
        let overlaps = longest.is_some_and(|other| {
            other.until > belief.from + case.run.bounds.uncertainty
                && other.grant.fence != belief.grant.fence
                && other.grant.mode == super::super::history::Mode::Exclusive
        });
        let style = if overlaps { "fill=\"#c33a3a\"" } else { "fill=\"#4a5567\"" };
        let title = format!("believed to hold under fence {}, until {}", belief.grant.fence, belief.why);
        chart.bar(belief.from, belief.until, 23.0, 6.0, style, &title);
        if longest.is_none_or(|other| other.until < belief.until) {
            longest = Some(belief);
        }
    }
}
