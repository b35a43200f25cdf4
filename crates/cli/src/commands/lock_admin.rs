//! `lock ls`, `lock show`, `lock release`: the locks that there are.
//!
//! A lock of etcd's wire is a line of keys `NAME/<lease>`, the oldest holds it. Elections of etcd's wire look the same, with a value. They are
//! found by that look alone, so a key that merely looks so is listed too. Conclave's own locks (conclave.v1) are asked for by name.

use super::{
    Context,
    names::{self, CallerArgs, ListArgs, Page},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{Json, Show, Table, Text, human, quote},
    parse::Keys,
};
use clap::Subcommand;
use conclave_client::api::{
    conclave::v1::{GetLockRequest, ListLocksResponse, LockRequestState, ReleaseRequest, lock_part::Mode},
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
    /// Locks that are held or waited for: etcd's (with its elections, which look alike) and Conclave's own
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
    /// Empty for Conclave's own locks.
    key: Vec<u8>,
    holds: bool,
    /// How it is asked for.
    mode: String,
    lease: i64,
    fence: i64,
    value: Vec<u8>,
}

/// A lock and its line, the holder first.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    namespace: String,
    places: Vec<Place>,
}

/// What `lock show` shows: one name may stand for several locks.
struct Shown(Vec<Line>);

struct Lines(Vec<Line>);

impl LockAdmin {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Ls { prefix } => {
                let keys = scan(context, Keys::prefix(prefix.clone().into_bytes())).await?;
                let mut all = lines(keys);
                all.extend(own_locks(context, &prefix).await?);
                context.out.show(&Lines(all));
                Ok(())
            }
            Self::Show { name } => {
                let mut found = own_locks(context, &name).await?;
                found.retain(|line| line.name == name);
                found.insert(0, line(context, &name).await?);
                found.retain(|line| !line.places.is_empty());
                if found.is_empty() {
                    return Err(Failure::new(Exit::Busy, format!("nobody holds the lock {name:?}")).hint(
                        "`conclavectl lock ls` shows those that are held; for a lock named `show` write: lock -- show",
                    ));
                }
                context.out.show(&Shown(found));
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
    let place = Place { key: kv.key.to_vec(), lease: kv.lease, fence: kv.create_revision, value: kv.value.to_vec(), holds: false, mode: "etcd".into() };
    same.then_some((name, place))
}

fn lines(keys: Vec<KeyValue>) -> Vec<Line> {
    let mut lines: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (name, place) in keys.into_iter().filter_map(place) {
        lines.entry(name).or_default().push(place);
    }
    let sorted = |(name, mut places): (String, Vec<Place>)| {
        places.sort_by_key(|place| place.fence);
        places.iter_mut().take(1).for_each(|place| place.holds = true);
        Line { name, namespace: String::new(), places }
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
    Ok(found.unwrap_or_else(|| Line { name: name.to_owned(), namespace: String::new(), places: Vec::new() }))
}

async fn release(context: &Context, name: &str, fence: i64) -> Result<()> {
    let line = line(context, name).await?;
    let gone = || {
        Failure::new(Exit::Busy, format!("nobody holds or waits for the lock {name:?} under fence {fence}"))
            .hint(format!("`conclavectl lock show {name}` shows who does; it may have been given back meanwhile"))
    };
    let Some(place) = line.places.into_iter().find(|place| place.fence == fence) else {
        return release_own(context, name, fence, gone()).await;
    };
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

/// One of Conclave's own locks: a fence is of one request alone, whatever it is for.
async fn release_own(context: &Context, name: &str, fence: i64, gone: Failure) -> Result<()> {
    let own = own_locks(context, name).await?;
    let of_name = |line: &Line| line.name == name && line.places.iter().any(|place| place.fence == fence);
    if !own.iter().any(of_name) {
        return Err(gone);
    }
    let caller = CallerArgs::default().caller();
    let request = ReleaseRequest { caller, fence, evict: true, ..ReleaseRequest::default() };
    let response = context.link.write(|channel| wire::release(channel, request.clone())).await?;
    if !response.released {
        return Err(gone);
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
            .with("mode", &self.mode)
            .some("key", String::from_utf8_lossy(&self.key).into_owned())
            .some("value", Json::bytes(&self.value))
            .done()
    }

    fn value(&self) -> String {
        if self.value.is_empty() { "-".to_owned() } else { quote::readable(&self.value) }
    }
}

impl Line {
    fn holders(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.holds)
    }

    fn waiting(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| !place.holds)
    }

    fn json(&self) -> Json {
        Json::object()
            .with("name", &self.name)
            .some("namespace", &self.namespace)
            .with("holders", Json::list(self.holders(), Place::json))
            .with("waiting", Json::list(self.waiting(), Place::json))
            .done()
    }
}

impl Show for Shown {
    fn simple(&self, text: &mut Text) {
        if let Some(table) = self.table() {
            text.table(&table);
        }
    }

    fn json(&self) -> Json {
        Json::list(&self.0, Line::json)
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["PLACE", "MODE", "FENCE", "LEASE", "OWNER OR VALUE"]);
        for line in &self.0 {
            let standing = |i: usize, place: &Place| if place.holds { "holds".into() } else { format!("waits ({})", i + 1) };
            let places = line.holders().enumerate().chain(line.waiting().enumerate());
            for (i, place) in places {
                let (mode, fence) = (place.mode.clone(), place.fence.to_string());
                table.row([standing(i, place), mode, fence, human::lease(place.lease), place.value()]);
            }
        }
        Some(table)
    }
}

impl Show for Lines {
    fn simple(&self, text: &mut Text) {
        match self.table().filter(|table| !table.is_empty()) {
            Some(table) => text.table(&table),
            None => text.line("no locks"),
        }
    }

    fn json(&self) -> Json {
        Json::list(&self.0, Line::json)
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["NAME", "MODE", "FENCE", "HOLDERS", "WAITING", "LEASE", "OWNER OR VALUE"]);
        for line in &self.0 {
            let Some(first) = line.places.first() else { continue };
            table.row([
                if line.namespace.is_empty() { line.name.clone() } else { format!("{} (in {})", line.name, line.namespace) },
                first.mode.clone(),
                first.fence.to_string(),
                line.holders().count().to_string(),
                line.waiting().count().to_string(),
                human::lease(first.lease),
                first.value(),
            ]);
        }
        Some(table)
    }
}

/// Conclave's own locks whose names begin so; none on a server that does not have them.
async fn own_locks(context: &Context, prefix: &str) -> Result<Vec<Line>> {
    const PAGE: u32 = 1000;
    let found = match names::all_names(context, &ListArgs::default(), wire::list_locks).await {
        Ok((_, found)) => found,
        Err(failure) if failure.exit == Exit::Unsupported => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let mut lines = Vec::new();
    for name in found.into_iter().filter(|name| name.name.starts_with(prefix)) {
        let request = GetLockRequest { lock: Some(name.clone()), limit: PAGE, ..GetLockRequest::default() };
        let lock = context.link.read(|channel| wire::get_lock(channel, request.clone())).await?;
        let place = |holds| move |request: &LockRequestState| own_place(request, holds);
        let places = lock.holders.iter().map(place(true)).chain(lock.waiting.iter().map(place(false)));
        let namespace = if name.namespace == "default" { String::new() } else { name.namespace.clone() };
        lines.push(Line { places: places.collect(), name: name.name, namespace });
    }
    Ok(lines)
}

fn own_place(request: &LockRequestState, holds: bool) -> Place {
    let mode = match request.parts.first().and_then(|part| part.mode) {
        Some(Mode::Shared(_)) => "shared".to_owned(),
        Some(Mode::Permits(permits)) => format!("{} of {} permits", permits.weight, permits.capacity),
        _ => "exclusive".to_owned(),
    };
    let value = names::owner(request).into_bytes();
    Place { key: Vec::new(), lease: request.session, fence: request.fence, value, holds, mode }
}

impl From<ListLocksResponse> for Page {
    fn from(response: ListLocksResponse) -> Self {
        Self { header: response.header, names: response.names, more: response.more }
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
