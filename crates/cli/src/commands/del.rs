//! `del`.

use super::Context;
use crate::{
    failure::{Failure, Result},
    output::etcd::Deleted,
    parse::Keys,
};
use clap::Args;
use conclave_client::api::etcdserverpb::DeleteRangeRequest;

/// Delete a key, or a range of keys; prints how many
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl del greeting
  conclavectl del job/ --prefix
  conclavectl del a c --prev-kv        keys from a up to, not including, c; print what they held")]
pub(crate) struct DelArgs {
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
    /// Also print what was there
    #[arg(long)]
    prev_kv: bool,
}

impl DelArgs {
    /// The request; also for `txn`.
    pub(crate) fn request(&self) -> Result<DeleteRangeRequest> {
        let keys = Keys::new(&self.key, self.range_end.as_deref(), self.prefix, self.from_key);
        let Keys { key, end } = keys.map_err(Failure::usage)?;
        Ok(DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: self.prev_kv })
    }

    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let request = self.request()?;
        let response = context.link.write(|channel| super::wire::delete(channel, request.clone())).await?;
        context.out.show(&Deleted(&response))?;
        Ok(())
    }
}
