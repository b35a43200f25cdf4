//! Pages of a range, for readers that process it piece by piece without walking the rest each time.

use super::range::walk_revision;
use crate::bounds::{Bounds, Budget};
use crate::keys;
use crate::scan;
use crate::view::{Fault, View};
use crate::{KeyValue, RangeQuery, Rejection};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A page, and the first key of the next page if there is one.
pub type Page = (Vec<KeyValue>, Option<Bytes>);

/// The first page of a range and the next key. A page has at least one key and at most `limit`, and
/// ends once it holds `max_bytes`. It ignores orders, filters and the limit of the query, and does
/// not count the rest.
pub fn page<V: View>(
    view: &V,
    query: &RangeQuery,
    bounds: Bounds,
    limit: usize,
    max_bytes: usize,
) -> Result<Result<Page, Rejection>, Fault> {
    let revision = match walk_revision(query, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let (mut kvs, mut next, mut size) = (Vec::new(), None, 0);
    if let Some((from, below)) = keys::range_rows(&query.range) {
        scan::alive(view, (&from, &below), revision, &Budget::unlimited(), |found| {
            if !kvs.is_empty() && (kvs.len() >= limit || size >= max_bytes) {
                next = Some(keys::user_key(found.prefix)?);
                return Ok(ControlFlow::Break(()));
            }
            let kv = found.record.to_kv(found.prefix, found.mod_revision, !query.keys_only)?;
            size += kv.key.len() + kv.value.len();
            kvs.push(kv);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(Ok((kvs, next)))
}
