//! Lines of a transcript as commands and queries.
//!
//! Words are parted by spaces; `""` is empty bytes, `\0` and `\xff` are bytes. A range is `key`,
//! `from..end`, `from..` or `..` (all). Options are `name=value` or a bare name. A `txn` is
//! followed by indented lines: `if`, `then` and `else`.

use bytes::Bytes;
use conclave_state::*;

/// A line with the lines that are indented under it.
pub(crate) struct Line {
    text: String,
    under: Vec<Line>,
}

impl Line {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn word(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn words(&self) -> Words<'_> {
        Words(self.text.split(' ').filter(|word| !word.is_empty()).collect())
    }
}

pub(crate) fn lines(texts: &[&str]) -> Result<Vec<Line>, String> {
    let mut stack: Vec<(usize, Vec<Line>)> = vec![(0, Vec::new())];
    for text in texts.iter().filter(|text| !text.trim().is_empty() && !text.trim_start().starts_with('#')) {
        let indent = text.len() - text.trim_start().len();
        while indent < stack.last().map_or(0, |(at, _)| *at) {
            close(&mut stack)?;
        }
        if indent > stack.last().map_or(0, |(at, _)| *at) {
            stack.push((indent, Vec::new()));
        }
        let line = Line { text: text.trim().to_owned(), under: Vec::new() };
        stack.last_mut().ok_or("no block is open")?.1.push(line);
    }
    while stack.len() > 1 {
        close(&mut stack)?;
    }
    Ok(stack.pop().map(|(_, lines)| lines).unwrap_or_default())
}

fn close(stack: &mut Vec<(usize, Vec<Line>)>) -> Result<(), String> {
    let (_, under) = stack.pop().ok_or("no block is open")?;
    let parent = stack.last_mut().and_then(|(_, lines)| lines.last_mut()).ok_or("nothing to indent under")?;
    parent.under = under;
    Ok(())
}

/// The words of a line that are not used up yet.
pub(crate) struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    pub(crate) fn next(&mut self, what: &str) -> Result<&'a str, String> {
        if self.0.is_empty() { Err(format!("{what} is missing")) } else { Ok(self.0.remove(0)) }
    }

    pub(crate) fn bytes(&mut self, what: &str) -> Result<Bytes, String> {
        self.next(what).map(bytes)
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("{word} is not {what}"))
    }

    pub(crate) fn option<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let value =
            self.0.iter().enumerate().find_map(|(at, word)| Some((at, word.strip_prefix(name)?.strip_prefix('=')?)));
        let Some((at, value)) = value else { return Ok(None) };
        self.0.remove(at);
        value.parse().map(Some).map_err(|_| format!("{value} is not a value of {name}"))
    }

    pub(crate) fn or_default<T: std::str::FromStr + Default>(&mut self, name: &str) -> Result<T, String> {
        Ok(self.option(name)?.unwrap_or_default())
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| *word != name);
        self.0.len() < before
    }

    pub(crate) fn range(&mut self) -> Result<KeyRange, String> {
        let word = self.next("a range")?;
        Ok(match word.split_once("..") {
            None => KeyRange { key: bytes(word), end: Bytes::new() },
            Some((from, "")) => {
                KeyRange { key: if from.is_empty() { bytes("\\0") } else { bytes(from) }, end: bytes("\\0") }
            }
            Some((from, end)) => KeyRange { key: bytes(from), end: bytes(end) },
        })
    }

    /// The words up to a separator, which goes too.
    pub(crate) fn upto(&mut self, separator: &str) -> Words<'a> {
        let end = self.0.iter().position(|word| *word == separator).unwrap_or(self.0.len());
        let part = self.0.drain(..end).collect();
        self.0.drain(..usize::from(!self.0.is_empty()));
        Words(part)
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("what does {:?} mean?", self.0)) }
    }
}

fn bytes(word: &str) -> Bytes {
    if word == "\"\"" {
        return Bytes::new();
    }
    let mut found = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("\\0") {
            found.push(0);
            rest = tail;
        } else if let Some(hex) = rest.strip_prefix("\\x").and_then(|tail| tail.get(..2)) {
            found.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
            rest = &rest[4..];
        } else {
            found.extend_from_slice(first.to_string().as_bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    found.into()
}

pub(crate) fn query(words: &mut Words<'_>) -> Result<RangeQuery, String> {
    let order = match words.option::<String>("order")?.as_deref() {
        None => Order::None,
        Some("asc") => Order::Ascend,
        Some("desc") => Order::Descend,
        Some(other) => return Err(format!("unknown order {other}")),
    };
    let sort_by = match words.option::<String>("by")?.as_deref() {
        None | Some("key") => SortBy::Key,
        Some("version") => SortBy::Version,
        Some("create") => SortBy::CreateRevision,
        Some("mod") => SortBy::ModRevision,
        Some("value") => SortBy::Value,
        Some(other) => return Err(format!("unknown sort target {other}")),
    };
    let query = RangeQuery {
        limit: words.or_default("limit")?,
        revision: words.or_default("rev")?,
        order,
        sort_by,
        keys_only: words.flag("keys_only"),
        count_only: words.flag("count_only"),
        min_mod_revision: words.or_default("min_mod")?,
        max_mod_revision: words.or_default("max_mod")?,
        min_create_revision: words.or_default("min_create")?,
        max_create_revision: words.or_default("max_create")?,
        range: words.range()?,
    };
    Ok(query)
}

/// The command of a line, if it is one.
pub(crate) fn command(line: &Line) -> Result<Option<Command>, String> {
    let mut words = line.words();
    let verb = words.next("a verb")?;
    // These only ask.
    if verb == "may" {
        return Ok(None);
    }
    let caller = super::auth::caller(&mut words)?;
    let command = match verb {
        "put" => Command::Put(put(&mut words)?),
        "del" => Command::DeleteRange(delete(&mut words)?),
        "txn" => Command::Txn(txn(line)?),
        "compact" => Command::Compact { revision: words.number("a revision")? },
        "grant" => Command::LeaseGrant(LeaseGrant {
            id: words.number("a lease")?,
            ttl_ms: words.number::<u64>("a TTL in seconds")? * 1000,
        }),
        "revoke" => Command::LeaseRevoke { id: words.number("a lease")? },
        "expire" => {
            let term = words.option("term")?.ok_or("the term is missing")?;
            let observed = words.option("observed")?.unwrap_or(u64::MAX);
            let mut leases = Vec::new();
            while words.end().is_err() {
                leases.push(words.number("a lease")?);
            }
            Command::Expire(Expire { leases, term, observed })
        }
        "unlock" => Command::Dequeue(Dequeue { key: words.bytes("a key")?, by: DequeueBy::Lock }),
        "lock" | "campaign" | "proclaim" | "withdraw" => place(verb, &mut words)?,
        "announce" => {
            let (id, name) = (words.number("an id")?, words.next("a name")?.to_owned());
            let client_urls = words.next("URLs")?.split(',').map(str::to_owned).collect();
            Command::Announce(Member { id, name, client_urls })
        }
        "alarm" => {
            let raise = match words.next("raise or clear")? {
                "raise" => true,
                "clear" => false,
                other => return Err(format!("{other} is neither raise nor clear")),
            };
            let kind = match words.next("a kind")? {
                "nospace" => AlarmKind::NoSpace,
                "corrupt" => AlarmKind::Corrupt,
                other => return Err(format!("unknown alarm {other}")),
            };
            Command::Alarm(AlarmChange { raise, alarm: Alarm { member: words.number("a member")?, kind } })
        }
        _ => match super::auth::command(verb, &mut words)? {
            Some(command) => command,
            None => match super::coord::command(verb, &mut words)? {
                Some(command) => command,
                None => match super::placement::command(verb, &mut words)? {
                    Some(command) => command,
                    None => return Ok(None),
                },
            },
        },
    };
    words.end()?;
    Ok(Some(match caller {
        Some(caller) => command.by(caller),
        None => command,
    }))
}

fn place(verb: &str, words: &mut Words<'_>) -> Result<Command, String> {
    let create = words.option("create")?;
    let revision = || create.ok_or("the create revision is missing");
    Ok(match verb {
        "proclaim" => Command::Proclaim(Proclaim {
            create_revision: revision()?,
            key: words.bytes("a key")?,
            value: words.bytes("a value")?,
        }),
        "withdraw" => {
            Command::Dequeue(Dequeue { by: DequeueBy::CreateRevision(revision()?), key: words.bytes("a key")? })
        }
        _ => {
            let kind = if verb == "lock" { QueueKind::Lock } else { QueueKind::Election };
            Command::Enqueue(Enqueue {
                kind,
                attempt: words.or_default("attempt")?,
                lease: words.or_default("lease")?,
                grant_ttl_ms: words.or_default::<u64>("ttl")? * 1000,
                name: words.bytes("a name")?,
                value: if kind == QueueKind::Lock { Bytes::new() } else { words.bytes("a value")? },
            })
        }
    })
}

fn put(words: &mut Words<'_>) -> Result<Put, String> {
    Ok(Put {
        lease: words.or_default("lease")?,
        prev_kv: words.flag("prev"),
        ignore_value: words.flag("ignore_value"),
        ignore_lease: words.flag("ignore_lease"),
        key: words.bytes("a key")?,
        value: if words.end().is_ok() { Bytes::new() } else { words.bytes("a value")? },
    })
}

fn delete(words: &mut Words<'_>) -> Result<DeleteRange, String> {
    Ok(DeleteRange { prev_kv: words.flag("prev"), range: words.range()? })
}

fn txn(line: &Line) -> Result<Txn, String> {
    let mut txn = Txn::default();
    for line in &line.under {
        let mut words = line.words();
        match words.next("if, then or else")? {
            "if" => txn.compares.push(compare(&mut words)?),
            "then" => txn.success.push(op(line, &mut words)?),
            "else" => txn.failure.push(op(line, &mut words)?),
            other => return Err(format!("{other} is neither if, then nor else")),
        }
        words.end()?;
    }
    Ok(txn)
}

fn op(line: &Line, words: &mut Words<'_>) -> Result<Op, String> {
    Ok(match words.next("an operation")? {
        "get" => Op::Range(query(words)?),
        "put" => Op::Put(put(words)?),
        "del" => Op::DeleteRange(delete(words)?),
        "txn" => Op::Txn(txn(line)?),
        other => return Err(format!("unknown operation {other}")),
    })
}

fn compare(words: &mut Words<'_>) -> Result<Compare, String> {
    let target = words.next("a target")?;
    let range = words.range()?;
    let relation = match words.next("a relation")? {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        ">" => Relation::Greater,
        "<" => Relation::Less,
        other => return Err(format!("unknown relation {other}")),
    };
    let target = match target {
        "version" => Target::Version(words.number("a version")?),
        "create" => Target::CreateRevision(words.number("a revision")?),
        "mod" => Target::ModRevision(words.number("a revision")?),
        "lease" => Target::Lease(words.number("a lease")?),
        "value" => Target::Value(words.bytes("a value")?),
        other => return Err(format!("unknown target {other}")),
    };
    Ok(Compare { range, relation, target })
}
