//! A place in a queue of keys, as etcd's own clients keep it: a key under a prefix, attached to a
//! lease, in order of creation.
//!
//! Elections, mutexes, read-write locks and semaphores differ only in who must go first: see
//! [`Rule`](crate::rule::Rule).
//!
//! 1. Taking a place is one transaction that puts the key if it is not there: repeating it finds
//!    the place that was taken.
//! 2. A waiting client looks only at the keys before its own, and at its own key: if that is
//!    deleted, waiting ends with an error.
//! 3. That the turn has come is read together with the own key, at one revision: nobody is told to
//!    hold what is gone.
//! 4. A request whose answer was lost may arrive after the place is given back, and take it again:
//!    then it is looked for and removed.
//! 5. A dropped future gives back the place in the background, also if it is being taken at that
//!    moment.

use crate::{
    Client, Cmp, Compare, Error, ErrorKind, EventKind, Get, Header, KeyValue, LostReason, Put, Session, Token, Txn,
    TxnAnswer, Watch,
    held::{Tenure, give_back},
    kv::Delete,
    rule::Rule,
    session::Reservation,
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::sleep};

/// How long a guard waits before it watches its own key: most locks are held for less.
const WATCH_AFTER: Duration = Duration::from_millis(200);
/// Rest between attempts that go on for as long as it takes.
const PAUSE: Duration = Duration::from_millis(200);
/// When to look again for a place that a lost request may yet take. Longer than a member keeps a
/// request.
const SWEEPS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// What waiting in line is called when it fails, and where.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) rule: Rule,
    /// The error when the place is gone.
    pub(crate) gone: ErrorKind,
}

/// A place whose turn has come. Dropping it gives it back in the background.
#[derive(Debug)]
pub(crate) struct Place {
    session: Session,
    pub(crate) key: Bytes,
    /// The revision that created the key; unknown while it is being taken.
    revision: Option<i64>,
    /// Of the answer that gave the place.
    pub(crate) header: Header,
    /// At this revision it was known to be this session's.
    seen: i64,
    reservation: Option<Reservation>,
    /// A request to take it may arrive yet, even after it is given back.
    doubt: bool,
    armed: bool,
}

/// The key of a lease's one place in a queue, as etcd's clients and servers make it.
pub(crate) fn key(name: &str, lease: i64) -> Bytes {
    // As Go prints a negative number in hex: lease ids of others may be such.
    let sign = if lease < 0 { "-" } else { "" };
    format!("{name}/{sign}{:x}", lease.unsigned_abs()).into()
}

/// A key of its own for each place, where one lease may have several.
pub(crate) fn unique_key(name: &str, lease: i64) -> Bytes {
    let of_lease = key(name, lease);
    [&of_lease[..], format!("-{:08x}", rand::random::<u32>()).as_bytes()].concat().into()
}

/// The proof that the place created at `revision` is there.
pub(crate) fn token(key: &Bytes, revision: i64) -> Token {
    Token::new(revision, vec![Compare::create_revision(key.clone(), Cmp::Equal, revision)])
}

/// Takes a place and waits for its turn.
pub(crate) async fn wait(session: &Session, line: &Line) -> Result<Place, Error> {
    let reservation = session.during(async { Ok(session.reserve(&line.key).await) }).await?;
    let (place, blocked) = enter(session, line, reservation).await?;
    if blocked {
        let gone = async {
            gone(session.client(), &place.key, place.revision(), session.lease(), place.seen + 1).await;
            Err(place_gone(line.gone))
        };
        let turn = turn(&line.rule, session.client(), &place, line.gone);
        session
            .during(async {
                tokio::select! {
                    result = turn => result,
                    result = gone => result,
                }
            })
            .await?;
    }
    Ok(place)
}

/// Takes a place if its turn is now; leaves nothing behind if not.
pub(crate) async fn attempt(session: &Session, line: &Line) -> Result<Option<Place>, Error> {
    session.check()?;
    // Another part of this process has it by the same session, or is about to.
    let Some(reservation) = session.try_reserve(&line.key) else { return Ok(None) };
    let (mut place, blocked) = enter(session, line, reservation).await?;
    if !blocked {
        return Ok(Some(place));
    }
    session.during(remove(session.client(), &place.key, place.revision(), session.lease())).await?;
    place.armed = false;
    if place.doubt {
        sweep_later(session, &place.key);
    }
    Ok(None)
}

/// Waits no longer than `patience`.
pub(crate) async fn within(session: &Session, line: &Line, patience: Duration) -> Result<Place, Error> {
    let late = || Error::new(ErrorKind::Deadline, "the turn did not come in time");
    tokio::time::timeout(patience, wait(session, line)).await.unwrap_or_else(|_| Err(late()))
}

/// Takes a place, or finds it; tells whether somebody is before it.
async fn enter(session: &Session, line: &Line, reservation: Reservation) -> Result<(Place, bool), Error> {
    // In a task of its own: if this future is dropped, the task still learns what became of the
    // request, and cleans up.
    let (tell, told) = oneshot::channel();
    let (own, line) = (session.clone(), line.clone());
    session.in_background(async move {
        let entered = own.during(take(&own, &line, reservation, &tell)).await;
        // Nobody listens any more: dropping the place gives it back.
        drop(tell.send(entered));
    });
    session.during(async { told.await.unwrap_or_else(|_| Err(Error::unsent("the runtime is going down"))) }).await
}

async fn take<T>(
    session: &Session,
    line: &Line,
    reservation: Reservation,
    caller: &oneshot::Sender<T>,
) -> Result<(Place, bool), Error> {
    let mut place = Place {
        session: session.clone(),
        key: line.key.clone(),
        revision: None,
        header: Header::default(),
        seen: 0,
        reservation: Some(reservation),
        doubt: false,
        armed: true,
    };
    let lease = session.lease();
    let put = Put::new(line.key.clone(), line.value.clone()).lease(lease);
    let txn = Txn::new()
        .when([Compare::absent(line.key.clone())])
        .then([put.into(), crate::Op::from(line.rule.view())])
        .or_else([Get::new(line.key.clone()), line.rule.view()]);
    let answer = persist(session, txn, &mut place.doubt, caller).await?;
    place.header = answer.header;
    place.seen = answer.header.revision;
    let existing = answer.found(0).and_then(|found| found.kvs.first());
    let revision = if answer.succeeded { answer.header.revision } else { existing.map_or(0, |kv| kv.create_revision) };
    place.revision = Some(revision);
    if let Some(kv) = existing {
        if kv.lease != lease {
            place.armed = false;
            return Err(Error::new(ErrorKind::Refused, "somebody else keeps a key in this session's place"));
        }
        if kv.value != line.value {
            // A place from before, with another value: as if it had been proclaimed.
            let put = Put::new(line.key.clone(), line.value.clone()).lease(lease);
            let own = Compare::create_revision(line.key.clone(), Cmp::Equal, revision);
            let update = Txn::new().when([own]).then([put]);
            let updated = persist(session, update, &mut false, caller).await?;
            if !updated.succeeded {
                return Err(place_gone(line.gone));
            }
        }
    }
    let blocked = answer.found(1).is_none_or(|found| line.rule.blockers(found, &line.key, revision).is_some());
    Ok((place, blocked))
}

/// Does a transaction that is the same if it happens twice, for as long as the caller waits.
/// `doubt`: one more of it may arrive yet.
async fn persist<T>(
    session: &Session,
    txn: Txn,
    doubt: &mut bool,
    caller: &oneshot::Sender<T>,
) -> Result<TxnAnswer, Error> {
    loop {
        let (answer, doubtful) = session.client().txn_with_doubt(txn.clone()).await;
        *doubt |= doubtful;
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => {
                session.lease_gone();
                return Err(error);
            }
            Err(error) if error.is_final() || caller.is_closed() => return Err(error),
            Err(error) => tracing::debug!(%error, "taking a place goes on"),
        }
        sleep(PAUSE).await;
    }
}

impl Place {
    pub(crate) fn revision(&self) -> i64 {
        self.revision.unwrap_or_default()
    }

    /// Hands the place to a guard.
    pub(crate) fn into_tenure(mut self, session: &Session, fence: i64, not_held: ErrorKind) -> Tenure {
        self.armed = false;
        let (client, key, revision) = (session.client().clone(), self.key.clone(), self.revision());
        let (lease, doubt, weak) = (session.lease(), self.doubt, Arc::new(session.downgrade()));
        let watched = watched(client.clone(), key.clone(), revision, lease, self.seen + 1);
        let proof = Token::new(fence, token(&key, revision).compares);
        let release = move || -> BoxFuture<'static, Result<(), Error>> {
            let (client, key, weak) = (client.clone(), key.clone(), Arc::clone(&weak));
            Box::pin(async move {
                remove(&client, &key, revision, lease).await?;
                if let Some(session) = weak.upgrade().filter(|_| doubt) {
                    sweep_later(&session, &key);
                }
                Ok(())
            })
        };
        let tenure = Tenure::new(session, proof, not_held, Arc::new(release));
        tenure.reserving(self.reservation.take()).watched_by(watched)
    }

    /// A place that is known to be held, for example by this program's last life; at revision
    /// `seen` by this session.
    pub(crate) fn known(session: &Session, key: Bytes, revision: i64, seen: i64, reservation: Reservation) -> Self {
        let header = Header { revision, ..Header::default() };
        Self {
            session: session.clone(),
            key,
            revision: Some(revision),
            header,
            seen,
            reservation: Some(reservation),
            doubt: false,
            armed: true,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.armed || self.session.is_lost() {
            return;
        }
        let (session, key, reservation) = (self.session.clone(), self.key.clone(), self.reservation.take());
        let (revision, doubt) = (self.revision, self.doubt);
        drop(self.session.in_background(async move {
            if let Some(revision) = revision {
                give_back(&session, || remove(session.client(), &key, revision, session.lease())).await;
            }
            drop(reservation);
            if doubt || revision.is_none() {
                sweep_later(&session, &key);
            }
        }));
    }
}

/// [`sweep`] in the background.
fn sweep_later(session: &Session, key: &Bytes) {
    drop(session.in_background(sweep(session.clone(), key.clone())));
}

/// Removes a place that a lost request may take at some time, unless it is in use.
async fn sweep(session: Session, key: Bytes) {
    // The sweeper does not keep the session open: when it ends, the place goes with its lease.
    let (client, lease, lost) = (session.client().clone(), session.lease(), session.lost());
    let session = {
        let weak = session.downgrade();
        drop(session);
        weak
    };
    let sweeps = async {
        for pause in SWEEPS {
            sleep(pause).await;
            let Some(session) = session.upgrade() else { return };
            let Some(_free) = session.try_reserve(&key) else { continue };
            let ours = Compare::lease(key.clone(), Cmp::Equal, lease);
            let remove = Txn::new().when([ours]).then([Delete::new(key.clone())]);
            if let Err(error) = client.txn_repeatable(remove).await {
                tracing::debug!(%error, "a place could not be swept");
            }
        }
    };
    tokio::select! {
        _ = lost => {}
        () = sweeps => {}
    }
}

/// Deletes exactly the place that was created at `revision`, unless another session has taken it
/// over since.
async fn remove(client: &Client, key: &Bytes, revision: i64, lease: i64) -> Result<(), Error> {
    let own = || Compare::create_revision(key.clone(), Cmp::Equal, revision);
    let of = |lease| Txn::new().when([own(), Compare::lease(key.clone(), Cmp::Equal, lease)]);
    let delete = || [Delete::new(key.clone())];
    // Written to by hand it has lost its lease, but is the same place.
    let txn = of(lease).then(delete()).or_else([of(0).then(delete())]);
    client.txn_repeatable(txn).await.map(drop)
}

/// Ends when the key that was created at `revision` is gone, or goes over to another lease, at
/// revision `since` or later.
async fn gone(client: &Client, key: &Bytes, revision: i64, lease: i64, mut since: i64) {
    // Without any lease it was written to by hand: still the same place.
    let taken = |kv: &KeyValue| kv.lease != lease && kv.lease != 0;
    loop {
        let mut watch = client.watch_from(Watch::new(key.clone()), since);
        let error = loop {
            match watch.next().await {
                Some(Ok(batch)) => {
                    if batch.events.iter().any(|event| event.kind == EventKind::Delete || taken(&event.kv)) {
                        return;
                    }
                }
                Some(Err(error)) => break error,
                None => break Error::unsent("the watch has ended"),
            }
        };
        tracing::debug!(%error, "looking again for an own key");
        // History up to here is gone, or the watch was refused: what is there now tells.
        match client.range(Get::new(key.clone()).keys_only()).await {
            Ok(found) if found.kvs.first().is_none_or(|kv| kv.create_revision != revision || taken(kv)) => return,
            Ok(found) => since = found.header.revision + 1,
            Err(error) => tracing::debug!(%error, "an own key cannot be read"),
        }
        sleep(PAUSE).await;
    }
}

/// [`gone`] for a guard.
pub(crate) async fn watched(client: Client, key: Bytes, revision: i64, lease: i64, since: i64) -> LostReason {
    sleep(WATCH_AFTER).await;
    gone(&client, &key, revision, lease, since).await;
    LostReason::KeyGone
}

/// Waits until it is the place's turn.
async fn turn(rule: &Rule, client: &Client, place: &Place, gone: ErrorKind) -> Result<(), Error> {
    let revision = place.revision();
    let own = Compare::create_revision(place.key.clone(), Cmp::Equal, revision);
    let look = Txn::new().when([own]).then([rule.before(revision)]);
    loop {
        let answer = match client.txn(look.clone()).await {
            Ok(TxnAnswer { succeeded: false, .. }) => return Err(place_gone(gone)),
            Ok(answer) => answer,
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "waiting in line goes on");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(found) = answer.found(0) else { return Err(place_gone(gone)) };
        match rule.blockers(found, &place.key, revision) {
            None => return Ok(()),
            Some(blockers) => blockers.clear(client, answer.header.revision + 1).await?,
        }
    }
}

fn place_gone(kind: ErrorKind) -> Error {
    let text = if kind == ErrorKind::NotLeader { "election: not leader" } else { "mutex: session is expired" };
    Error::new(kind, format!("{text}: the place in the queue was deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_etcds_clients() {
        assert_eq!(key("a", 0x7a_1b), "a/7a1b");
        assert_eq!(key("a", -31), "a/-1f");
        assert!(unique_key("a", 0x1f).starts_with(b"a/1f-") && unique_key("a", 1) != unique_key("a", 1));
    }
}
