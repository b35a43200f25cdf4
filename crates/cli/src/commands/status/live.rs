//! `status --watch`: at a terminal the view is redrawn with the latest changes below; elsewhere the view comes once, then a line for
//! each change.

use super::{changes::changes, look::Looker, view::View};
use crate::{
    commands::Context,
    exit::Exit,
    failure::Result,
    hold::signals::Signals,
    output::{self, Format},
};
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{MissedTickBehavior, interval};

/// Changes that stay on the screen.
const LINES: usize = 12;
/// Elections that stay on the screen.
const ROWS: usize = 20;
/// No member is waited for longer, so that the view stays live.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &Context, mut looker: Looker, every: Duration) -> Result<Exit> {
    let mut signals = Signals::new()?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = context.link.settings().dial_timeout.min(PATIENCE);
    let mut last: Option<View> = None;
    let mut known = Vec::new();
    let mut latest: VecDeque<String> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            _ = ticks.tick() => {}
        }
        let view = tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            view = looker.look(context, patience) => view,
        };
        let lines: Vec<String> = match &last {
            Some(last) => changes(last, &known, &view).into_iter().map(|line| format!("{} {line}", clock())).collect(),
            None => Vec::new(),
        };
        if context.out.at_terminal() {
            latest.extend(lines);
            latest.drain(..latest.len().saturating_sub(LINES));
            draw(context, &view, &latest)?;
        } else if context.out.format != Format::Simple || last.is_none() {
            context.out.show(&view)?;
        } else {
            for line in &lines {
                output::raw(&format!("{line}\n"))?;
            }
        }
        if !view.elections.unknown {
            known.clone_from(&view.elections.rows);
        }
        last = Some(view);
    }
}

/// Redraws the screen in one write, so that it does not flicker.
fn draw(context: &Context, view: &View, latest: &VecDeque<String>) -> Result<()> {
    let view = context.out.render(&view.shortened(ROWS));
    let mut screen = String::from("\u{1b}[H\u{1b}[2J");
    screen += &String::from_utf8_lossy(&view);
    screen += &format!("\n{}; Ctrl-C ends\n", clock());
    latest.iter().for_each(|line| screen += &format!("  {line}\n"));
    output::raw(&screen)
}

/// The time of day (UTC).
fn clock() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
