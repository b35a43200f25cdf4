//! The little language of the transcripts, and the machine that runs it.

mod auth;
mod coord;
mod parse;
mod placement;
mod print;

use conclave_state::{
    Batch, Command, Event, Machine, MemoryView, Position, RangeQuery, Rejection, Response, Table, queue, read, sweep,
};
use parse::{Line, Words};
use std::fmt::Write;

pub(crate) struct Session {
    machine: Machine,
    view: MemoryView,
    term: u64,
    /// Of the entry in which the commands stand.
    index: u64,
    out: String,
}

impl Session {
    pub(crate) fn new() -> Session {
        let view = MemoryView::new();
        let machine = Machine::load(&view).expect("an empty view is an empty store");
        Session { machine, view, term: 1, index: 1, out: String::new() }
    }

    pub(crate) fn run(&mut self, lines: &[&str]) -> Result<String, String> {
        self.out.clear();
        for line in parse::lines(lines)? {
            self.line(&line).map_err(|error| format!("`{}`: {error}", line.text()))?;
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        if let Some(command) = parse::command(line)? {
            return self.apply(line.word(), &command);
        }
        let mut words = line.words();
        let verb = words.next("a verb")?;
        if let Some(answer) = coord::ask(&self.view, verb, &mut words)? {
            self.out.push_str(&answer);
            return words.end();
        }
        if let Some(answer) = auth::ask(&self.view, verb, &mut words)? {
            self.out.push_str(&answer);
            return words.end();
        }
        match verb {
            "get" => self.get(&parse::query(&mut words)?),
            "term" => self.term = words.number("a term")?,
            "index" => self.index = words.number("an index")?,
            "history" => self.history(&mut words)?,
            "version" => {
                let (key, revision) = (words.bytes("a key")?, words.number("a revision")?);
                let version = read::version_at(&self.view, &key, revision).expect("memory can be read");
                let _ = writeln!(self.out, "version: {}", version.map_or("none".into(), |kv| print::kv(&kv)));
            }
            "lease" => {
                let id = words.number("a lease")?;
                let ttl = read::lease_ttl(&self.view, id).expect("memory can be read");
                let keys = read::lease_keys(&self.view, id).expect("memory can be read");
                let _ = writeln!(self.out, "lease {id}: ttl={ttl:?} keys={}", print::keys(&keys));
            }
            "leases" => {
                let leases = read::leases(&self.view).expect("memory can be read");
                let _ = writeln!(self.out, "leases: {leases:?}");
            }
            "alarms" => {
                let alarms = read::alarms(&self.view).expect("memory can be read");
                let _ = writeln!(self.out, "alarms: {alarms:?}");
            }
            "members" => {
                let members = read::members(&self.view).expect("memory can be read");
                let _ = writeln!(self.out, "members: {members:?}");
            }
            "placement" => self.out.push_str(&placement::show(&self.view)),
            "hash" => self.hash(words.number("a revision")?),
            "sweep" => self.sweep(words.option("limit")?.unwrap_or(1000)),
            "queue" => self.queue(&words.bytes("a prefix")?),
            "meta" => {
                let read::Meta { revision, compacted, .. } = read::meta(&self.view).expect("memory can be read");
                let _ = writeln!(self.out, "meta: rev={revision} compacted={compacted}");
            }
            "reload" => self.machine = Machine::load(&self.view).expect("memory can be read"),
            other => return Err(format!("unknown verb {other}")),
        }
        words.end()
    }

    /// What a transaction that only reads answers without the log; `None` for everything else.
    fn read_only(&self, command: &Command) -> Option<Result<Response, Rejection>> {
        let Command::Txn(txn) = command else { return None };
        // Without the log, others ask what the caller may do.
        if !txn.only_reads() || conclave_state::auth::load(&self.view).expect("memory can be read").enabled() {
            return None;
        }
        let result = read::txn(&self.view, txn, self.bounds(), None).expect("memory can be read");
        Some(result.map(Response::Txn).map_err(|stop| match stop {
            read::ReadStop::Rejected(rejection) => rejection,
            read::ReadStop::OverBudget => panic!("there was no budget"),
        }))
    }

    fn apply(&mut self, verb: &str, command: &Command) -> Result<(), String> {
        let without_log = self.read_only(command);
        let mut batch: Batch<'_, MemoryView> = self.machine.begin(&self.view);
        let at = Position { index: self.index, term: self.term };
        let outcome = batch.apply(at, command, true).expect("memory can be read");
        if let Some(answer) = without_log {
            assert_eq!(answer, outcome.result, "a transaction that only reads, without the log and with it");
        }
        let changes = batch.finish();
        self.view.write(&changes.writes);
        let result = match &outcome.result {
            Ok(response) => print::response(response),
            Err(rejection) => format!("refused: {rejection}"),
        };
        let repeats = outcome.repeats.map_or(String::new(), |of| format!(" (the answer of rev={of})"));
        let _ = writeln!(self.out, "{verb}: rev={} {result}{repeats}", outcome.revision);
        self.events(&changes.events);
        for change in &changes.leases {
            let _ = writeln!(self.out, "  {change:?}");
        }
        for change in &changes.auth {
            let _ = writeln!(self.out, "  {change:?}");
        }
        for change in &changes.timers {
            let _ = writeln!(self.out, "  {change:?}");
        }
        Ok(())
    }

    fn events(&mut self, events: &[Event]) {
        for event in events {
            let _ = writeln!(self.out, "  {}", print::event(event));
        }
    }

    fn bounds(&self) -> read::Bounds {
        read::meta(&self.view).expect("memory can be read").bounds()
    }

    fn get(&mut self, query: &RangeQuery) {
        match read::range(&self.view, query, self.bounds(), None).expect("memory can be read") {
            Ok(result) => {
                let _ = writeln!(self.out, "get: count={}{}", result.count, if result.more { " more" } else { "" });
                for kv in &result.kvs {
                    let _ = writeln!(self.out, "  {}", print::kv(kv));
                }
            }
            Err(stop) => {
                let _ = writeln!(self.out, "get: {stop:?}");
            }
        }
    }

    fn history(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let (from, to) = (words.number("a revision")?, words.number("a revision")?);
        let limit = words.option("limit")?.unwrap_or(1000);
        let (events, next) = read::history(&self.view, from, to, limit).expect("memory can be read");
        let _ = writeln!(self.out, "history: next={next}");
        self.events(&events);
        Ok(())
    }

    fn hash(&mut self, revision: i64) {
        let hash: Result<read::KvHash, Rejection> =
            read::hash_history(&self.view, revision, self.bounds()).expect("memory can be read");
        let _ = match hash {
            Ok(hash) => {
                writeln!(self.out, "hash: {:08x} rev={} compacted={}", hash.hash, hash.revision, hash.compacted)
            }
            Err(rejection) => writeln!(self.out, "hash: refused: {rejection}"),
        };
    }

    /// Sweeps to the end, a piece at a time.
    fn sweep(&mut self, limit: usize) {
        let mut from = Some(0);
        let mut pieces = 0;
        while let Some(at) = from {
            let (rows, next) =
                sweep::sweep(&self.view, at, self.bounds().compacted, limit).expect("memory can be read");
            self.view.remove(&rows);
            from = next;
            pieces += 1;
        }
        let (kv, rev) = (self.view.rows(Table::Kv), self.view.rows(Table::Rev));
        let _ = writeln!(self.out, "sweep: pieces={pieces} rows left: kv={kv} rev={rev}");
    }

    fn queue(&mut self, prefix: &[u8]) {
        let name = prefix.strip_suffix(b"/").unwrap_or(prefix);
        let (mut len, mut from) = (0, 0);
        let first = queue::first(&self.view, name, 0).expect("memory can be read");
        // Places that were created in one revision count as one.
        while let Some((created, _)) = queue::first(&self.view, name, from).expect("memory can be read") {
            (len, from) = (len + 1, created + 1);
        }
        let head = first.map(|(revision, key)| format!("{}@{revision}", print::bytes(&key)));
        let _ = writeln!(self.out, "queue: len={len} head={}", head.as_deref().unwrap_or("none"));
    }
}
