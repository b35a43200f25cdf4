//! Every operation as a point: when it was sent, how long it took, how it ended. Waiting for locks
//! and elections is left out: it takes as long as others hold.

use super::{
    super::{
        check::Case,
        history::{Call, ClaimCall, ElectionCall, LockCall, NEVER, Op, Outcome, QueueOp},
    },
    MOST,
    chart::{Chart, legend},
    push,
};

const HEIGHT: f64 = 260.0;
/// Microseconds at the bottom and the top of the scale.
const LOWEST: f64 = 50.0;
const HIGHEST: f64 = 20_000_000.0;

pub(super) fn section(case: &Case<'_>) -> String {
    let ops: Vec<&Op> = case.run.ops.iter().filter(|op| !waits(op)).collect();
    let mut chart = Chart::new(case, HEIGHT);
    for (micros, label) in
        [(1e2, "100 µs"), (1e3, "1 ms"), (1e4, "10 ms"), (1e5, "100 ms"), (1e6, "1 s"), (1e7, "10 s")]
    {
        chart.level(y(micros), label);
    }
    let every = ops.len().div_ceil(MOST).max(1);
    // What did not go well is always drawn, and on top.
    let ordinary = ops.iter().filter(|op| op.answer().is_some()).step_by(every);
    let others = ops.iter().filter(|op| op.answer().is_none()).take(MOST);
    for op in ordinary.chain(others) {
        let (colour, size) = match op.outcome {
            Outcome::Ok(_) => ("#3b74b8", 1.3),
            Outcome::Fail(_) => ("#d98b1f", 1.8),
            Outcome::Unknown(_) => ("#c33a3a", 1.8),
        };
        let end = if op.returned == NEVER { case.run.records[op.completed].time } else { op.returned };
        let (x, y) = (chart.x(op.invoked), y(end.saturating_sub(op.invoked) as f64 / 1e3));
        push(
            &mut chart.text,
            format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\" fill=\"{colour}\" opacity=\".6\"/>"),
        );
    }
    let mut text = chart.done();
    text.push_str("<div class=\"legend\"><i style=\"background:#3b74b8\"></i>ok<i style=\"background:#d98b1f\"></i>failed<i style=\"background:#c33a3a\"></i>unknown");
    text.push_str(&legend(case));
    text.push_str("</div>");
    let mut times: Vec<u64> =
        ops.iter().filter(|op| op.answer().is_some()).map(|op| op.returned - op.invoked).collect();
    times.sort_unstable();
    if !times.is_empty() {
        let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize] as f64 / 1e6;
        push(
            &mut text,
            format_args!(
                "<p>Of {} answered operations half took at most {:.2} ms, 99 % {:.2} ms, 99.9 % {:.2} ms, the slowest {:.1} ms.",
                super::thousands(times.len() as u64),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0)
            ),
        );
        if every > 1 {
            push(&mut text, format_args!(" One in {every} is drawn."));
        }
        text.push_str("</p>");
    }
    text
}

fn y(micros: f64) -> f64 {
    let share = (micros.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
    HEIGHT - HEIGHT * share
}

fn waits(op: &Op) -> bool {
    match &op.call {
        Call::Lock(LockCall::Acquire { .. })
        | Call::Election(ElectionCall::Campaign { .. })
        | Call::Claim(ClaimCall::Claim { wait: true, .. } | ClaimCall::AwaitVacant { .. }) => true,
        Call::Queue(call) => matches!(call.what, QueueOp::Campaign { .. }),
        _ => false,
    }
}
