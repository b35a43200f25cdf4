//! `put`.

use super::Context;
use crate::{
    failure::{Failure, Result},
    output::etcd::Put,
    parse,
};
use clap::Args;
use conclave_client::api::etcdserverpb::PutRequest;
use tokio::io::AsyncReadExt as _;

/// Put a value under a key
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl put greeting hello
  conclavectl put config < config.yaml             the value from standard input
  conclavectl put service/a 10.0.0.1 --lease 694d77aa9e38260f
  conclavectl put note -- --text--                 a value that begins with a dash")]
pub(crate) struct PutArgs {
    /// The key
    key: String,
    /// The value; standard input if it is left out
    value: Option<String>,
    /// The lease (in hexadecimal) that the key goes with
    #[arg(long, default_value = "0", value_parser = parse::lease, value_name = "LEASE", hide_default_value = true)]
    lease: i64,
    /// Also print what was there before
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value that the key has
    #[arg(long)]
    ignore_value: bool,
    /// Keep the lease that the key has
    #[arg(long)]
    ignore_lease: bool,
}

impl PutArgs {
    /// The request; also for `txn`, where `input` is not read.
    pub(crate) fn request(self) -> Result<PutRequest> {
        if self.ignore_value && self.value.is_some() {
            return Err(Failure::usage("put command needs only 1 argument when 'ignore-value' is set"));
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(Failure::usage("--lease and --ignore-lease contradict each other"));
        }
        Ok(PutRequest {
            key: self.key.into(),
            value: self.value.unwrap_or_default().into(),
            lease: self.lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }

    /// Whether the value is still to come, from standard input.
    fn reads_input(&self) -> bool {
        self.value.is_none() && !self.ignore_value
    }

    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let reads_input = self.reads_input();
        let mut request = self.request()?;
        if reads_input {
            let mut value = Vec::new();
            tokio::io::stdin().read_to_end(&mut value).await?;
            if value.is_empty() {
                let needs = "put command needs 1 argument and input from stdin or 2 arguments";
                return Err(Failure::usage(needs).hint("for an empty value write: conclavectl put KEY ''"));
            }
            request.value = value.into();
        }
        let response = context.link.write(|channel| super::wire::put(channel, request.clone())).await?;
        context.out.show(&Put(&response))?;
        Ok(())
    }
}
