//! `etcdserverpb.KV`.

use super::quota::Quota;
use super::range_stream::{self, RangeStream};
use super::{admit, read_txn, response, unexpected};
use crate::convert::{self, ConvertedTxn, Limits, TxnRoute};
use crate::node::Node;
use crate::status::text;
use conclave_api::etcdserverpb::kv_server::Kv;
use conclave_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use conclave_state::{Command, Response as Answer, Txn, TxnResult};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Between two looks at how far the sweep has come.
const SWEPT_PAUSE: Duration = Duration::from_millis(5);

pub struct KvService {
    node: Arc<Node>,
    limits: Limits,
    quota: Quota,
}

impl KvService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> KvService {
        let limits = Limits { max_request_bytes: node.config.max_request_bytes, max_txn_ops: node.config.max_txn_ops };
        let quota = Quota::new(node.clone());
        KvService { node, limits, quota }
    }

    async fn write_txn(&self, txn: Txn) -> Result<(i64, TxnResult), Status> {
        let outcome = self.node.proposer.propose(Command::Txn(txn)).await?.outcome;
        let revision = outcome.revision;
        match response(outcome)? {
            Answer::Txn(result) => Ok((revision, result)),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until this node has removed what is compacted.
    async fn swept(&self) -> Result<(), Status> {
        let end = Instant::now() + self.node.config.request_timeout();
        while !self.node.state.is_swept() {
            if Instant::now() >= end {
                return Err(text::TIMED_OUT.into());
            }
            tokio::time::sleep(SWEPT_PAUSE).await;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        self.node.metrics.range_total.inc();
        let request = admit(&self.node, request)?;
        let serializable = request.serializable;
        let (result, revision) = self.node.reader.range(convert::range(request)?, serializable).await?;
        Ok(Response::new(convert::range_response(self.node.header(revision), result)))
    }

    type RangeStreamStream = RangeStream;

    async fn range_stream(&self, request: Request<RangeRequest>) -> Result<Response<RangeStream>, Status> {
        self.node.metrics.range_total.inc();
        let request = admit(&self.node, request)?;
        let serializable = request.serializable;
        let query = range_stream::plain(convert::range(request)?)?;
        if !serializable {
            self.node.reader.barrier().await?;
        }
        Ok(Response::new(range_stream::open(self.node.clone(), query, self.limits.max_request_bytes)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.node.metrics.put_total.inc();
        let put = convert::put(admit(&self.node, request)?, self.limits)?;
        self.quota.admit(put.key.len() + put.value.len()).await?;
        let outcome = self.node.proposer.propose(Command::Put(put)).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::Put { prev } => Ok(Response::new(convert::put_response(header, prev))),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.node.metrics.delete_total.inc();
        let delete = convert::delete_range(admit(&self.node, request)?, self.limits)?;
        let outcome = self.node.proposer.propose(Command::DeleteRange(delete)).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::DeleteRange(deleted) => Ok(Response::new(convert::deleted(header, deleted))),
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.node.metrics.txn_total.inc();
        let request = admit(&self.node, request)?;
        let size = request.encoded_len();
        let ConvertedTxn { txn, route, puts } = convert::txn(request, self.limits)?;
        let (revision, result) = match route {
            TxnRoute::Read { serializable } => read_txn::read(&self.node, txn, serializable).await?,
            TxnRoute::Write => {
                if puts {
                    self.quota.admit(size).await?;
                }
                self.write_txn(txn).await?
            }
        };
        Ok(Response::new(convert::txn_response(self.node.header(revision), result)))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let request = admit(&self.node, request)?;
        let command = Command::Compact { revision: request.revision };
        let outcome = self.node.proposer.propose(command).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::Compact if request.physical => self.swept().await?,
            Answer::Compact => {}
            other => return Err(unexpected(&other)),
        }
        Ok(Response::new(CompactionResponse { header: Some(header) }))
    }
}
