//! `status --watch`: at a terminal the view is redrawn with the latest changes below; elsewhere the
//! view comes once, then a line for each change.

use super::{changes::changes, look::Looker, view::View};
use crate::{
    commands::Context,
    exit::Exit,
    failure::Result,
    hold::signals::Signals,
    output::{self, Format, Text, style},
};
use rustix::termios::tcgetwinsize;
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{MissedTickBehavior, interval};

/// Changes that stay on the screen.
const LINES: usize = 12;
/// Lines of elections that stay on the screen.
const ROWS: usize = 23;
/// No member is waited for longer, so that the view stays live.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &Context, mut looker: Looker, every: Duration, title: &str) -> Result<Exit> {
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
            exit = signals.end() => return Ok(exit),
            _ = ticks.tick() => {}
        }
        let view = tokio::select! {
            biased;
            exit = signals.end() => return Ok(exit),
            view = looker.look(context, patience) => view,
        };
        let lines: Vec<String> = match &last {
            Some(last) => changes(last, &known, &view).into_iter().map(|line| format!("{} {line}", clock())).collect(),
            None => Vec::new(),
        };
        if context.out.at_terminal() {
            latest.extend(lines);
            latest.drain(..latest.len().saturating_sub(LINES));
            draw(context, title, &view, &latest)?;
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
fn draw(context: &Context, title: &str, view: &View, latest: &VecDeque<String>) -> Result<()> {
    // Of a terminal that does not tell its size nothing is cut.
    let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let size = size.map_or((usize::MAX, usize::MAX), |size| (size.ws_col.into(), size.ws_row.into()));
    let foot = format!("{}; Ctrl-C ends", clock());
    let lines = screen(view, latest, (title, &foot), size, context.out.color);
    output::raw(&format!("\u{1b}[H\u{1b}[2J{}", lines.join("\n")))
}

/// What fits on the screen, line by line: the title if there is one, the members, then elections
/// and the latest changes.
fn screen(
    view: &View,
    latest: &VecDeque<String>,
    (title, foot): (&str, &str),
    (width, height): (usize, usize),
    color: bool,
) -> Vec<String> {
    let part = |show: &dyn Fn(&mut Text)| {
        let mut text = Text::new(false, color);
        show(&mut text);
        String::from_utf8_lossy(&text.into_bytes()).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = title.lines().map(str::to_owned).collect();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(part(&|text| view.show_members(text)));
    let elections = part(&|text| view.show_elections(text));
    // The foot has an empty line before it; the changes get a third of the rest, and what the
    // elections leave.
    let rest = height.saturating_sub(lines.len() + 2);
    let changes = latest.len().min(LINES);
    let room = rest.saturating_sub(changes.min(rest / 3)).min(ROWS);
    if elections.len() <= room {
        lines.extend(elections);
    } else if room > 3 {
        lines.extend(elections.iter().take(room - 1).cloned());
        lines.push(format!("(and {} more)", elections.len() - (room - 1)));
    }
    lines.extend([String::new(), foot.to_owned()]);
    let changes = changes.min(height.saturating_sub(lines.len()));
    lines.extend(latest.iter().skip(latest.len() - changes).map(|line| format!("  {line}")));
    lines.truncate(height);
    lines.iter().map(|line| style::cut(line, width)).collect()
}

/// The time of day (UTC).
fn clock() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::{
        super::view::{Election, Member, State},
        *,
    };

    fn view() -> View {
        let member = |id: u64| Member {
            id,
            name: format!("n{id}"),
            address: format!("http://10.0.0.{id}:2379"),
            learner: false,
            state: State::Down("connection refused".into()),
        };
        let election =
            |i: usize| Election { kind: "election", name: format!("e{i}"), leader: "a".into(), fence: 7, waiting: 0 };
        let mut view = View { members: (1..=3).map(member).collect(), ..View::default() };
        view.elections.rows = (0..40).map(election).collect();
        view
    }

    #[test]
    fn a_small_screen_shows_the_members_first_and_nothing_wraps() {
        let latest: VecDeque<String> = (0..12).map(|i| format!("change {i}")).collect();
        for (width, height) in [(100, 24), (60, 14), (30, 8), (20, 3), (1, 1)] {
            let lines = screen(&view(), &latest, ("", "now"), (width, height), false);
            assert!(lines.len() <= height, "{width}x{height}: {lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}x{height}: {lines:#?}");
        }
        let lines = screen(&view(), &latest, ("", "now"), (60, 14), false);
        assert!(
            lines[0].starts_with("cluster") && lines[3].starts_with("n1") && lines[5].starts_with("n3"),
            "{lines:#?}"
        );
        assert!(lines.iter().any(|line| line.trim() == "change 11"), "the latest change stays: {lines:#?}");
        let lines = screen(&view(), &latest, ("", "now"), (100, 24), false);
        assert!(
            lines.iter().any(|line| line.starts_with("election")) && lines.iter().any(|line| line.contains("more)"))
        );
        let whole = screen(&view(), &VecDeque::new(), ("", "now"), (usize::MAX, usize::MAX), false);
        assert!(whole.len() > 24, "{whole:#?}");
        let titled = screen(&view(), &latest, ("where\nhow", "now"), (100, 24), false);
        assert!(titled[..3] == ["where", "how", ""] && titled[3] == lines[0] && titled.len() <= 24, "{titled:#?}");
    }
}
