//! Operations a second, by how they ended.

use super::{
    super::{
        check::Case,
        history::{NEVER, Outcome},
    },
    chart::{Chart, legend},
    push, thousands,
};

const HEIGHT: f64 = 150.0;
const BUCKETS: usize = 240;

pub(super) fn section(case: &Case<'_>) -> String {
    let span = case.ended.saturating_sub(case.began).max(1);
    let width = span.div_ceil(BUCKETS as u64).max(1);
    let mut counts = vec![[0_u32; 3]; BUCKETS + 1];
    for op in &case.run.ops {
        let end = if op.returned == NEVER { case.run.records[op.completed].time } else { op.returned };
        let sort = match op.outcome {
            Outcome::Ok(_) => 0,
            Outcome::Fail(_) => 1,
            Outcome::Unknown(_) => 2,
        };
        counts[((end.saturating_sub(case.began)) / width).min(BUCKETS as u64) as usize][sort] += 1;
    }
    let rate = |count: u32| f64::from(count) * 1e9 / width as f64;
    let highest = counts.iter().flatten().map(|count| rate(*count)).fold(1.0, f64::max);
    let mut chart = Chart::new(case, HEIGHT);
    for share in [0.25, 0.5, 0.75, 1.0] {
        chart.level(HEIGHT - (HEIGHT - 10.0) * share, &format!("{}/s", thousands((highest * share) as u64)));
    }
    for (sort, colour) in [(0, "#3b74b8"), (1, "#d98b1f"), (2, "#c33a3a")] {
        let mut path = String::new();
        for (i, count) in counts.iter().take(BUCKETS).enumerate() {
            let x = chart.x(case.began + i as u64 * width + width / 2);
            let y = HEIGHT - (HEIGHT - 10.0) * rate(count[sort]) / highest;
            push(&mut path, format_args!("{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" }));
        }
        push(
            &mut chart.text,
            format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"/>"),
        );
    }
    let mut text = chart.done();
    text.push_str("<div class=\"legend\"><i style=\"background:#3b74b8\"></i>ok<i style=\"background:#d98b1f\"></i>failed<i style=\"background:#c33a3a\"></i>unknown");
    text.push_str(&legend(case));
    text.push_str("</div>");
    text
}
