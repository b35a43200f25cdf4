//! A run as one page that needs nothing else: verdicts, latency and throughput under the faults,
//! who led, who held what.
//!
//! Pictures are SVG without scripts; a title on each mark says what it is. At most [`MOST`] marks
//! are drawn in a picture, evenly chosen, and the page says so. [`summary`] has the figures for
//! machines.

mod chart;
mod gantt;
mod latency;
mod leaders;
mod throughput;
mod verdicts;
mod window;

use super::{
    check::{Case, Finding, Kind, Verdict},
    history::{Entry, Outcome, Stage},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// Marks in one picture.
const MOST: usize = 10_000;

const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn page(case: &Case<'_>, findings: &[Finding], title: &str) -> String {
    let figures = summary(case, findings);
    let mut page = String::with_capacity(1 << 20);
    let name = escape(title);
    push(
        &mut page,
        format_args!("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>"),
    );
    push(&mut page, format_args!("<style>{STYLE}</style></head><body><h1>{name} {}</h1>", overall(findings)));
    page.push_str(&tiles(&figures));
    page.push_str("<h2>Verdicts</h2>");
    page.push_str(&verdicts::section(case, findings));
    page.push_str("<h2>Latency</h2>");
    page.push_str(&latency::section(case));
    page.push_str("<h2>Throughput</h2>");
    page.push_str(&throughput::section(case));
    page.push_str("<h2>Leaders</h2>");
    page.push_str(&leaders::section(case));
    page.push_str("<h2>Locks and elections</h2>");
    page.push_str(&gantt::section(case));
    page.push_str("<h2>Faults</h2>");
    page.push_str(&faults(case));
    page.push_str("</body></html>\n");
    page
}

/// The figures of a run.
#[must_use]
pub fn summary(case: &Case<'_>, findings: &[Finding]) -> Value {
    let ops = &case.run.ops;
    let outcome = |wanted: fn(&Outcome) -> bool| ops.iter().filter(|op| wanted(&op.outcome)).count();
    let mut installed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut effective = BTreeSet::new();
    for (_, fault) in case.run.faults() {
        if fault.stage == Stage::Installed {
            *installed.entry(&fault.fault).or_default() += 1;
        }
        if fault.effect.values().any(|effect| *effect > 0.0) {
            effective.insert(fault.id);
        }
    }
    let grants: BTreeMap<String, usize> = case.grants.iter().fold(BTreeMap::new(), |mut counts, grant| {
        *counts.entry(kind(grant.kind).to_owned()).or_default() += 1;
        counts
    });
    let judged =
        |property: &str| findings.iter().find(|finding| finding.property == property).map_or(0, |it| it.judged);
    json!({
        "verdict": verdict(findings),
        "seconds": (case.ended.saturating_sub(case.began)) as f64 / 1e9,
        "operations": ops.len(),
        "ok": outcome(|outcome| matches!(outcome, Outcome::Ok(_))),
        "fail": outcome(|outcome| matches!(outcome, Outcome::Fail(_))),
        "info": outcome(|outcome| matches!(outcome, Outcome::Unknown(_))),
        "events": case.run.records.iter().filter(|record| matches!(record.entry, Entry::Event(_))).count(),
        "revisions": case.timeline.revisions.len(),
        "faults": installed,
        "faults_with_effect": effective.len(),
        "leader_changes": leaders::changes(case),
        "grants": grants,
        "lease_expiries": judged("lease-early"),
        "findings": findings,
    })
}

/// One word for all findings: the worst.
#[must_use]
pub fn verdict(findings: &[Finding]) -> &'static str {
    if findings.iter().any(|finding| finding.verdict.is_violation()) {
        "violation"
    } else if findings.iter().any(|finding| matches!(finding.verdict, Verdict::Unknown { .. })) {
        "unknown"
    } else {
        "valid"
    }
}

fn overall(findings: &[Finding]) -> String {
    let verdict = verdict(findings);
    format!("<span class=\"badge {verdict}\">{verdict}</span>")
}

fn tiles(figures: &Value) -> String {
    let number = |name: &str| figures[name].as_f64().unwrap_or(0.0);
    let sum = |name: &str| figures[name].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
    let tiles = [
        ("seconds", format!("{:.1}", number("seconds"))),
        ("operations", thousands(number("operations") as u64)),
        ("ok", thousands(number("ok") as u64)),
        ("failed", thousands(number("fail") as u64)),
        ("unknown", thousands(number("info") as u64)),
        ("revisions", thousands(number("revisions") as u64)),
        ("faults", thousands(sum("faults"))),
        ("of them with effect", thousands(number("faults_with_effect") as u64)),
        ("leader changes", thousands(number("leader_changes") as u64)),
        ("grants", thousands(sum("grants"))),
        ("lease expiries", thousands(number("lease_expiries") as u64)),
    ];
    let mut text = String::from("<div class=\"tiles\">");
    for (name, value) in tiles {
        push(&mut text, format_args!("<div><b>{value}</b>{name}</div>"));
    }
    text.push_str("</div>");
    text
}

fn faults(case: &Case<'_>) -> String {
    let mut text =
        String::from("<table><tr><th>from</th><th>until</th><th>fault</th><th>where</th><th>effect</th></tr>");
    let mut effects: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut skipped = BTreeSet::new();
    for (_, fault) in case.run.faults() {
        let shown = effects.entry(fault.id).or_default();
        shown.extend(fault.effect.iter().map(|(what, how_much)| format!("{what}: {}", figure(*how_much))));
        if fault.stage == Stage::Skipped {
            skipped.insert(format!("{} ({})", fault.fault, fault.detail));
        }
    }
    for (from, until, fault) in case.run.broken().into_iter().take(500) {
        let until = if until > case.ended { "never".into() } else { seconds(case, until) };
        push(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td>{until}</td><td><i style=\"background:{}\"></i>{}</td><td>{}</td><td>{}</td></tr>",
                seconds(case, from),
                chart::colour(&fault.fault),
                escape(&fault.fault),
                escape(&format!("{} {}", fault.targets.join(" "), fault.detail)),
                escape(&effects.get(&fault.id).map(|shown| shown.join(", ")).unwrap_or_default()),
            ),
        );
    }
    text.push_str("</table>");
    if !skipped.is_empty() {
        let names = skipped.into_iter().collect::<Vec<_>>().join(", ");
        push(&mut text, format_args!("<p>Not possible here: {}.</p>", escape(&names)));
    }
    text
}

/// A figure of a fault's effect: what is large needs no fraction.
fn figure(how_much: f64) -> String {
    match how_much.abs() {
        large if large >= 100.0 => thousands(how_much.round() as u64),
        whole if whole.fract() == 0.0 => format!("{how_much:.0}"),
        _ => format!("{how_much:.2}"),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::EtcdLock => "etcd lock",
        Kind::EtcdElection => "etcd election",
        Kind::Lock => "lock",
        Kind::Queue => "queue election",
        Kind::Claim => "claim",
    }
}

fn seconds(case: &Case<'_>, time: u64) -> String {
    format!("{:.3} s", time.saturating_sub(case.began) as f64 / 1e9)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(what);
}
