//! `conclave dev`: a cluster for trying things out, in one terminal.
//!
//! The members are processes of this same program, on loopback, with their data in a temporary
//! directory. What is seen of them is conclavectl's `status --watch`.
//!
//! 1. No member outlives this process: it ends them, and if it is killed the kernel does
//!    ([`member::bound`]).
//! 2. A member that ends by itself, or is killed, starts again after a pause long enough to see the
//!    others go on without it.

mod child;
mod member;
mod ports;
mod view;

pub use member::{WORD as MEMBER, bound};

use crate::offline;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use member::Member;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;
use view::View;

/// The word after the program's name.
pub const WORD: &str = "dev";

/// How long a member that has ended stays down.
const PAUSE: Duration = Duration::from_secs(3);

/// A cluster on this machine, for trying things out and for development.
///
/// Starts members of this program on loopback, shows what happens to them, and ends all of them at
/// Ctrl-C. Their data is in a temporary directory, which is deleted then.
#[derive(Debug, Parser)]
#[command(name = "conclave dev", bin_name = "conclave dev", max_term_width = 120, after_help = EXAMPLES)]
struct Options {
    /// How many members
    #[arg(long, default_value = "3", value_name = "NUMBER", value_parser = counts())]
    members: usize,
    /// Where the first member serves clients, 0: any free port
    /// [default: the first free one from 2379 on]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  conclave dev                 three members
  conclave dev --members 1     one

It prints where the members are. Then, at a terminal, it shows the members, the leader, elections and
locks, live; otherwise a line for each change. The program conclavectl, beside this one or on the PATH,
shows them. A member that is killed starts again after 3 seconds.";

fn counts() -> impl TypedValueParser<Value = usize> {
    PossibleValuesParser::new(["1", "3", "5"]).map(|count| count.parse().unwrap_or(3))
}

/// What a member tells of itself.
#[derive(Debug)]
enum News {
    Ready(usize),
    Ended(usize, String),
    /// It has been down for long enough.
    Again(usize),
}

/// The program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options: Options = match offline::parse("conclave dev", arguments) {
        Ok(options) => options,
        Err(code) => return code,
    };
    // One thread: a member ends with the thread that started it.
    let ran = Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from);
    match ran.and_then(|runtime| runtime.block_on(run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "conclave dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let dir = tempfile::Builder::new().prefix("conclave-dev-").tempdir()?;
    let (news, mut told) = mpsc::unbounded_channel();
    let mut cluster = Cluster { members: Member::plan(dir.path(), options.members, options.port)?, news, view: None };
    say(&format!("starting {} on this machine", count(options.members)));
    let ended = tokio::select! {
        () = signals.any() => Ok(()),
        ended = cluster.live(&mut told) => ended,
    };
    // Below the last line of the view, which has no end.
    let below = if cluster.view.is_some() && io::stdout().is_terminal() { "\n" } else { "" };
    say(&format!("{below}stopping the members"));
    cluster.end().await;
    ended
}

fn count(members: usize) -> String {
    if members == 1 { "one member".to_owned() } else { format!("{members} members") }
}

/// Nobody may be there to read it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

struct Cluster {
    members: Vec<Member>,
    news: mpsc::UnboundedSender<News>,
    view: Option<View>,
}

impl Cluster {
    /// Runs until it cannot go on.
    async fn live(&mut self, told: &mut mpsc::UnboundedReceiver<News>) -> anyhow::Result<()> {
        for number in 0..self.members.len() {
            self.start(number)?;
        }
        let mut missing = self.members.len();
        while let Some(news) = told.recv().await {
            match news {
                News::Ready(_) if missing > 0 => {
                    missing -= 1;
                    if missing == 0 {
                        self.show();
                    }
                }
                News::Ready(number) => self.tell(&format!("{} is ready again", self.members[number].name)),
                News::Ended(number, how) if missing > 0 => {
                    let member = &self.members[number];
                    anyhow::bail!("{} did not start ({how}):\n{}", member.name, member.log_tail());
                }
                News::Ended(number, how) => {
                    self.tell(&format!(
                        "{} has ended ({how}); it starts again in {} seconds",
                        self.members[number].name,
                        PAUSE.as_secs()
                    ));
                    let news = self.news.clone();
                    tokio::spawn(async move {
                        sleep(PAUSE).await;
                        // Nobody listens any more if all of it ends.
                        let _ = news.send(News::Again(number));
                    });
                }
                News::Again(number) => self.start(number)?,
            }
        }
        Ok(())
    }

    fn start(&mut self, number: usize) -> anyhow::Result<()> {
        let news = self.news.clone();
        self.members[number].start(number, news)
    }

    /// All members serve: tells where they are, and begins to show them.
    fn show(&mut self) {
        let text = self.places();
        say(&text);
        match View::start(&self.endpoints(), &text) {
            Ok(view) => self.view = Some(view),
            Err(error) => {
                say(&format!("no view: the program conclavectl is not beside this one or on the PATH ({error})"))
            }
        }
    }

    /// At a terminal the view shows it.
    fn tell(&self, line: &str) {
        if self.view.is_none() || !io::stdout().is_terminal() {
            say(line);
        }
    }

    fn endpoints(&self) -> String {
        self.members.iter().map(|member| member.client_url.as_str()).collect::<Vec<_>>().join(",")
    }

    fn places(&self) -> String {
        let mut lines = vec![format!(
            "{} of Conclave on this machine; Ctrl-C ends them and deletes their data",
            count(self.members.len())
        )];
        lines.extend(self.members.iter().map(|member| {
            let Member { name, client_url, .. } = member;
            format!("  {name}  {client_url}  log {}", member.log().display())
        }));
        let endpoints = self.endpoints();
        lines.push("In another terminal:".to_owned());
        lines.push(format!("  export CONCLAVECTL_ENDPOINTS={endpoints} ETCDCTL_ENDPOINTS={endpoints}"));
        lines.push("  conclavectl demo      an election with a failover, step by step".to_owned());
        lines.join("\n") + "\n"
    }

    async fn end(&mut self) {
        if let Some(view) = self.view.take() {
            view.end().await;
        }
        for member in &self.members {
            member.ask_to_end();
        }
        for member in &mut self.members {
            member.ended().await;
        }
    }
}

/// What asks this process to end.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            // The terminal is closed.
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
