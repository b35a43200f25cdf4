//! `session`: the leases that people and programs hold things by.

use super::{
    Context,
    lease::whole_seconds,
    names::{Done, Listing},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::{self, signals::Signals},
    output::{self, Json, Show, Table, Text, header_json, human, quote},
    parse,
};
use clap::Subcommand;
use conclave_client::api::{
    conclave::v1::OpenSessionRequest,
    etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, ResponseHeader},
};
use futures::StreamExt as _;
use std::time::Duration;

/// The time to live of a session that this process keeps, as with all other commands, and of one
/// that is left to others.
const KEPT: Duration = Duration::from_secs(10);
const UNKEPT: Duration = Duration::from_secs(60);

/// Sessions: who is alive, and what goes with whom
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Every session with the time it has left and the keys that go with it
    #[command(visible_alias = "list", after_long_help = "Example:\n  conclavectl session ls")]
    Ls,
    /// Open a session and print its id; it ends when it is not kept alive
    #[command(after_long_help = "\
Examples:
  s=$(conclavectl session open --ttl 1m)  for a script that keeps it: lease keep-alive
  conclavectl election enter printing --candidate a --session $s
  conclavectl session open --ttl 5s --keep     keep it alive until Ctrl-C, then close it")]
    Open {
        /// How long it lives without a sign of life; seconds, or a time with its unit [default: 10;
        /// 60 without --keep, because then nothing keeps it alive]
        #[arg(long, value_parser = parse::ttl, allow_hyphen_values = true, value_name = "TIME")]
        ttl: Option<Duration>,
        /// Keep it alive until Ctrl-C, then close it
        #[arg(long)]
        keep: bool,
    },
    /// End a session, and everything that goes with it, at once
    #[command(after_long_help = "Example:\n  conclavectl session close 694d77aa9e38260f")]
    Close {
        /// Its id, in hexadecimal
        #[arg(value_parser = parse::lease)]
        session: i64,
    },
}

impl SessionCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Ls => list(context).await,
            Self::Open { ttl, keep: true } => keep(context, ttl.unwrap_or(KEPT)).await,
            Self::Open { ttl, keep: false } => open(context, ttl.unwrap_or(UNKEPT)).await,
            Self::Close { session } => {
                let request = LeaseRevokeRequest { id: session };
                let closed = context.link.write(|channel| wire::revoke(channel, request)).await;
                let response = closed.map_err(|failure| {
                    failure.in_doubt_hint(
                        "it may be closed or not; closing it again does no harm, and not kept alive it ends by itself",
                    )
                })?;
                let text = format!("session {} closed", human::lease(session));
                context.out.show(&Done { header: response.header, changed: true, text })?;
                Ok(())
            }
        }
    }
}

/// What is known of a session.
struct Row {
    id: i64,
    granted: i64,
    remaining: i64,
    keys: Vec<String>,
}

async fn list(context: &Context) -> Result<()> {
    let leases = context.link.read(|channel| wire::leases(channel, LeaseLeasesRequest {})).await?;
    let ask = |id: i64| async move {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let lease = context.link.read(|channel| wire::time_to_live(channel, request)).await?;
        let keys = lease.keys.iter().map(|key| quote::readable(key)).collect();
        Ok::<_, Failure>(Row { id, granted: lease.granted_ttl, remaining: lease.ttl, keys })
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut asked = futures::stream::iter(leases.leases.iter().map(|lease| ask(lease.id))).buffered(32);
    while let Some(row) = asked.next().await {
        // One that ended meanwhile is no session any more.
        rows.extend(Some(row?).filter(|row| row.remaining >= 0));
    }
    let mut table = Table::new(["SESSION", "TTL", "LEFT", "KEYS"]);
    for row in &rows {
        let keys = match row.keys.as_slice() {
            [] => "-".to_owned(),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        table.row([human::lease(row.id), format!("{}s", row.granted), format!("{}s", row.remaining), keys]);
    }
    let one = |row: &Row| {
        Json::object()
            .with("session", human::lease(row.id))
            .with("ttl_s", row.granted)
            .with("remaining_s", row.remaining)
            .with("keys", row.keys.as_slice())
            .done()
    };
    let json = Json::object()
        .with("header", header_json(leases.header.as_ref()))
        .with("sessions", Json::list(&rows, one))
        .done();
    context.out.show(&Listing { table, json, none: "no sessions" })?;
    Ok(())
}

struct Opened {
    header: Option<ResponseHeader>,
    session: i64,
    ttl: Duration,
}

impl Show for Opened {
    fn simple(&self, text: &mut Text) {
        text.line(human::lease(self.session));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.header.as_ref()))
            .with("session", human::lease(self.session))
            .with("ttl_ms", u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX))
            .done()
    }
}

async fn open(context: &Context, ttl: Duration) -> Result<()> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let request = OpenSessionRequest { session: 0, ttl_ms };
    let opened = match context.link.write(|channel| wire::open_session(channel, request)).await {
        Ok(answer) => {
            Opened { header: answer.header, session: answer.session, ttl: Duration::from_millis(answer.ttl_ms) }
        }
        // A stock etcd: a session there is a lease of whole seconds.
        Err(failure) if failure.exit == Exit::Unsupported => {
            let request = LeaseGrantRequest { ttl: whole_seconds(ttl), id: 0 };
            let answer = context.link.write(|channel| wire::grant(channel, request)).await?;
            Opened { header: answer.header, session: answer.id, ttl: Duration::from_secs(answer.ttl.unsigned_abs()) }
        }
        Err(failure) => {
            let ttl = human::time(ttl);
            return Err(failure.in_doubt_hint(format!(
                "a session may have been opened; nothing is held by it, and it ends after {ttl}"
            )));
        }
    };
    let shown = context.out.show(&opened);
    if shown.is_err() {
        // Nobody knows its id.
        let request = LeaseRevokeRequest { id: opened.session };
        if let Err(failure) = context.link.write(|channel| wire::revoke(channel, request)).await {
            output::note(&format!("could not close the session again: {}", failure.message()));
        }
    }
    shown
}

async fn keep(context: &Context, ttl: Duration) -> Result<()> {
    let mut signals = Signals::new()?;
    let client = context.link.client().await?;
    let session = match hold::open(&context.link, &client, (ttl, None), &mut signals).await {
        Ok(session) => session,
        Err(failure) => return Err(context.link.explained(failure).await),
    };
    let kept = async {
        context.out.show(&Opened { header: None, session: session.lease(), ttl: session.ttl() })?;
        tokio::select! {
            biased;
            reason = session.lost() => Err(hold::session_lost(reason)),
            exit = signals.end() => match exit {
                Exit::Done => Ok(()),
                exit => Err(Failure::quiet(exit)),
            },
        }
    };
    let outcome = hold::caught(kept).await;
    hold::close(&context.link, &session).await;
    match outcome.go_on() {
        Err(failure) => Err(context.link.explained(failure).await),
        kept => kept,
    }
}
