//! Names that the cluster knows, for completion at a prompt: what this member has, one page.

use super::{Context, lock_lines, wire};
use crate::{failure::Result, output::human, parse::Keys};
use conclave_client::api::{
    conclave::v1::{ListRequest, Name},
    etcdserverpb::{LeaseLeasesRequest, RangeRequest, RangeResponse},
};

/// At most so many keys are read.
const KEYS: i64 = 200;

/// What an argument names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Election,
    Claim,
    Lock,
    Session,
    Key,
}

/// Those that begin with a word.
pub(crate) async fn known(context: &Context, kind: Kind, word: &str) -> Result<Vec<String>> {
    let link = &context.link;
    let list = || ListRequest { serializable: true, ..ListRequest::default() };
    let mut found = match kind {
        Kind::Election => plain(link.read(|channel| wire::list_elections(channel, list())).await?.names),
        Kind::Claim => plain(link.read(|channel| wire::list_claims(channel, list())).await?.names),
        Kind::Lock => {
            // A stock etcd has none of Conclave's own.
            let own = link.read(|channel| wire::list_locks(channel, list())).await;
            let mut found = own.map(|answer| plain(answer.names)).unwrap_or_default();
            found.extend(lock_lines::lines(keys(context, word).await?.kvs).into_iter().map(|line| line.name));
            found
        }
        Kind::Session => {
            let leases = link.read(|channel| wire::leases(channel, LeaseLeasesRequest {})).await?.leases;
            leases.iter().map(|lease| human::lease(lease.id)).collect()
        }
        Kind::Key => {
            let keys = keys(context, word).await?.kvs.into_iter();
            // What is no text, or would end the line at a prompt, cannot be offered.
            keys.filter_map(|kv| String::from_utf8(kv.key.to_vec()).ok()).collect()
        }
    };
    found.retain(|name| name.starts_with(word) && !name.contains(char::is_control));
    found.sort();
    found.dedup();
    Ok(found)
}

/// Names of the default namespace: others need an option that says which.
fn plain(names: Vec<Name>) -> Vec<String> {
    let default = |name: &Name| name.namespace.is_empty() || name.namespace == "default";
    names.into_iter().filter(default).map(|name| name.name).collect()
}

/// The first keys that begin with a word.
async fn keys(context: &Context, word: &str) -> Result<RangeResponse> {
    let Keys { key, end } = Keys::prefix(word.as_bytes().to_vec());
    let (key, range_end) = (key.into(), end.into());
    let request =
        RangeRequest { key, range_end, limit: KEYS, keys_only: true, serializable: true, ..RangeRequest::default() };
    context.link.read(|channel| wire::range(channel, request.clone())).await
}
