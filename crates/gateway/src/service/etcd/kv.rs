//! `etcdserverpb.KV`.

use super::range_stream::{self, RangeStream};
use crate::auth::{Allowed, Reading, Reads};
use crate::convert::etcd::{self as convert, ConvertedTxn, Limits, Load, TxnRoute};
use crate::gateway::Gateway;
use crate::outflow::{Beside, Measured};
use crate::service::quota::Quota;
use crate::service::{admit, requires_leader, response, unexpected};
use crate::status::{not_proposed, not_read, read_failed, text, written};
use conclave_api::etcdserverpb::kv_server::Kv;
use conclave_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use conclave_node::reader::{Found, Query};
use conclave_state::{Command, Response as Answer, Txn, TxnResult};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub struct KvService {
    gateway: Arc<Gateway>,
    limits: Limits,
    quota: Quota,
}

impl KvService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> KvService {
        let limits = Limits {
            max_request_bytes: gateway.node.config.max_request_bytes,
            max_txn_ops: gateway.node.config.max_txn_ops,
        };
        let quota = Quota::new(gateway.clone());
        KvService { gateway, limits, quota }
    }

    async fn write_txn(&self, txn: Txn, only_led: bool) -> Result<(TxnResult, i64), Status> {
        let outcome = self.gateway.propose_led(only_led, Command::Txn(txn)).await.map_err(not_proposed)?.outcome;
        let revision = outcome.revision;
        match response(outcome)? {
            Answer::Txn(result) => Ok((result, revision)),
            other => Err(unexpected(&other)),
        }
    }

    /// Answers a read: here if it is short, beside the event loop otherwise, and in a place if the
    /// answer may be large.
    async fn look<Q: Query + Reads, U: Message + 'static>(
        &self,
        query: Q,
        serializable: bool,
        convert: impl FnOnce(ResponseHeader, Q::Answer) -> U + Send + 'static,
    ) -> Result<Response<U>, Status> {
        let long = match self.gateway.node.reader.read(Allowed::new(query), serializable).await.map_err(read_failed)? {
            Found::Short(answer, revision) => return Ok(Response::new(convert(self.gateway.header(revision), answer))),
            Found::Long(long) => long,
        };
        let gateway = self.gateway.clone();
        let make = move |answer, revision| Measured::new(convert(gateway.header(revision), answer));
        // Held until the response has its share.
        let _place = if long.is_small() { None } else { Some(self.gateway.outflow.place().await) };
        self.gateway.outflow.admit(long.read(make).await.map_err(read_failed)?).await
    }

    /// Converts the answer to a write: here if it is small, beside the event loop if it is large.
    async fn respond<T: Load + Send + 'static, U: Message + 'static>(
        &self,
        answer: T,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<Response<U>, Status> {
        if !answer.is_large() {
            return Ok(Response::new(convert(answer)));
        }
        let answer = Beside::new(answer);
        // A refusal would say that the write had no effect.
        self.gateway.outflow.make(move || convert(answer.take())).await.map_err(|status| written(&status))
    }
}

/// Between two looks at how far the sweep has come.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until a node has removed what is compacted. Without a limit, as in etcd: the compaction is
/// decided, so that it takes long is no error.
async fn swept(done: impl Fn() -> bool, stopping: &CancellationToken) -> Result<(), Status> {
    let mut pause = FIRST_PAUSE;
    while !done() {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stopping.cancelled() => return Err(text::STOPPED.into()),
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        self.gateway.metrics.range_total.inc();
        let request = admit(&self.gateway, request)?;
        let serializable = request.serializable;
        if !serializable && self.gateway.node.leadership.is_learner() {
            return Err(text::NOT_FOR_LEARNERS.into());
        }
        self.look(convert::range(request)?, serializable, convert::range_response).await
    }

    type RangeStreamStream = RangeStream;

    async fn range_stream(&self, request: Request<RangeRequest>) -> Result<Response<RangeStream>, Status> {
        self.gateway.metrics.range_total.inc();
        let request = admit(&self.gateway, request)?;
        let serializable = request.serializable;
        let query = range_stream::plain(convert::range(request)?)?;
        if !serializable {
            self.gateway.node.reader.barrier().await.map_err(not_read)?;
        }
        let reading = Reading::new(&self.gateway.access);
        reading.check(&query.range)?;
        Ok(Response::new(range_stream::open(self.gateway.clone(), query, self.limits.max_request_bytes, reading)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.gateway.metrics.put_total.inc();
        let only_led = requires_leader(request.metadata());
        let put = convert::put(admit(&self.gateway, request)?, self.limits)?;
        self.quota.admit(put.key.len() + put.value.len()).await?;
        let outcome = self.gateway.propose_led(only_led, Command::Put(put)).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            Answer::Put { prev } => Ok(Response::new(convert::put_response(header, prev))),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.gateway.metrics.delete_total.inc();
        let only_led = requires_leader(request.metadata());
        let delete = convert::delete_range(admit(&self.gateway, request)?, self.limits)?;
        let outcome =
            self.gateway.propose_led(only_led, Command::DeleteRange(delete)).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            Answer::DeleteRange(deleted) => {
                self.respond(deleted, move |deleted| convert::deleted(header, deleted)).await
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.gateway.metrics.txn_total.inc();
        let only_led = requires_leader(request.metadata());
        let request = admit(&self.gateway, request)?;
        let size = request.encoded_len();
        let ConvertedTxn { txn, route, puts } = convert::txn(request, self.limits)?;
        match route {
            TxnRoute::Read { serializable } => self.look(txn, serializable, convert::txn_response).await,
            TxnRoute::Write => {
                if puts {
                    self.quota.admit(size).await?;
                }
                let (result, revision) = self.write_txn(txn, only_led).await?;
                let header = self.gateway.header(revision);
                self.respond(result, move |result| convert::txn_response(header, result)).await
            }
        }
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let only_led = requires_leader(request.metadata());
        let request = admit(&self.gateway, request)?;
        let command = Command::Compact { revision: request.revision };
        let outcome = self.gateway.propose_led(only_led, command).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            Answer::Compact if request.physical => {
                swept(|| self.gateway.node.state.swept_to(request.revision), &self.gateway.node.stopping).await?;
            }
            Answer::Compact => {}
            other => return Err(unexpected(&other)),
        }
        Ok(Response::new(CompactionResponse { header: Some(header) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_sweep_may_take_as_long_as_it_takes() {
        let stopping = CancellationToken::new();
        let end = Instant::now() + Duration::from_secs(3_600);
        swept(|| Instant::now() >= end, &stopping).await.expect("it is decided");
        assert!(Instant::now() < end + LONGEST_PAUSE * 2);
        stopping.cancel();
        assert_eq!(swept(|| false, &stopping).await.expect_err("nobody sweeps").message(), text::STOPPED.message);
    }
}
