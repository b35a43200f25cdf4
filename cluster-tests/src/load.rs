//! Work: clients that put, get and compare-and-put on a few keys, one call at a time each, and
//! record what they are told.
//!
//! Client `i` talks to endpoint `i mod n` only and never retries, so that an outcome belongs to one
//! member and one attempt.

use crate::{
    client::{bytes, connect, get_request, put_request, text},
    history::{History, Recorder},
};
use anyhow::Result;
use conclave_client::{
    Error,
    api::{
        etcdserverpb::{
            Compare, RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse, compare, request_op,
            response_op,
        },
        mvccpb::KeyValue,
    },
    wire::Client,
};
use conclave_trials::history::{Answer, Failure, Kv, KvAnswer, KvCall, Outcome};
use rand::RngExt;
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

/// What the work looks like.
#[derive(Clone, Debug)]
pub struct Load {
    pub clients: usize,
    pub keys: usize,
    /// All keys begin with it.
    pub prefix: String,
    /// Rest between two calls of one client.
    pub pause: Duration,
    /// How long a client waits for an answer before it takes the outcome for unknown.
    pub patience: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 8,
            keys: 16,
            prefix: "load/".into(),
            pause: Duration::from_millis(2),
            patience: Duration::from_secs(2),
        }
    }
}

/// Work under way.
#[derive(Debug)]
pub struct Running {
    recorder: Recorder,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients.
    ///
    /// # Errors
    /// An endpoint is no URL.
    pub fn start(&self, endpoints: &[String]) -> Result<Running> {
        let recorder = Recorder::default();
        let (stop, stopped) = watch::channel(false);
        let mut clients = Vec::new();
        for number in 0..self.clients {
            let client = connect(&[endpoints[number % endpoints.len()].clone()])?.with_timeout(self.patience);
            let worker = Worker { number, client, load: self.clone(), recorder: recorder.clone(), written: 0 };
            clients.push(tokio::spawn(worker.run(stopped.clone())));
        }
        Ok(Running { recorder, stop, clients })
    }
}

impl Running {
    /// The clock of the history.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Lets every client finish its call and returns the history.
    ///
    /// # Errors
    /// A client panicked.
    pub async fn stop(self) -> Result<History> {
        self.stop.send_replace(true);
        for client in self.clients {
            client.await?;
        }
        Ok(self.recorder.history())
    }
}

struct Worker {
    number: usize,
    client: Client,
    load: Load,
    recorder: Recorder,
    /// Values written so far: makes the next one unique.
    written: u64,
}

impl Worker {
    async fn run(mut self, stopped: watch::Receiver<bool>) {
        // The revision at which this client last saw a key: what its next comparison expects.
        let mut last = (String::new(), 0);
        while !*stopped.borrow() {
            let call = self.choose(&last);
            let invoked = self.recorder.now();
            let outcome = self.perform(&call).await;
            let failed = !matches!(outcome, Outcome::Ok(_));
            last = match &outcome {
                Outcome::Ok(Answer::Kv(KvAnswer::Written { revision, .. })) => (key_of(&call).to_owned(), *revision),
                Outcome::Ok(Answer::Kv(KvAnswer::Read { kvs, .. })) => {
                    (key_of(&call).to_owned(), kvs.first().map_or(0, |kv| kv.modified))
                }
                _ => last,
            };
            self.recorder.record(self.number, call, outcome, invoked);
            // A node that is down answers at once: do not spin on it.
            let rest = if failed { Duration::from_millis(30) } else { self.load.pause };
            tokio::time::sleep(rest).await;
        }
    }

    fn choose(&mut self, last: &(String, i64)) -> KvCall {
        let mut random = rand::rng();
        let key = format!("{}{}", self.load.prefix, random.random_range(0..self.load.keys));
        self.written += 1;
        let value = format!("{}-{}", self.number, self.written);
        match random.random_range(0..10) {
            0..=4 => KvCall::Put { key, value, lease: 0, prev: false },
            5 | 6 if !last.0.is_empty() => KvCall::Cas { key: last.0.clone(), expected: last.1, value, lease: 0 },
            _ => KvCall::Get { key, serializable: false, revision: 0 },
        }
    }

    async fn perform(&self, call: &KvCall) -> Outcome {
        let kv = self.client.kv();
        match call {
            KvCall::Put { key, value, .. } => {
                let answer = kv.put(put_request(key, value)).await;
                settle(answer, |response| Some(written(at(response.header.as_ref())?)))
            }
            KvCall::Get { key, .. } => settle(kv.range(get_request(key)).await, |response| read(&response, None)),
            KvCall::Cas { key, expected, value, .. } => settle(kv.txn(swap(key, *expected, value)).await, swapped),
            KvCall::Range { .. } | KvCall::Delete { .. } | KvCall::Txn { .. } => unreachable!("not chosen"),
        }
    }
}

fn key_of(call: &KvCall) -> &str {
    match call {
        KvCall::Put { key, .. } | KvCall::Get { key, .. } | KvCall::Cas { key, .. } => key,
        KvCall::Range { .. } | KvCall::Delete { .. } | KvCall::Txn { .. } => "",
    }
}

fn swap(key: &str, expected: i64, value: &str) -> TxnRequest {
    let unchanged = Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key: bytes(key),
        target_union: Some(compare::TargetUnion::ModRevision(expected)),
        ..Default::default()
    };
    TxnRequest {
        compare: vec![unchanged],
        success: vec![RequestOp { request: Some(request_op::Request::RequestPut(put_request(key, value))) }],
        failure: vec![RequestOp { request: Some(request_op::Request::RequestRange(get_request(key))) }],
    }
}

fn written(revision: i64) -> KvAnswer {
    KvAnswer::Written { revision, prev: None }
}

fn swapped(response: TxnResponse) -> Option<KvAnswer> {
    let revision = at(response.header.as_ref())?;
    if response.succeeded {
        return Some(written(revision));
    }
    match response.responses.into_iter().next()?.response? {
        response_op::Response::ResponseRange(range) => read(&range, Some(revision)),
        _ => None,
    }
}

fn read(response: &RangeResponse, revision: Option<i64>) -> Option<KvAnswer> {
    let revision = revision.or_else(|| at(response.header.as_ref()))?;
    Some(KvAnswer::Read { revision, kvs: response.kvs.iter().map(seen).collect() })
}

/// A key with all that the server says about it.
pub(crate) fn seen(kv: &KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn at(header: Option<&ResponseHeader>) -> Option<i64> {
    header.map(|header| header.revision)
}

/// An answer that lacks what it must have is recorded as an impossible read, which no checker
/// accepts.
fn settle<A>(result: Result<A, Error>, told: impl FnOnce(A) -> Option<KvAnswer>) -> Outcome {
    let failure = |error: &Error| Failure { code: String::new(), error: error.to_string() };
    match result {
        Ok(answer) => {
            let impossible = || KvAnswer::Read { revision: -1, kvs: vec![Kv::default()] };
            Outcome::Ok(Answer::Kv(told(answer).unwrap_or_else(impossible)))
        }
        Err(error) if error.outcome_unknown() => Outcome::Unknown(failure(&error)),
        Err(error) => Outcome::Fail(failure(&error)),
    }
}
