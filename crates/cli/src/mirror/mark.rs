//! The mirror's key at the destination, which every one of its transactions compares and changes.
//!
//! 1. A transaction of which nobody knows whether it happened can be sent again: it happens once,
//!    because the first one that happens changes what both compare. A late one that was on its way
//!    all the time finds another step, and does nothing.
//! 2. Two mirrors do not write in turns: the one that began later has the key, and the earlier one
//!    ends.
//! 3. The key is attached to a lease that the mirror keeps alive: it is gone a minute after the
//!    mirror.

use super::changes::Keyed;
use super::side::Side;
use bytes::Bytes;
use conclave_client::{Cmp, Compare, Delete, Error, ErrorKind, Get, KeyRange, Put, Txn};
use std::time::Duration;

/// How long the key stays behind a mirror that was killed.
pub(super) const TTL: Duration = Duration::from_secs(60);

/// Why a step was not taken.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// It is more than one transaction may have.
    TooLarge(Error),
    /// A lease that it names is not there.
    Lease,
    /// The mark is gone: its lease ran out.
    Lost,
    /// Another mirror has the mark.
    TakenOver(String),
    Refused(Error),
}

/// The mark, as it was last written.
#[derive(Debug)]
pub(super) struct Mark {
    key: Bytes,
    /// A number of this run.
    run: u64,
    step: u64,
    value: Bytes,
    pub(super) lease: i64,
}

impl Mark {
    pub(super) fn new(key: Bytes) -> Self {
        // A positive number: leases with others are hard to type.
        let lease = i64::try_from(rand::random::<u64>() >> 2).unwrap_or(1).max(1);
        Self { key, run: rand::random(), step: 0, value: Bytes::new(), lease }
    }

    fn text(&self, step: u64, revision: i64) -> Bytes {
        format!("conclave mirror, run {:016x}, step {step}, revision {revision} of the source", self.run).into()
    }

    /// Takes the mark; `over`: also from another mirror. Its lease must be there.
    pub(super) async fn take(&mut self, destination: &Side, over: bool) -> Result<(), Unwritten> {
        self.step += 1;
        let value = self.text(self.step, 0);
        loop {
            let looking = destination.patiently(async |client| client.range(self.look()).await).await;
            let there = looking.map_err(unwritten)?.kvs.into_iter().next().map(|kv| kv.value);
            let as_it_is = match there {
                // An attempt of before whose answer was lost.
                Some(there) if there == value => break,
                Some(there) if !over => return Err(Unwritten::TakenOver(readable(&there))),
                Some(there) => Compare::value(self.key.clone(), Cmp::Equal, there),
                None => Compare::absent(self.key.clone()),
            };
            let put = Put::new(self.key.clone(), value.clone()).lease(self.lease);
            let txn = Txn::new().when([as_it_is]).then([put]);
            let taken = destination.patiently(async |client| client.txn(txn.clone()).await).await;
            if taken.map_err(unwritten)?.succeeded {
                break;
            }
        }
        self.value = value;
        Ok(())
    }

    /// Writes changes in one transaction, exactly once.
    pub(super) async fn write(
        &mut self,
        destination: &Side,
        changes: &[Keyed],
        revision: i64,
        lease: impl Fn(i64) -> i64,
    ) -> Result<(), Unwritten> {
        let next = self.text(self.step + 1, revision);
        let ops = changes.iter().map(|(key, change)| change.op(key.clone(), &lease));
        let mark = Put::new(self.key.clone(), next.clone()).lease(self.lease);
        let txn = Txn::new()
            .when([Compare::value(self.key.clone(), Cmp::Equal, self.value.clone())])
            .then(ops.chain([mark.into()]))
            .or_else([self.look()]);
        let answer = destination.patiently(async |client| client.txn(txn.clone()).await).await.map_err(unwritten)?;
        if !answer.succeeded {
            let there = answer.found(0).and_then(|found| found.kvs.first()).map(|kv| kv.value.clone());
            match there {
                None => return Err(Unwritten::Lost),
                // An earlier attempt had happened.
                Some(there) if there == next => {}
                Some(there) => return Err(Unwritten::TakenOver(readable(&there))),
            }
        }
        self.step += 1;
        self.value = next;
        Ok(())
    }

    /// Takes the mark away.
    pub(super) async fn remove(&self, destination: &Side) -> Result<(), Error> {
        let mine = Compare::value(self.key.clone(), Cmp::Equal, self.value.clone());
        let txn = Txn::new().when([mine]).then([Delete::new(self.key.clone())]);
        destination.client.txn(txn).await?;
        destination.client.revoke(self.lease).await
    }

    fn look(&self) -> Get {
        Get::new(KeyRange::key(self.key.clone()))
    }
}

fn readable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).escape_debug().to_string()
}

fn unwritten(error: Error) -> Unwritten {
    let large = ["too many operations", "request is too large"];
    match error.kind() {
        ErrorKind::LeaseNotFound => Unwritten::Lease,
        _ if large.iter().any(|text| error.message().contains(text)) => Unwritten::TooLarge(error),
        _ => Unwritten::Refused(error),
    }
}
