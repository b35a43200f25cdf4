//! Reads what is left on the members' disks once a run is over: their logs, and how far their
//! states have come.
//!
//! 1. Every member is asked to stop, all at once, and must do so in good order.
//! 2. The logs are read by the server's own `dump-log`; one that cannot be read is a finding, one
//!    that the server cannot show is not.

use crate::{
    env::{Env, NodeState},
    history::{Entry, Fact, Journal, Log, Logged, Process},
};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

/// The server's word for a command line that it does not understand.
const NOT_UNDERSTOOD: i32 = 2;

/// Asks every member to stop. Returns what was not in order.
pub(super) fn stop(env: &Env, lost: &[usize]) -> Result<Vec<String>> {
    let ask = |node: usize| match env.node_state(node) {
        NodeState::Down => Ok(None),
        _ => env.terminate(node),
    };
    let ends = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..env.nodes()).map(|node| scope.spawn(move || ask(node))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a member was not asked to stop"))?)
            .collect()
    });
    let ends: Result<Vec<Option<String>>> = ends;
    let named = ends?.into_iter().enumerate().filter_map(|(node, end)| Some((node, end?)));
    let bad = named.filter(|(node, end)| end != "exit 0" && !lost.contains(node));
    Ok(bad.map(|(node, end)| format!("n{} was asked to stop and ended with {end}", node + 1)).collect())
}

/// Writes down the log of every member that is not lost. Returns why it cannot be done with this
/// server.
pub(super) fn read(env: &Env, binary: &Path, journal: &Journal, lost: &[usize]) -> Result<Option<String>> {
    for node in (0..env.nodes()).filter(|node| !lost.contains(node)) {
        let name = format!("n{}", node + 1);
        if !env.data_dir(node).exists() {
            continue;
        }
        if !read_one(&env.data_dir(node), binary, node, journal).with_context(|| format!("the log of {name}"))? {
            return Ok(Some("logs: this server has no dump-log".into()));
        }
    }
    Ok(None)
}

fn read_one(data: &Path, binary: &Path, node: usize, journal: &Journal) -> Result<bool> {
    let mut command = Command::new(binary);
    command.args(["dump-log", "--json", "--data-dir"]).arg(data);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("its output is piped")?;
    let write = |fact| journal.write(&Process::Harness("logs".into()), Some(node as u32 + 1), Entry::Fact(fact));
    for line in BufReader::new(out).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        write(if line["member"].is_object() { Fact::Log(log(&line["member"])) } else { Fact::Logged(logged(&line)) })?;
    }
    let mut said = String::new();
    child.stderr.take().context("its errors are piped")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(NOT_UNDERSTOOD) => Ok(false),
        // Entries that it could not read are in what it wrote.
        Some(1) if said.is_empty() => Ok(true),
        Some(1) => {
            let unreadable = said.trim().to_owned();
            write(Fact::Log(Log::default()))?;
            write(Fact::Logged(Logged { unreadable, ..Logged::default() }))?;
            Ok(true)
        }
        _ => bail!("{status}: {said}"),
    }
}

fn log(member: &Value) -> Log {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let state = &member["state"];
    let id = member["id"].as_str().and_then(|id| u64::from_str_radix(id, 16).ok());
    Log {
        member: id.unwrap_or(0),
        purged: number(&member["log"]["purged"]["index"]),
        applied: number(&state["applied"]["index"]),
        applied_term: number(&state["applied"]["term"]),
        revision: state["revision"].as_i64().unwrap_or(0),
    }
}

fn logged(line: &Value) -> Logged {
    let mut logged = Logged {
        index: line["index"].as_u64().unwrap_or(0),
        term: line["term"].as_u64().unwrap_or(0),
        record: line["crc32c"].as_str().unwrap_or_default().to_owned(),
        unreadable: line["reason"].as_str().unwrap_or_default().to_owned(),
        ..Logged::default()
    };
    for segment in line["segments"].as_array().into_iter().flatten() {
        for command in segment["commands"].as_array().into_iter().flatten() {
            puts(command, true, &mut logged);
        }
    }
    logged
}

/// The puts of a command, also those in its transactions.
fn puts(command: &Value, sure: bool, logged: &mut Logged) {
    if let (Some(key), Some(value)) = (command["Put"]["key"].as_str(), command["Put"]["value"].as_str()) {
        let put = &command["Put"];
        // A put under a lease fails if the lease is gone; one that keeps the value writes none.
        let plain = put["lease"] == 0 && put["ignore_value"] == false && put["ignore_lease"] == false;
        let into = if sure && plain { &mut logged.puts } else { &mut logged.maybe };
        into.push((key.to_owned(), value.to_owned()));
    }
    for branch in ["success", "failure"] {
        for inner in command["Txn"][branch].as_array().into_iter().flatten() {
            puts(inner, false, logged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_puts_of_an_entry_are_found_also_in_transactions() {
        let put = |key: &str, lease: i64| {
            json!({"Put": {"key": key, "value": "1", "lease": lease, "prev_kv": false,
            "ignore_value": false, "ignore_lease": false}})
        };
        let nested = json!({"Txn": {"compares": [], "success": [put("c", 0)], "failure": []}});
        let txn = json!({"Txn": {"compares": [], "success": [put("b", 0), {"Range": {}}], "failure": [nested]}});
        let line = json!({"index": 7, "term": 2, "kind": "commands", "bytes": 9, "crc32c": "0a",
            "segments": [{"origin": "1", "seq": 1, "commands": [put("a", 0), put("d", 5), txn, "Nothing"]}]});
        let logged = logged(&line);
        let pairs = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect::<Vec<_>>();
        assert_eq!((logged.index, logged.term, logged.record.as_str()), (7, 2, "0a"));
        assert_eq!((logged.puts, logged.maybe), (pairs(&["a"]), pairs(&["d", "b", "c"])));
    }
}
