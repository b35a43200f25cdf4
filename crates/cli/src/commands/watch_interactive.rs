//! `watch -i`: lines from standard input say what to watch, all on one stream.
//!
//! 1. When the stream is lost, another one is opened with another member, and every watch goes on
//!    there from the revision after the last that was shown: nothing is left out or repeated.
//! 2. What the cluster refuses ends that one watch.

use super::{
    Context,
    watch::{self, WatchArgs},
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    output, parse,
};
use clap::Parser;
use conclave_client::Channel;
use conclave_client::api::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc, stream, stream::BoxStream};
use std::{collections::BTreeMap, ffi::OsString, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::sleep,
};
use tonic::{Request, Response, Status, metadata::MetadataValue};

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// A line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum Line {
    /// Watch more.
    Watch(WatchArgs),
    /// Say how far the watches are.
    Progress,
}

/// Until the input ends.
pub(super) async fn run(context: &Context) -> Result<Exit> {
    // Nobody there is said at once, not with the first line.
    context.link.node().await?;
    let mut watches = Watches::default();
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = input.next_line() => match line? {
                None => return Ok(Exit::Done),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => match read(&line) {
                    Ok(Line::Progress) => watches.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})),
                    Ok(Line::Watch(args)) => watches.add(args.target()?),
                    Err(failure) => output::complain(&format!("{failure}\n")),
                },
            },
            response = watches.next(context), if !watches.all.is_empty() => {
                let (response, command) = response?;
                watch::show(context, &response, &command).await?;
            }
        }
    }
}

fn read(line: &str) -> Result<Line> {
    let bad = |text: String| {
        Failure::new(Exit::BadInput, text).hint("write: watch [OPTIONS] KEY [RANGE_END] [-- COMMAND], or: progress")
    };
    let words = parse::words(line).map_err(bad)?;
    Line::try_parse_from(words).map_err(|_| bad(format!("Invalid command {line}")))
}

/// All that is watched.
#[derive(Default)]
struct Watches {
    all: BTreeMap<i64, One>,
    last_id: i64,
    open: Option<Open>,
    /// That the stream was lost has been said.
    told: bool,
}

/// One watch; its request begins where it would have to go on.
struct One {
    request: WatchCreateRequest,
    command: Vec<OsString>,
}

struct Open {
    requests: mpsc::UnboundedSender<WatchRequest>,
    answers: BoxStream<'static, Result<WatchResponse, Status>>,
}

impl Watches {
    fn add(&mut self, target: watch::Target) {
        self.last_id += 1;
        let request = WatchCreateRequest {
            key: target.keys.key.into(),
            range_end: target.keys.end.into(),
            start_revision: target.rev,
            prev_kv: target.prev_kv,
            progress_notify: target.progress,
            watch_id: self.last_id,
            ..WatchCreateRequest::default()
        };
        self.ask(RequestUnion::CreateRequest(request.clone()));
        self.all.insert(self.last_id, One { request, command: target.command });
    }

    /// Sends a request, if there is a stream; what is watched is asked for when there is one again.
    fn ask(&self, request: RequestUnion) {
        if let Some(open) = &self.open {
            // A stream that has ended says so itself.
            drop(open.requests.unbounded_send(WatchRequest { request_union: Some(request) }));
        }
    }

    /// What is to be shown next, and the command that is to be run for it. Dropping the future
    /// loses nothing.
    async fn next(&mut self, context: &Context) -> Result<(WatchResponse, Vec<OsString>)> {
        loop {
            let failure = match self.message(context).await {
                Ok(response) => match self.take(response) {
                    Ok(Some(shown)) => return Ok(shown),
                    Ok(None) => continue,
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if failure.exit != Exit::NoConnection {
                return Err(failure);
            }
            if !std::mem::replace(&mut self.told, true) {
                output::note(&format!("{}; going on with another member", failure.message()));
            }
            self.open = None;
            context.link.forget();
            sleep(PAUSE).await;
        }
    }

    async fn message(&mut self, context: &Context) -> Result<WatchResponse> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let channel = context.link.node().await?.channel;
                self.open.insert(open(channel, self.all.values()))
            }
        };
        match open.answers.next().await {
            Some(answer) => answer.map_err(|status| Failure::of(&status, Effect::Reads)),
            None => Err(Failure::new(Exit::NoConnection, "the member ended the watch")),
        }
    }

    /// Notes how far the watch is; gives back what is to be shown.
    fn take(&mut self, response: WatchResponse) -> Result<Option<(WatchResponse, Vec<OsString>)>> {
        if response.canceled && response.cancel_reason == "etcdserver: no leader" {
            return Err(Failure::new(Exit::NoConnection, response.cancel_reason));
        }
        self.told = false;
        let revision = response.header.unwrap_or_default().revision;
        let Some(one) = self.all.get_mut(&response.watch_id) else {
            // Progress that was asked for is that of all.
            let progress = response.events.is_empty() && !response.created && !response.canceled;
            return Ok(progress.then(|| (response, Vec::new())));
        };
        let next = &mut one.request.start_revision;
        if response.canceled {
            output::complain(&format!("watch was canceled ({})\n", response.cancel_reason));
            self.all.remove(&response.watch_id);
            return Ok(None);
        }
        if response.created {
            if *next == 0 {
                *next = revision + 1;
            }
            return Ok(None);
        }
        let last = response.events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision).max();
        *next = (*next).max(last.unwrap_or(revision) + 1);
        Ok(Some((response, one.command.clone())))
    }
}

/// A stream with all watches on it. Members may accept it only with their first answer, so that is
/// waited for with the answers.
fn open<'a>(channel: Channel, watches: impl Iterator<Item = &'a One>) -> Open {
    let (requests, queue) = mpsc::unbounded();
    for one in watches {
        let create = RequestUnion::CreateRequest(one.request.clone());
        // The other end is here.
        drop(requests.unbounded_send(WatchRequest { request_union: Some(create) }));
    }
    let mut request = Request::new(queue);
    // A member that is cut off from the cluster is to say so instead of staying silent.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let call = async move {
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        client.watch(request).await.map(Response::into_inner)
    };
    Open { requests, answers: stream::once(call).try_flatten().boxed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_client::api::{
        etcdserverpb::ResponseHeader,
        mvccpb::{Event, KeyValue},
    };

    fn told(revision: i64, events: &[i64]) -> WatchResponse {
        let event = |mod_revision: &i64| Event {
            kv: Some(KeyValue { mod_revision: *mod_revision, ..KeyValue::default() }),
            ..Event::default()
        };
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        WatchResponse { header, watch_id: 1, events: events.iter().map(event).collect(), ..WatchResponse::default() }
    }

    #[test]
    fn a_watch_goes_on_after_what_was_shown() {
        let mut watches = Watches::default();
        let one = One { request: WatchCreateRequest::default(), command: Vec::new() };
        watches.all.insert(1, one);
        let mut next = |response: WatchResponse| {
            let shown = watches.take(response).expect("it is no failure").is_some();
            (shown, watches.all.get(&1).map(|one| one.request.start_revision))
        };
        assert_eq!(next(WatchResponse { created: true, ..told(7, &[]) }), (false, Some(8)));
        assert_eq!(next(told(12, &[9, 11])), (true, Some(12)));
        // Created again on another stream.
        assert_eq!(next(WatchResponse { created: true, ..told(20, &[]) }), (false, Some(12)));
        assert_eq!(next(told(30, &[])), (true, Some(31)));
        assert_eq!(next(WatchResponse { canceled: true, ..told(30, &[]) }), (false, None));
    }
}
