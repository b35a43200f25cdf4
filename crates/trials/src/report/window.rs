//! A violation's window: its operations as bars over time, and its records as they stand in the
//! history.

use super::{
    super::{
        check::{Case, Violation},
        history::{NEVER, Process},
    },
    escape, push, seconds,
};

/// Records shown at most.
const MOST: usize = 50;
const WIDTH: f64 = 900.0;
const LEFT: f64 = 90.0;
const ROW: f64 = 18.0;

pub(super) fn window(case: &Case<'_>, violation: &Violation) -> String {
    let mut text = String::from("<div class=\"window\">");
    text.push_str(&picture(case, violation));
    text.push_str("<table>");
    for index in violation.window.iter().take(MOST) {
        let Some(record) = case.run.records.get(*index) else { continue };
        let entry = serde_json::to_value(&record.entry).unwrap_or_default();
        let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let value = if entry["value"].is_null() { word("error") } else { entry["value"].to_string() };
        push(
            &mut text,
            format_args!(
                "<tr><td>{index}</td><td>{}</td><td>{}</td><td>{}</td><td>{} {}</td></tr>",
                seconds(case, record.time),
                escape(&name(&record.process)),
                escape(&word("type")),
                escape(&word("f")),
                escape(&value)
            ),
        );
    }
    text.push_str("</table></div>");
    text
}

fn name(process: &Process) -> String {
    match process {
        Process::Client(number) => format!("client {number}"),
        Process::Harness(name) => name.clone(),
    }
}

/// One row for each operation and each other record of the window.
fn picture(case: &Case<'_>, violation: &Violation) -> String {
    let mut rows: Vec<(u64, u64, String)> = Vec::new();
    let ops: Vec<_> = case.run.ops.iter().filter(|op| violation.window.contains(&op.index)).collect();
    for op in &ops {
        let label = serde_json::to_value(&op.call).unwrap_or_default();
        let what = label["value"]["op"].as_str().or(label["f"].as_str()).unwrap_or_default();
        rows.push((op.invoked, op.returned, format!("{} {what}", name(&op.process))));
    }
    let is_op = |index: usize| ops.iter().any(|op| op.index == index || op.completed == index);
    for index in violation.window.iter().filter(|index| !is_op(**index)) {
        if let Some(record) = case.run.records.get(*index) {
            rows.push((record.time, record.time, name(&record.process)));
        }
    }
    rows.sort_by_key(|(from, ..)| *from);
    rows.truncate(MOST);
    let from = rows.iter().map(|(from, ..)| *from).min().unwrap_or(0);
    let ends = rows.iter().flat_map(|(from, until, _)| [*from, if *until == NEVER { *from } else { *until }]);
    let until = ends.max().unwrap_or(from).max(from + 1);
    let x =
        |time: u64| LEFT + (WIDTH - LEFT - 160.0) * ((time.clamp(from, until) - from) as f64 / (until - from) as f64);
    let mut text = String::new();
    push(&mut text, format_args!("<svg viewBox=\"0 0 {WIDTH} {}\">", rows.len() as f64 * ROW + 4.0));
    for (row, (began, ended, label)) in rows.iter().enumerate() {
        let y = row as f64 * ROW + 3.0;
        let (left, right) = (x(*began), if *ended == NEVER { WIDTH - 150.0 } else { x(*ended) });
        let style = if *ended == NEVER {
            "fill=\"#e9c9c9\" stroke=\"#c33a3a\" stroke-dasharray=\"3 2\""
        } else {
            "fill=\"#c97b7b\""
        };
        push(
            &mut text,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"12\" rx=\"2\" {style}/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                y + 10.0,
                seconds(case, *began),
                (right - left).max(3.0),
                right.max(left + 3.0) + 6.0,
                y + 10.0,
                escape(label)
            ),
        );
    }
    text.push_str("</svg>");
    text
}
