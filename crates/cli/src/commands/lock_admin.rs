//! `lock ls`, `lock show`, `lock release`: the locks that there are.
//!
//! A lock of etcd's wire is a line of keys `NAME/<lease>`, the oldest holds it. Elections of etcd's wire look the same, with a value. They are
//! found by that look alone, so a key that merely looks so is listed too. Conclave's own locks (conclave.v1) are asked for by name.

use super::{Context, wire};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{Json, Show, Table, Text, human, quote},
    parse::Keys,
};
use clap::Subcommand;
use conclave_client::api::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    mvccpb::KeyValue,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// After how long somebody who waits is told for whom.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LockAdmin {
    /// Locks and elections of etcd's wire that are held or waited for
    Ls {
        /// Only names that begin so
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Who holds a lock, and who waits
    Show { name: String },
    /// Take a lock away from its holder, or a place from who waits
    #[command(after_long_help = "\
The fence says whom: `lock show` tells it. If somebody else has the lock by then, nothing happens.
The holder learns it at once; a command of `conclavectl lock` is stopped.")]
    Release {
        name: String,
        /// The fence of the holder, or of who waits
        fence: i64,
    },
}

/// A place in a line.
#[derive(Clone, Debug)]
struct Place {
    key: Vec<u8>,
    lease: i64,
    fence: i64,
    value: Vec<u8>,
}

/// A lock and its line, the holder first.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    places: Vec<Place>,
}

struct Lines(Vec<Line>);

impl LockAdmin {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Ls { prefix } => {
                let keys = scan(context, Keys::prefix(prefix.into_bytes())).await?;
                context.out.show(&Lines(lines(keys)));
                Ok(())
            }
            Self::Show { name } => {
                let line = line(context, &name).await?;
                if line.places.is_empty() {
                    return Err(Failure::new(Exit::Busy, format!("nobody holds the lock {name:?}")).hint(
                        "`conclavectl lock ls` shows those that are held; for a lock named `show` write: lock -- show",
                    ));
                }
                context.out.show(&line);
                Ok(())
            }
            Self::Release { name, fence } => release(context, &name, fence).await,
        }
    }
}

/// The place that a key is, if it looks like one.
fn place(kv: KeyValue) -> Option<(String, Place)> {
    let text = std::str::from_utf8(&kv.key).ok()?;
    let (name, suffix) = text.rsplit_once('/')?;
    let same = kv.lease != 0 && suffix == format!("{:x}", kv.lease) && !name.is_empty();
    let name = name.to_owned();
    let place = Place { key: kv.key.to_vec(), lease: kv.lease, fence: kv.create_revision, value: kv.value.to_vec() };
    same.then_some((name, place))
}

fn lines(keys: Vec<KeyValue>) -> Vec<Line> {
    let mut lines: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (name, place) in keys.into_iter().filter_map(place) {
        lines.entry(name).or_default().push(place);
    }
    let sorted = |(name, mut places): (String, Vec<Place>)| {
        places.sort_by_key(|place| place.fence);
        Line { name, places }
    };
    lines.into_iter().map(sorted).collect()
}

/// For `status`: name, holder, its fence, how many wait.
pub(super) fn summary(keys: Vec<KeyValue>) -> impl Iterator<Item = (String, String, i64, u64)> {
    lines(keys).into_iter().filter_map(|line| {
        let holder = line.places.first()?;
        let shown = if holder.value.is_empty() { human::lease(holder.lease) } else { quote::readable(&holder.value) };
        Some((line.name, shown, holder.fence, line.places.len() as u64 - 1))
    })
}

/// All keys of a range, in pages.
async fn scan(context: &Context, Keys { key, end }: Keys) -> Result<Vec<KeyValue>> {
    const PAGE: i64 = 5_000;
    let mut request = RangeRequest { key: key.into(), range_end: end.into(), limit: PAGE, ..RangeRequest::default() };
    let mut all = Vec::new();
    loop {
        let page = context.link.read(|channel| wire::range(channel, request.clone())).await?;
        request.revision = page.header.map_or(0, |header| header.revision);
        let Some(last) = page.kvs.last().filter(|_| page.more) else {
            all.extend(page.kvs);
            return Ok(all);
        };
        request.key = [&last.key[..], b"\0"].concat().into();
        // Only what may be a place is kept: the store may be large.
        all.extend(page.kvs.into_iter().filter(|kv| kv.lease != 0));
    }
}

async fn line(context: &Context, name: &str) -> Result<Line> {
    let keys = scan(context, Keys::prefix(format!("{name}/").into_bytes())).await?;
    let found = lines(keys).into_iter().find(|line| line.name == name);
    Ok(found.unwrap_or_else(|| Line { name: name.to_owned(), places: Vec::new() }))
}

async fn release(context: &Context, name: &str, fence: i64) -> Result<()> {
    let line = line(context, name).await?;
    let gone = || {
        Failure::new(Exit::Busy, format!("nobody holds or waits for the lock {name:?} under fence {fence}"))
            .hint(format!("`conclavectl lock show {name}` shows who does; it may have been given back meanwhile"))
    };
    let place = line.places.into_iter().find(|place| place.fence == fence).ok_or_else(gone)?;
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: place.key.clone().into(),
        target_union: Some(TargetUnion::CreateRevision(fence)),
        ..Compare::default()
    };
    let delete = DeleteRangeRequest { key: place.key.into(), ..DeleteRangeRequest::default() };
    let request = TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
        failure: Vec::new(),
    };
    let answer = context.link.write(|channel| wire::txn(channel, request.clone())).await?;
    if !answer.succeeded {
        return Err(gone());
    }
    context.out.show(&Released { name: name.to_owned(), fence });
    Ok(())
}

/// Tells somebody who waits, after a moment, for whom; never ends.
pub(super) async fn tell_waiting(context: &Context, name: &str, lease: i64) {
    sleep(PATIENCE).await;
    // Not worth an error: the wait itself goes on.
    if let Ok(line) = line(context, name).await {
        let own = line.places.iter().position(|place| place.lease == lease);
        if let (Some(before @ 1..), Some(holder)) = (own, line.places.first()) {
            let value =
                if holder.value.is_empty() { String::new() } else { format!(" ({})", quote::readable(&holder.value)) };
            super::lock::tell(&format!(
                "waiting for {name:?}: {before} before; held by {}{value} with fence {}",
                quote::readable(&holder.key),
                holder.fence
            ));
        }
    }
    std::future::pending().await
}

struct Released {
    name: String,
    fence: i64,
}

impl Show for Released {
    fn simple(&self, text: &mut Text) {
        text.line(format!("lock {} released (fence {})", self.name, self.fence));
    }

    fn json(&self) -> Json {
        Json::object().with("name", &self.name).with("fence", self.fence).with("released", true).done()
    }
}

impl Place {
    fn json(&self) -> Json {
        Json::object()
            .with("fence", self.fence)
            .with("lease", human::lease(self.lease))
            .with("key", String::from_utf8_lossy(&self.key).into_owned())
            .some("value", Json::bytes(&self.value))
            .done()
    }
}

impl Line {
    fn json(&self) -> Json {
        let waiting = self.places.get(1..).unwrap_or_default();
        Json::object()
            .with("name", &self.name)
            .some("holder", self.places.first().map(Place::json))
            .with("waiting", Json::list(waiting, Place::json))
            .done()
    }
}

impl Show for Line {
    fn simple(&self, text: &mut Text) {
        if let Some(table) = self.table() {
            text.table(&table);
        }
    }

    fn json(&self) -> Json {
        Self::json(self)
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["PLACE", "FENCE", "LEASE", "VALUE"]);
        for (i, place) in self.places.iter().enumerate() {
            let standing = if i == 0 { "holds".to_owned() } else { format!("waits ({i})") };
            let value = if place.value.is_empty() { "-".to_owned() } else { quote::readable(&place.value) };
            table.row([standing, place.fence.to_string(), human::lease(place.lease), value]);
        }
        Some(table)
    }
}

impl Show for Lines {
    fn simple(&self, text: &mut Text) {
        if let Some(table) = self.table().filter(|table| !table.is_empty()) {
            text.table(&table);
        }
    }

    fn json(&self) -> Json {
        Json::list(&self.0, Line::json)
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["NAME", "FENCE", "WAITING", "LEASE", "VALUE"]);
        for line in &self.0 {
            let Some(holder) = line.places.first() else { continue };
            let value = if holder.value.is_empty() { "-".to_owned() } else { quote::readable(&holder.value) };
            let waiting = (line.places.len() - 1).to_string();
            table.row([line.name.clone(), holder.fence.to_string(), waiting, human::lease(holder.lease), value]);
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, lease: i64, created: i64) -> KeyValue {
        KeyValue { key: key.to_owned().into(), lease, create_revision: created, ..KeyValue::default() }
    }

    #[test]
    fn lines_are_found_by_their_look() {
        let keys = vec![
            kv("job/1f", 0x1f, 9),
            kv("job/2e", 0x2e, 5),
            kv("job/zz", 0x2e, 3),
            kv("job/1f", 0, 1),
            kv("deep/er/1f", 0x1f, 12),
            kv("/1f", 0x1f, 2),
        ];
        let lines = lines(keys);
        let seen: Vec<(&str, Vec<i64>)> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.places.iter().map(|place| place.fence).collect()))
            .collect();
        assert_eq!(seen, [("deep/er", vec![12]), ("job", vec![5, 9])]);
    }
}
