//! `watch -i`: lines from standard input say what to watch, all on one stream.

use super::{
    Context,
    watch::{self, WatchArgs},
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output, parse,
};
use clap::Parser;
use conclave_client::api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use std::{collections::HashMap, ffi::OsString};
use tokio::io::{AsyncBufReadExt as _, BufReader};

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
    let client = context.link.client().await?;
    let mut stream = client.wire().watch().open();
    let mut commands: HashMap<i64, Vec<OsString>> = HashMap::new();
    let mut next_id = 1;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = input.next_line() => match line? {
                None => return Ok(Exit::Done),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => match read(&line) {
                    Ok(Line::Progress) => stream.request_progress().await.map_err(Failure::of_client)?,
                    Ok(Line::Watch(args)) => {
                        let target = args.target()?;
                        commands.insert(next_id, target.command);
                        let request = WatchCreateRequest {
                            key: target.keys.key.into(),
                            range_end: target.keys.end.into(),
                            start_revision: target.rev,
                            prev_kv: target.prev_kv,
                            progress_notify: target.progress,
                            watch_id: next_id,
                            ..WatchCreateRequest::default()
                        };
                        next_id += 1;
                        stream.create(request).await.map_err(Failure::of_client)?;
                    }
                    Err(failure) => output::complain(&format!("{failure}\n")),
                },
            },
            response = stream.next(), if !commands.is_empty() => {
                let response = response.map_err(Failure::of_client)?;
                let response = response.ok_or_else(|| Failure::new(Exit::NoConnection, "the member ended the watch"))?;
                answer(context, &response, &commands).await?;
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

async fn answer(context: &Context, response: &WatchResponse, commands: &HashMap<i64, Vec<OsString>>) -> Result<()> {
    if response.created {
        return Ok(());
    }
    if response.canceled {
        output::complain(&format!("watch was canceled ({})\n", response.cancel_reason));
        return Ok(());
    }
    let command = commands.get(&response.watch_id).map_or(&[][..], Vec::as_slice);
    watch::show(context, response, command).await
}
