//! A line a second while a run goes on.

use super::{lab::Lab, tally::Tally};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Tells how it goes, until it is dropped.
pub(super) async fn tell(lab: &Lab, workload: &str, tally: &Tally, opened: Instant, until: Option<Instant>) {
    let whole = until.map(|until| until.saturating_duration_since(opened));
    loop {
        let since = Instant::now();
        sleep(Duration::from_secs(1)).await;
        let recent = tally.recent();
        let rate = recent.operations as f64 / since.elapsed().as_secs_f64();
        let errors = if recent.errors == 0 { String::new() } else { format!("   {} errors", recent.errors) };
        let of = whole.map_or(String::new(), |whole| format!(" of {:.0}", whole.as_secs_f64()));
        let p99 = recent.p99.as_secs_f64() * 1000.0;
        lab.say(&format!(
            "{workload} {:>3.0}{of} s {rate:>10.0}/s   p99 {p99:.2} ms{errors}",
            opened.elapsed().as_secs_f64()
        ));
    }
}
