//! `conclave dump-log`: what a stopped member has, for people and for tools.
//!
//! First comes what the member is and how far it has come, then its log, an entry at a time. With
//! `--json` each is one JSON object on a line of its own. Commands are shown as they are stored,
//! field by field; bytes that are text are shown as text, others as `{"hex": …}`.
//!
//! Exit codes: 0 all of it could be read; 1 something could not; 2 the command line is wrong.

use crate::offline;
use clap::Parser;
use conclave_state::{Caller, Command};
use conclave_storage::types::{LogId, MemberNode, Membership, Vote};
use conclave_storage::{DumpedEntry, DumpedPayload, Identity, ReplicaStatus, Stopped, StoredLog, StoredState};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The word behind the program's name that asks for this. No flag of the server is a bare word, so
/// nothing else can mean it.
pub const WORD: &str = "dump-log";

/// Shows the log of a member that is stopped, and what its state holds. Changes nothing.
#[derive(Debug, Parser)]
#[command(name = "conclave dump-log", bin_name = "conclave dump-log", max_term_width = 120)]
struct Arguments {
    /// The member's data directory
    #[arg(long, env = "CONCLAVE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// The first index to show; earlier ones may be gone, as they are after a snapshot
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    from: u64,
    /// How many entries to show
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true, value_name = "N")]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command with the arguments behind its word.
#[must_use]
pub fn main<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> ExitCode {
    let arguments: Arguments = match offline::parse(WORD, arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match dump(&arguments, &mut out).and_then(|whole| out.flush().map(|()| whole).map_err(Into::into)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // What was read before the error is worth seeing.
            let _ = out.flush().and_then(|()| writeln!(io::stderr(), "conclave dump-log: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether every entry could be read.
fn dump(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<bool> {
    let stopped = Stopped::open(&arguments.data_dir)?;
    let (log, state) = (stopped.log()?, stopped.state());
    let member = member(stopped.identity(), &log, state.as_ref().ok());
    match arguments.json {
        true => writeln!(out, "{}", json!({ "member": member }))?,
        false => show(out, stopped.identity(), &log, state.as_ref().ok())?,
    }
    let mut whole = true;
    for entry in stopped.entries(arguments.from)?.take(arguments.limit) {
        let entry = entry?;
        whole &= entry.content.is_ok();
        match arguments.json {
            true => line(out, &entry)?,
            false => readable(out, &entry)?,
        }
    }
    state?;
    Ok(whole)
}

fn id(id: Option<&LogId>) -> Value {
    id.map_or(Value::Null, |id| json!({ "index": id.index, "term": id.leader_id.term }))
}

fn vote(vote: &Vote) -> Value {
    json!({ "term": vote.leader_id.term, "for": hex(vote.leader_id.voted_for), "elected": vote.committed })
}

fn hex(number: u64) -> String {
    format!("{number:x}")
}

/// Who belongs to the cluster. While the members change there are two configurations of voters, and
/// an entry needs a majority of each.
fn members(membership: &Membership) -> Value {
    let voters: Vec<Vec<String>> =
        membership.get_joint_config().iter().map(|config| config.iter().map(|id| hex(*id)).collect()).collect();
    let voting: BTreeSet<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(id, node)| {
        json!({ "id": hex(*id), "name": node.name, "peer_urls": node.peer_urls, "voter": voting.contains(id) })
    });
    json!({ "members": members.collect::<Vec<_>>(), "voters": voters })
}

/// The same for a reader: `n1 (8e9e05c5) http://…, n2 …`.
fn members_text(membership: &Membership) -> String {
    let voting: BTreeSet<u64> = membership.voter_ids().collect();
    let member = |(id, node): (&u64, &MemberNode)| {
        let learner = if voting.contains(id) { "" } else { ", a learner" };
        format!("{} ({}{learner}) {}", node.name, hex(*id), node.peer_urls.join(" "))
    };
    let all = membership.nodes().map(member).collect::<Vec<_>>().join(", ");
    let changing = membership.get_joint_config().len() > 1;
    if changing { format!("{all}; the voters are changing") } else { all }
}

fn digest(status: &ReplicaStatus) -> String {
    format!("{:016x}", status.digest)
}

fn member(identity: &Identity, log: &StoredLog, state: Option<&StoredState>) -> Value {
    let state = state.map(|StoredState { status, membership }| {
        json!({
            "applied": { "index": status.applied_index, "term": status.applied_term },
            "revision": status.revision,
            "compacted_revision": status.compacted,
            "digest": digest(status),
            "membership": members(membership.membership()),
        })
    });
    json!({
        "name": identity.name,
        "id": hex(identity.member_id),
        "cluster": hex(identity.cluster_id),
        "incarnation": hex(identity.incarnation),
        "log": {
            "first": log.first,
            "last": id(log.last.as_ref()),
            "purged": id(log.purged.as_ref()),
            "committed": id(log.committed.as_ref()),
            "flushed": id(log.flushed.as_ref()),
            "vote": log.vote.as_ref().map(vote),
        },
        "state": state,
    })
}

fn show(out: &mut impl Write, identity: &Identity, log: &StoredLog, state: Option<&StoredState>) -> io::Result<()> {
    let at = |id: Option<&LogId>| {
        id.map_or_else(|| "nothing".to_owned(), |id| format!("{} (term {})", id.index, id.leader_id.term))
    };
    let (member, cluster) = (hex(identity.member_id), hex(identity.cluster_id));
    writeln!(out, "member {} ({member}) of cluster {cluster}", identity.name)?;
    writeln!(out, "log    purged up to   {}", at(log.purged.as_ref()))?;
    writeln!(out, "       last           {}", at(log.last.as_ref()))?;
    writeln!(out, "       committed      {}, or more", at(log.committed.as_ref()))?;
    if let Some(vote) = &log.vote {
        let (term, elected) = (vote.leader_id.term, if vote.committed { ", elected" } else { "" });
        writeln!(out, "       vote           {} in term {term}{elected}", hex(vote.leader_id.voted_for))?;
    }
    if let Some(StoredState { status, membership }) = state {
        writeln!(out, "state  applied        {} (term {})", status.applied_index, status.applied_term)?;
        writeln!(out, "       revision       {}, compacted {}", status.revision, status.compacted)?;
        writeln!(out, "       digest         {}", digest(status))?;
        writeln!(out, "       membership     {}", members_text(membership.membership()))?;
    }
    writeln!(out)
}

/// A command as it is shown: with who sent it, and without what passwords and tokens were hashed
/// to.
struct Shown<'a>(&'a Command);

impl Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match self.0 {
            Command::By(by) => {
                let mut shown = serializer.serialize_map(Some(2))?;
                match &by.caller {
                    Caller::Server => shown.serialize_entry("member", &true)?,
                    Caller::User(login) => shown.serialize_entry("user", &login.user)?,
                }
                shown.serialize_entry("command", &Shown(&by.command))?;
                shown.end()
            }
            Command::Auth(change) => {
                let mut shown = serializer.serialize_map(Some(1))?;
                shown.serialize_entry("Auth", &format!("{change:?}"))?;
                shown.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// One entry as JSON.
fn line(out: &mut impl Write, entry: &DumpedEntry) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        index: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        term: Option<u64>,
        kind: &'a str,
        bytes: usize,
        crc32c: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        membership: Option<Value>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        segments: Vec<Segment<'a>>,
    }
    #[derive(Serialize)]
    struct Segment<'a> {
        origin: String,
        seq: u64,
        commands: Vec<Shown<'a>>,
    }
    let mut line = Line {
        index: entry.index,
        term: None,
        kind: "unreadable",
        bytes: entry.bytes,
        crc32c: format!("{:08x}", entry.crc32c),
        reason: None,
        membership: None,
        segments: Vec::new(),
    };
    match &entry.content {
        Err(reason) => line.reason = Some(reason),
        Ok(content) => {
            line.term = Some(content.term);
            match &content.payload {
                DumpedPayload::Blank => line.kind = "blank",
                DumpedPayload::Membership(membership) => {
                    (line.kind, line.membership) = ("membership", Some(members(membership)));
                }
                DumpedPayload::Segments(segments) => {
                    line.kind = "commands";
                    let shown = segments.iter().map(|one| {
                        let conclave_storage::Segment { origin, seq, commands } = one;
                        Segment { origin: hex(*origin), seq: *seq, commands: commands.iter().map(Shown).collect() }
                    });
                    line.segments = shown.collect();
                }
            }
        }
    }
    line.serialize(&mut Serializer::with_formatter(&mut *out, Readable))?;
    writeln!(out)?;
    Ok(())
}

/// One entry for a reader.
fn readable(out: &mut impl Write, entry: &DumpedEntry) -> anyhow::Result<()> {
    let DumpedEntry { index, bytes, content, .. } = entry;
    let content = match content {
        Ok(content) => content,
        Err(reason) => return Ok(writeln!(out, "{index:>10}  UNREADABLE ({bytes} bytes): {reason}")?),
    };
    write!(out, "{index:>10}  term {}  ", content.term)?;
    match &content.payload {
        DumpedPayload::Blank => writeln!(out, "blank")?,
        DumpedPayload::Membership(membership) => writeln!(out, "membership {}", members_text(membership))?,
        DumpedPayload::Segments(segments) => {
            writeln!(out, "{bytes} bytes")?;
            for command in segments.iter().flat_map(|segment| &segment.commands) {
                write!(out, "{:12}", "")?;
                Shown(command).serialize(&mut Serializer::with_formatter(&mut *out, Readable))?;
                writeln!(out)?;
            }
        }
    }
    Ok(())
}

/// JSON in which bytes are text where they are text.
struct Readable;

impl Formatter for Readable {
    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        if let Ok(text) = std::str::from_utf8(value) {
            return serde_json::to_writer(writer, text).map_err(Into::into);
        }
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        CompactFormatter.begin_object(writer)?;
        write!(writer, "\"hex\":\"{digits}\"")?;
        CompactFormatter.end_object(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::Put;
    use conclave_state::auth::{AuthChange, Login};

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        let put = Put { key: "a \"key\"".into(), value: vec![0xff, 0x00].into(), lease: 7, ..Put::default() };
        let mut out = Vec::new();
        Command::Put(put).serialize(&mut Serializer::with_formatter(&mut out, Readable)).expect("a vector takes it");
        let shown: Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(shown["Put"]["key"], "a \"key\"");
        assert_eq!(shown["Put"]["value"], json!({ "hex": "ff00" }));
        assert_eq!(shown["Put"]["lease"], 7);
    }

    #[test]
    fn who_sent_a_command_is_shown_and_no_hash() {
        let shown = |command: &Command| {
            let mut out = Vec::new();
            Shown(command).serialize(&mut Serializer::with_formatter(&mut out, Readable)).expect("a vector takes it");
            String::from_utf8(out).expect("it is text")
        };
        let add = AuthChange::UserAdd { name: "al".into(), hash: "$2b$secret".into(), no_password: false };
        let login = Login { user: "root".into(), revision: 3 };
        let text = shown(&Command::Auth(Box::new(add)).by(Caller::User(login.into())));
        assert!(text.contains("root") && text.contains("UserAdd") && text.contains("al"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        let sign_in = AuthChange::SignIn { user: "al".into(), revision: 3, token: [77; 32] };
        assert!(!shown(&Command::Auth(Box::new(sign_in))).contains("77"));
        assert!(shown(&Command::Compact { revision: 3 }.by(Caller::Server)).contains("member"));
    }

    #[test]
    fn members_are_shown_by_name_with_their_ids_in_hexadecimal() {
        let node = |name: &str| MemberNode { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] };
        let nodes = [(0xab_u64, node("n1")), (0xcd, node("n2"))];
        let voters = vec![BTreeSet::from([0xab])];
        let membership = Membership::new(voters, std::collections::BTreeMap::from(nodes)).expect("it is one");
        assert_eq!(members_text(&membership), "n1 (ab) http://n1:2380, n2 (cd, a learner) http://n2:2380");
        let shown = members(&membership);
        assert_eq!(shown["voters"], json!([["ab"]]));
        let second = json!({ "id": "cd", "name": "n2", "peer_urls": ["http://n2:2380"], "voter": false });
        assert_eq!(shown["members"][1], second);
    }

    #[test]
    fn a_log_that_cannot_be_had_is_said_to_be_so() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let arguments = Arguments { data_dir: dir.path().to_owned(), from: 0, limit: 1, json: false };
        let error = dump(&arguments, &mut Vec::new()).expect_err("there is nothing").to_string();
        assert!(error.contains("is not the data directory of a member"), "{error}");
    }
}
