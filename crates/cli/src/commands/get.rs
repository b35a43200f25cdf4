//! `get`.

use super::Context;
use crate::{
    failure::{Failure, Result},
    output::{Format, etcd::Got},
    parse::Keys,
};
use clap::{Args, ValueEnum};
use conclave_client::api::etcdserverpb::{
    RangeRequest,
    range_request::{SortOrder, SortTarget},
};

/// Get a key, or a range of keys
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl get greeting
  conclavectl get job/ --prefix --keys-only
  conclavectl get a c                          keys from a up to, not including, c
  conclavectl get greeting --rev 42            as it was at revision 42
  conclavectl get greeting -w json             with its revisions; keys and values in base64

A key that does not exist prints nothing; that is no error.")]
pub(crate) struct GetArgs {
    /// The key, or where the range begins
    key: String,
    /// Where the range ends (not included)
    range_end: Option<String>,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
    /// At most so many; 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    limit: i64,
    /// As the store was at this revision; 0 is now
    #[arg(long, default_value_t = 0, value_name = "REVISION", allow_negative_numbers = true)]
    rev: i64,
    /// Sort in this order
    #[arg(long, ignore_case = true, value_name = "ORDER")]
    order: Option<Order>,
    /// Sort by this
    #[arg(long, ignore_case = true, value_name = "WHAT")]
    sort_by: Option<SortBy>,
    /// l: what all members agree on (linearizable); s: what this member has, possibly old
    /// (serializable)
    #[arg(long, default_value = "l", value_name = "l|s")]
    consistency: Consistency,
    /// Keys without values
    #[arg(long)]
    keys_only: bool,
    /// Only how many there are
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
    /// Values without keys (simple format)
    #[arg(long)]
    print_value_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortBy {
    Create,
    Key,
    Modify,
    Value,
    Version,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Consistency {
    L,
    S,
}

impl GetArgs {
    /// The request; also for `txn`.
    pub(crate) fn request(&self) -> Result<RangeRequest> {
        let keys = Keys::new(&self.key, self.range_end.as_deref(), self.prefix, self.from_key);
        let Keys { key, end } = keys.map_err(Failure::usage)?;
        let sort_order = match (self.order, self.sort_by) {
            (Some(Order::Descend), _) => SortOrder::Descend,
            (Some(Order::Ascend), _) | (None, Some(_)) => SortOrder::Ascend,
            (None, None) => SortOrder::None,
        };
        let sort_target = match self.sort_by.unwrap_or(SortBy::Key) {
            SortBy::Create => SortTarget::Create,
            SortBy::Key => SortTarget::Key,
            SortBy::Modify => SortTarget::Mod,
            SortBy::Value => SortTarget::Value,
            SortBy::Version => SortTarget::Version,
        };
        Ok(RangeRequest {
            key: key.into(),
            range_end: end.into(),
            limit: self.limit,
            revision: self.rev,
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable: matches!(self.consistency, Consistency::S),
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..RangeRequest::default()
        })
    }

    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        if self.print_value_only && context.out.format != Format::Simple {
            return Err(Failure::usage("print-value-only is only for `--write-out=simple`"));
        }
        let request = self.request()?;
        let response = context.link.read(|channel| super::wire::range(channel, request.clone())).await?;
        let answer = Got {
            response: &response,
            keys_only: self.keys_only,
            value_only: self.print_value_only,
            count_only: self.count_only,
        };
        context.out.show(&answer)?;
        Ok(())
    }
}
