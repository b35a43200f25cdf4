//! `lock ls`, `lock show`, `lock release`: the locks that there are.
//!
//! etcd's locks are found by reading keys (see `lock_lines`), Conclave's own (conclave.v1) are
//! asked for by name.

use super::{
    Context,
    lock_lines::{Line, Lines, Shown, blocked, lines, own_place},
    lock_pages,
    names::{self, CallerArgs, ListArgs, Page},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{self, Json, Show, Text},
    parse::Keys,
};
use clap::Subcommand;
use conclave_client::api::{
    conclave::v1::{ListLocksResponse, LockRequestState, ReleaseRequest},
    etcdserverpb::{
        Compare, DeleteRangeRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    mvccpb::KeyValue,
};
use std::time::Duration;
use tokio::time::timeout;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LockAdmin {
    /// Locks that are held or waited for: etcd's (with its elections, which look alike) and
    /// Conclave's own
    #[command(
        visible_alias = "list",
        after_long_help = "\
Examples:
  conclavectl lock ls
  conclavectl lock ls nightly/                    only names that begin so"
    )]
    Ls {
        /// Only names that begin so
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Who holds a lock, and who waits
    #[command(after_long_help = "Example:\n  conclavectl lock show nightly")]
    Show {
        /// Which lock
        name: String,
    },
    /// Take a lock away from its holder, or remove one who waits
    #[command(after_long_help = "\
The fence says whom: `lock show` tells it. If somebody else has the lock by then, nothing
happens. The holder learns it at once; a command of `conclavectl lock` is stopped.

Example:
  conclavectl lock release nightly 4711")]
    Release {
        /// Which lock
        name: String,
        /// The fence of the holder, or of who waits
        fence: i64,
    },
}

impl LockAdmin {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Ls { prefix } => {
                let Found { header, leased, .. } = scan(context, Keys::prefix(prefix.clone().into_bytes())).await?;
                let mut all = lines(leased);
                for line in &mut all {
                    line.learn_value(|request| context.link.read(move |channel| wire::range(channel, request.clone())))
                        .await;
                }
                all.extend(own_locks(context, &prefix).await?);
                context.out.show(&Lines { header, all })?;
                Ok(())
            }
            Self::Show { name } => {
                let mut found = own_locks(context, &name).await?;
                found.retain(|line| line.name == name);
                found.insert(0, line(context, &name).await?);
                if let [Line { places, blocked_by: Some(key), .. }] = &found[..]
                    && places.is_empty()
                {
                    return Err(blocked(&name, key).about("nobody holds it"));
                }
                found.retain(|line| !line.places.is_empty());
                if found.is_empty() {
                    return Err(Failure::new(Exit::Busy, format!("nobody holds the lock {name:?}")).hint(
                        "`conclavectl lock ls` shows those that are held; for a lock named `show` write: lock -- show",
                    ));
                }
                context.out.show(&Shown(found))?;
                Ok(())
            }
            Self::Release { name, fence } => release(context, &name, fence).await,
        }
    }
}

/// What a range holds at one revision, without values.
struct Found {
    header: Option<ResponseHeader>,
    /// Keys that a lease holds: the others are no places.
    leased: Vec<KeyValue>,
    /// The key that was created first.
    oldest: Option<KeyValue>,
}

/// All keys of a range, in pages that show one revision, with the header of the first.
async fn scan(context: &Context, Keys { key, end }: Keys) -> Result<Found> {
    const PAGE: i64 = 5_000;
    // Without values, which may be large.
    let (key, range_end) = (key.into(), end.into());
    let mut request = RangeRequest { key, range_end, limit: PAGE, keys_only: true, ..RangeRequest::default() };
    let mut found = Found { header: None, leased: Vec::new(), oldest: None };
    loop {
        let page = context.link.read(|channel| wire::range(channel, request.clone())).await?;
        found.header = found.header.or(page.header);
        let goes_on = turn(&mut request, &page);
        let before = found.oldest.take();
        found.oldest = before.into_iter().chain(page.kvs.iter().cloned()).min_by_key(|kv| kv.create_revision);
        // Only what may be a place is kept: the store may be large.
        found.leased.extend(page.kvs.into_iter().filter(|kv| kv.lease != 0));
        if !goes_on {
            return Ok(found);
        }
    }
}

/// Makes a request for a page one for the next page, at the revision of the first; false if this is
/// the last one.
fn turn(request: &mut RangeRequest, page: &RangeResponse) -> bool {
    let Some(last) = page.kvs.last().filter(|_| page.more) else { return false };
    request.key = [&last.key[..], b"\0"].concat().into();
    if request.revision == 0 {
        // Later headers tell of later revisions, whatever the pages show.
        request.revision = page.header.map_or(0, |header| header.revision);
    }
    true
}

/// The line of etcd's lock of this name.
pub(super) async fn line(context: &Context, name: &str) -> Result<Line> {
    let Found { leased, oldest, .. } = scan(context, Keys::prefix(format!("{name}/").into_bytes())).await?;
    let none = || Line { name: name.to_owned(), namespace: String::new(), places: Vec::new(), blocked_by: None };
    let mut found = lines(leased).into_iter().find(|line| line.name == name).unwrap_or_else(none);
    found.stand_behind(oldest);
    found.learn_value(|request| context.link.read(move |channel| wire::range(channel, request.clone()))).await;
    Ok(found)
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
    context.out.show(&Released { name: name.to_owned(), fence })?;
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
    let response = context.link.repeat(|channel| wire::release(channel, request.clone())).await?;
    if !response.released {
        return Err(gone);
    }
    context.out.show(&Released { name: name.to_owned(), fence })?;
    Ok(())
}

/// Tells that etcd's lock of the same name is held, which this one does not exclude.
pub(super) async fn warn_of_etcds(context: &Context, name: &str) {
    // Not worth an error, nor a long wait.
    if let Ok(Ok(line)) = timeout(Duration::from_secs(1), line(context, name)).await
        && let Some(holder) = line.holders().next()
    {
        output::note(&format!(
            "etcd's lock {name:?} is held with fence {}; it is another lock, and does not exclude this one",
            holder.fence
        ));
    }
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

/// Conclave's own locks whose names begin so; none on a server that does not have them.
async fn own_locks(context: &Context, prefix: &str) -> Result<Vec<Line>> {
    let found = match names::all_names(context, &ListArgs::default(), wire::list_locks).await {
        Ok((_, found)) => found,
        Err(failure) if failure.exit == Exit::Unsupported => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let mut lines = Vec::new();
    for name in found.into_iter().filter(|name| name.name.starts_with(prefix)) {
        let lock = lock_pages::whole(context, &name).await?;
        let place = |holds| move |request: &LockRequestState| own_place(request, holds);
        let places = lock.holders.iter().map(place(true)).chain(lock.waiting.iter().map(place(false)));
        let namespace = if name.namespace == "default" { String::new() } else { name.namespace.clone() };
        lines.push(Line { places: places.collect(), name: name.name, namespace, blocked_by: None });
    }
    Ok(lines)
}

impl From<ListLocksResponse> for Page {
    fn from(response: ListLocksResponse) -> Self {
        Self { header: response.header, names: response.names, more: response.more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The store goes on while pages are read; its revision is in each header.
    #[test]
    fn all_pages_show_the_revision_of_the_first() {
        let mut request = RangeRequest { key: "a".into(), ..RangeRequest::default() };
        let page = |key: &'static str, revision, more| RangeResponse {
            header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
            kvs: vec![KeyValue { key: key.into(), ..KeyValue::default() }],
            more,
            ..RangeResponse::default()
        };
        assert!(turn(&mut request, &page("b", 7, true)));
        assert_eq!((&request.key[..], request.revision), (&b"b\0"[..], 7));
        assert!(turn(&mut request, &page("c", 9, true)));
        assert_eq!((&request.key[..], request.revision), (&b"c\0"[..], 7));
        assert!(!turn(&mut request, &page("d", 11, false)));
    }
}
