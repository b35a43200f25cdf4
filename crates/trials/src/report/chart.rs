//! What all pictures have in common: a time axis, and bands where something was broken.

use super::{super::check::Case, escape, push, seconds};
use std::collections::BTreeSet;

pub(super) const WIDTH: f64 = 1140.0;
pub(super) const LEFT: f64 = 64.0;
const BOTTOM: f64 = 18.0;

/// An SVG as it grows.
pub(super) struct Chart<'a> {
    case: &'a Case<'a>,
    height: f64,
    pub(super) text: String,
}

/// A fault's colour; those of Jepsen where it has one.
pub(super) fn colour(fault: &str) -> &'static str {
    match fault {
        "kill" => "#E9A4A0",
        "pause" => "#A0B1E9",
        "partition" => "#E9DCA0",
        "membership" => "#E9A0E6",
        "power-loss" => "#C98A86",
        "slow-disk" | "disk-full" | "corruption" => "#D9C3A5",
        "delay" | "loss" | "reset" => "#EFE7C4",
        "cpu" => "#CFE3B4",
        "compaction" => "#ACA0E9",
        fault if fault.starts_with("clock") => "#A0E9E3",
        fault if fault.starts_with("client") => "#D5DCE6",
        _ => "#DDDDDD",
    }
}

impl<'a> Chart<'a> {
    /// With bands.
    pub(super) fn new(case: &'a Case<'a>, height: f64) -> Self {
        let mut chart = Self { case, height, text: String::new() };
        push(&mut chart.text, format_args!("<svg viewBox=\"0 0 {WIDTH} {}\">", height + BOTTOM));
        for (from, until, fault) in case.run.broken() {
            let (left, right) = (chart.x(from), chart.x(until.min(case.ended)));
            let name = escape(&format!("{} {}", fault.fault, fault.targets.join(" ")));
            push(
                &mut chart.text,
                format_args!(
                    "<rect x=\"{left:.1}\" y=\"0\" width=\"{:.1}\" height=\"{height}\" fill=\"{}\" opacity=\".5\"><title>{name}</title></rect>",
                    (right - left).max(1.0),
                    colour(&fault.fault)
                ),
            );
        }
        chart.time_axis();
        chart
    }

    pub(super) fn x(&self, time: u64) -> f64 {
        let span = self.case.ended.saturating_sub(self.case.began).max(1) as f64;
        LEFT + (WIDTH - LEFT - 8.0) * (time.saturating_sub(self.case.began) as f64 / span).min(1.0)
    }

    fn time_axis(&mut self) {
        let span = self.case.ended.saturating_sub(self.case.began).max(1);
        let rough = span as f64 / 10.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * power).find(|step| *step >= rough).unwrap_or(rough);
        let mut at = 0.0;
        while at <= span as f64 {
            let x = self.x(self.case.began + at as u64);
            let (height, label) = (self.height, at / 1e9);
            let digits = if step < 1e8 { 2 } else { usize::from(step < 1e9) };
            push(
                &mut self.text,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label:.digits$} s</text>",
                    height + 13.0
                ),
            );
            at += step;
        }
        let height = self.height;
        push(
            &mut self.text,
            format_args!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{height}\" y2=\"{height}\"/>"),
        );
    }

    /// A line across with its label.
    pub(super) fn level(&mut self, y: f64, label: &str) {
        push(
            &mut self.text,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 3.5,
                escape(label)
            ),
        );
    }

    /// A bar from one moment to another.
    pub(super) fn bar(&mut self, from: u64, until: u64, y: f64, height: f64, style: &str, title: &str) {
        let (left, right) = (self.x(from), self.x(until.min(self.case.ended)));
        push(
            &mut self.text,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" {style}><title>{} ({})</title></rect>",
                (right - left).max(0.8),
                escape(title),
                seconds(self.case, from)
            ),
        );
    }

    pub(super) fn done(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

/// What the colours of the bands mean, for the faults that there were.
pub(super) fn legend(case: &Case<'_>) -> String {
    let faults: BTreeSet<_> = case.run.broken().iter().map(|(_, _, fault)| fault.fault.as_str()).collect();
    let mut text = String::new();
    for fault in faults {
        push(&mut text, format_args!("<i style=\"background:{}\"></i>{}", colour(fault), escape(fault)));
    }
    text
}
