//! Plots as SVG, written by hand: bars of ratios with their spread, and groups of two bars on a
//! logarithmic scale.
//!
//! 1. Every figure that is drawn is also written beside its bar, so a plot can be read without its
//!    axis.
//! 2. The background is drawn, so a plot looks the same on light and dark pages.

use super::spread::Spread;
use std::fmt::Write as _;

const ETCD: &str = "#9aa5b1";
const CONCLAVE: &str = "#2f6fb3";
const AIM: &str = "#c4472b";
const INK: &str = "#1f2933";
const FAINT: &str = "#d5dbe1";

/// Where bars begin, and how long the longest may be.
const LEFT: f64 = 275.0;
const LENGTH: f64 = 400.0;
const WIDTH: f64 = 790.0;

/// A ratio with its name and what is aimed at.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) title: String,
    pub(super) ratio: Spread,
    pub(super) aim: Option<f64>,
}

/// A figure of both servers.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) title: String,
    pub(super) etcd: f64,
    pub(super) conclave: f64,
}

struct Canvas(String);

impl Canvas {
    fn new(height: f64, title: &str) -> Self {
        let mut canvas = Self(String::new());
        let _ = writeln!(
            canvas.0,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">"#
        );
        let _ = writeln!(canvas.0, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
        let _ = writeln!(
            canvas.0,
            r#"<text x="16" y="26" font-size="15" font-weight="bold" fill="{INK}">{}</text>"#,
            escaped(title)
        );
        canvas
    }

    fn bar(&mut self, y: f64, height: f64, length: f64, colour: &str) {
        let _ = writeln!(
            self.0,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{colour}"/>"#,
            length.max(1.0)
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.0,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(
            self.0,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{INK}">{}</text>"#,
            escaped(text)
        );
    }

    fn legend(&mut self, x: f64, y: f64, colour: &str, text: &str) {
        let _ = writeln!(self.0, r#"<rect x="{x}" y="{}" width="12" height="12" fill="{colour}"/>"#, y - 10.0);
        self.text(x + 18.0, y, "start", text);
    }

    fn done(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Ratios to etcd, which is the line at 1.
pub(super) fn ratios(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 30.0;
    let most = bars.iter().flat_map(|bar| [bar.ratio.most, bar.aim.unwrap_or(0.0)]).fold(1.0, f64::max);
    let scale = LENGTH / most;
    let height = 66.0 + ROW * bars.len() as f64 + 14.0;
    let mut canvas = Canvas::new(height, title);
    canvas.legend(LEFT, 50.0, CONCLAVE, "Conclave ÷ etcd: median, least to greatest");
    canvas.legend(LEFT + 330.0, 50.0, AIM, "aim");
    let one = LEFT + scale;
    canvas.line((one, 60.0), (one, height - 10.0), FAINT, 1.5);
    for (i, bar) in bars.iter().enumerate() {
        let y = 66.0 + ROW * i as f64;
        let middle = y + 10.0;
        canvas.text(LEFT - 10.0, middle + 4.0, "end", &bar.title);
        canvas.bar(y, 20.0, bar.ratio.median * scale, CONCLAVE);
        let (from, to) = (LEFT + bar.ratio.least * scale, LEFT + bar.ratio.most * scale);
        canvas.line((from, middle), (to, middle), INK, 1.5);
        for end in [from, to] {
            canvas.line((end, middle - 4.0), (end, middle + 4.0), INK, 1.5);
        }
        if let Some(aim) = bar.aim {
            let at = LEFT + aim * scale;
            canvas.line((at, y - 2.0), (at, y + 22.0), AIM, 2.5);
        }
        let end = LEFT + scale * bar.ratio.most.max(bar.aim.unwrap_or(0.0)).max(bar.ratio.median);
        canvas.text(end + 8.0, middle + 4.0, "start", &format!("{:.2}×", bar.ratio.median));
    }
    canvas.done()
}

/// Two bars a row, on a logarithmic scale.
pub(super) fn pairs(title: &str, unit: &str, rows: &[Pair]) -> String {
    const ROW: f64 = 44.0;
    let figures = || rows.iter().flat_map(|row| [row.etcd, row.conclave]).filter(|figure| *figure > 0.0);
    let least = figures().reduce(f64::min).unwrap_or(1.0);
    let floor = least.max(1e-6).log10().floor();
    let top = figures().fold(least, f64::max).log10().ceil().max(floor + 1.0);
    let scale = LENGTH / (top - floor);
    let length = |figure: f64| if figure > 0.0 { (figure.log10() - floor) * scale } else { 0.0 };
    let height = 84.0 + ROW * rows.len() as f64 + 8.0;
    let mut canvas = Canvas::new(height, title);
    canvas.legend(LEFT, 50.0, ETCD, "etcd");
    canvas.legend(LEFT + 80.0, 50.0, CONCLAVE, "Conclave");
    for power in 0..=(top - floor) as i32 {
        let x = LEFT + f64::from(power) * scale;
        canvas.line((x, 74.0), (x, height - 8.0), FAINT, 1.0);
        let value = 10f64.powf(floor + f64::from(power));
        canvas.text(x, 70.0, "middle", &format!("{value} {unit}"));
    }
    for (i, row) in rows.iter().enumerate() {
        let y = 82.0 + ROW * i as f64;
        canvas.text(LEFT - 10.0, y + 20.0, "end", &row.title);
        for (dy, figure, colour) in [(0.0, row.etcd, ETCD), (16.0, row.conclave, CONCLAVE)] {
            canvas.bar(y + dy, 14.0, length(figure), colour);
            canvas.text(
                LEFT + length(figure) + 8.0,
                y + dy + 11.0,
                "start",
                &format!("{} {unit}", super::summary::figure(figure)),
            );
        }
    }
    canvas.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_well_formed(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        let opened = svg.matches("<text ").count();
        assert_eq!(opened, svg.matches("</text>").count());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // Everything lies within the picture.
        for part in svg.split(" x=\"").skip(1) {
            let x: f64 = part.split('"').next().and_then(|x| x.parse().ok()).expect("a number");
            assert!((0.0..=WIDTH).contains(&x), "{x}");
        }
    }

    #[test]
    fn ratios_are_drawn_and_written() {
        let ratio = Spread { median: 2.5, least: 2.1, most: 3.0 };
        let svg = ratios("Throughput <1>", &[Bar { title: "put & get".into(), ratio, aim: Some(4.0) }]);
        is_well_formed(&svg);
        assert!(svg.contains("2.50×") && svg.contains("put &amp; get") && svg.contains("&lt;1&gt;"));
        is_well_formed(&ratios("nothing", &[]));
    }

    #[test]
    fn pairs_have_a_logarithmic_scale() {
        let svg = pairs("Latency", "ms", &[Pair { title: "p99".into(), etcd: 100.0, conclave: 10.0 }]);
        is_well_formed(&svg);
        assert!(svg.contains("100 ms") && svg.contains("10 ms"));
        is_well_formed(&pairs("nothing", "ms", &[]));
        is_well_formed(&pairs("zero", "ms", &[Pair { title: "p".into(), etcd: 0.0, conclave: 0.0 }]));
    }
}
