//! Range, Put and DeleteRange.

use super::{Limits, key_range};
use crate::status::Invalid;
use conclave_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use conclave_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use conclave_state::{DeleteRange, Order, Put, RangeQuery, SortBy};
use prost::Message;

/// The consistency level (`serializable`) stays behind: it is the reader's business.
pub fn range(request: RangeRequest) -> Result<RangeQuery, Invalid> {
    let (order, sort_by) = sorting(request.sort_order, request.sort_target)?;
    Ok(RangeQuery {
        range: key_range(request.key, request.range_end)?,
        // A negative limit limits nothing.
        limit: request.limit.max(0),
        revision: request.revision,
        order,
        sort_by,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

/// In normal form: by key, ascending is the order there is anyway; by anything else, no order means
/// ascending.
fn sorting(order: i32, target: i32) -> Result<(Order, SortBy), Invalid> {
    let sort_by = match SortTarget::try_from(target).map_err(|_| Invalid::SortOption)? {
        SortTarget::Key => SortBy::Key,
        SortTarget::Version => SortBy::Version,
        SortTarget::Create => SortBy::CreateRevision,
        SortTarget::Mod => SortBy::ModRevision,
        SortTarget::Value => SortBy::Value,
    };
    let order = match SortOrder::try_from(order).map_err(|_| Invalid::SortOption)? {
        SortOrder::Descend => Order::Descend,
        SortOrder::None | SortOrder::Ascend if sort_by == SortBy::Key => Order::None,
        SortOrder::None | SortOrder::Ascend => Order::Ascend,
    };
    Ok((order, sort_by))
}

pub fn put(request: PutRequest, limits: Limits) -> Result<Put, Invalid> {
    limits.admit(request.encoded_len())?;
    put_op(request)
}

pub(super) fn put_op(request: PutRequest) -> Result<Put, Invalid> {
    if request.key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Invalid::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Invalid::LeaseProvided);
    }
    Ok(Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

pub fn delete_range(request: DeleteRangeRequest, limits: Limits) -> Result<DeleteRange, Invalid> {
    limits.admit(request.encoded_len())?;
    delete_op(request)
}

pub(super) fn delete_op(request: DeleteRangeRequest) -> Result<DeleteRange, Invalid> {
    Ok(DeleteRange { range: key_range(request.key, request.range_end)?, prev_kv: request.prev_kv })
}
