//! Elections over etcd's wire: candidates stand in a queue of keys, and the oldest leads.

use crate::{
    Client, Cmp, Compare, Error, ErrorKind, Found, Get, Header, Held, KeyRange, Put, Session, SortOrder, SortTarget,
    Txn,
    held::{Tenure, held},
    observe::{Leader, Observed, Observer},
    place::{self, Line, Place},
    rule::Rule,
};
use bytes::Bytes;
use futures::stream::BoxStream;

/// An election by name.
///
/// A candidate is a key `name/<lease in hex>` attached to its session's lease; the one created
/// first leads. Candidates of etcd's other clients (`concurrency.Election` in Go, `etcdctl elect`,
/// the `v3election` service) stand in the same line.
///
/// One session is one candidate: a second campaign of the same session waits until the first
/// leadership has ended. Names must not lie inside each other (`a` and `a/b`), since everything
/// below `a/` counts as a candidate of `a`.
///
/// # Source
/// etcd's `concurrency.Election`; beyond it: a candidate whose lease or key is gone is told so
/// instead of waiting or winning, a dropped campaign leaves nothing behind, observers are told of
/// vacancy, and resigning can be repeated.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Election, Held, Put, Session};
/// use std::time::Duration;
///
/// let session = Session::open(&client, Duration::from_secs(10)).await?;
/// let election = Election::new(&client, "printing");
/// let mut leadership = election.campaign(&session, "host-7").await?;
/// tokio::select! {
///     reason = leadership.lost() => println!("no longer the leader: {reason}"),
///     done = leadership.txn().then([Put::new("printer/state", "warm")]).commit() => drop(done?),
/// }
/// leadership.resign().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    name: String,
}

/// Being the leader. See [`Held`] for what all guards can do.
///
/// Dropping it resigns in the background.
///
/// # Examples
/// ```no_run
/// # async fn example(leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
/// use conclave_client::Held;
///
/// println!("{:?} leads with fence {}, since {}", leadership.key(), leadership.rev(), leadership.header().revision);
/// println!("held by session {:x}, for {:?} more", leadership.session().lease(), leadership.remaining());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Leadership {
    tenure: Tenure,
    key: Bytes,
    header: Header,
}

held!(Leadership);

/// All of it, with what follows, as in the [example](Election#examples).
impl Election {
    /// The election of this name. Makes no call.
    #[must_use]
    pub fn new(client: &Client, name: impl Into<String>) -> Self {
        Self { client: client.clone(), name: name.into() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stands for election and waits until elected, through failures of members.
    ///
    /// When this returns, no other candidate leads, and none will before this leadership has ended.
    /// If the session has a place already (from before a restart, see [`Session::resume`]) it keeps
    /// its position and proclaims the new value.
    ///
    /// # Errors
    /// Final: [`ErrorKind::SessionLost`], [`ErrorKind::LeaseNotFound`]; [`ErrorKind::NotLeader`] as
    /// soon as the place in the queue is deleted by somebody; a refusal such as
    /// [`ErrorKind::NoSpace`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::Election, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Held;
    ///
    /// let leadership = election.campaign(&session, "10.0.0.7:9000").await?;
    /// println!("leading with fence {}", leadership.fence());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn campaign(&self, session: &Session, value: impl Into<Bytes>) -> Result<Leadership, Error> {
        let line = self.line(session, value.into());
        Ok(Leadership::new(session, place::wait(session, &line).await?))
    }

    /// Leads if nobody else does or waits to; `None` if somebody does. Then nothing is left behind.
    ///
    /// Another part of this process that leads by the same session, or is just resigning, counts as
    /// somebody.
    ///
    /// # Errors
    /// As [`Election::campaign`]. Outcome unknown: the place could not be given back for sure; it
    /// is tried in the background.
    ///
    /// # Cancel safety
    /// As [`Election::campaign`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::Election, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// match election.try_campaign(&session, "10.0.0.7:9000").await? {
    ///     Some(mut leadership) => leadership.resign().await?,
    ///     None => println!("somebody else leads"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_campaign(&self, session: &Session, value: impl Into<Bytes>) -> Result<Option<Leadership>, Error> {
        let place = place::attempt(session, &self.line(session, value.into())).await?;
        Ok(place.map(|place| Leadership::new(session, place)))
    }

    fn line(&self, session: &Session, value: Bytes) -> Line {
        let rule = Rule::Alone(self.candidates());
        Line { key: self.key(session), value, rule, gone: ErrorKind::NotLeader }
    }

    /// Who leads, linearizably.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NoLeader`]. Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::Election) -> Result<(), conclave_client::Error> {
    /// use conclave_client::ErrorKind;
    ///
    /// match election.leader().await {
    ///     Ok(leader) => println!("at {:?}", leader.value),
    ///     Err(error) if error.kind() == ErrorKind::NoLeader => println!("nobody leads"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn leader(&self) -> Result<Leader, Error> {
        let leader = self.oldest().await?.kvs.into_iter().next().map(Leader::from);
        leader.ok_or_else(|| Error::new(ErrorKind::NoLeader, "election: no leader"))
    }

    async fn oldest(&self) -> Result<Found, Error> {
        self.client.range(Get::new(self.candidates()).sort(SortTarget::Create, SortOrder::Ascend).limit(1)).await
    }

    /// Follows the election: who leads now, or that nobody does, then each change of the leader or
    /// of what it proclaims.
    ///
    /// Changes come in order and none is left out, unless history is compacted while no member can
    /// be reached: then the state after it comes next. Failures of members are waited out; the
    /// stream ends only after a refusal.
    ///
    /// # Errors
    /// Final, and then the stream ends: a refusal.
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Election, Observed};
    /// use futures::TryStreamExt;
    ///
    /// let mut seen = Election::new(&client, "printing").observe();
    /// while let Some(state) = seen.try_next().await? {
    ///     match state {
    ///         Observed::Leader(leader) => println!("{:?} leads, fence {}", leader.value, leader.revision),
    ///         Observed::Vacant => println!("nobody leads"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn observe(&self) -> BoxStream<'static, Result<Observed, Error>> {
        Observer::new(self.client.clone(), self.candidates()).stream()
    }

    /// Takes up a leadership again that is known by its key and revision ([`Leadership::key`],
    /// [`Leadership::rev`]), for example from this program's last life. If the session is another
    /// one than then, the key goes over to its lease, and a guard that the session before still has
    /// is soon [lost](Held::lost). The tenure is the same, with the same fence: the earlier holder
    /// must have stopped.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotLeader`], it leads no longer; [`ErrorKind::SessionLost`]. Outcome
    /// unknown: the key may have gone over to the session's lease; the call can be repeated.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the key with the session's lease, to be resumed again.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::Election, client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Session;
    ///
    /// // Written down by this program's last life, whose session was left by `Session::orphan`.
    /// let (lease, key, rev) = (0x1234, "printing/1234", 42);
    /// let session = Session::resume(&client, lease).await?;
    /// let leadership = election.resume(&session, key, rev).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self, session: &Session, key: impl Into<Bytes>, rev: i64) -> Result<Leadership, Error> {
        let key = key.into();
        let not_leader = || Error::new(ErrorKind::NotLeader, "election: not leader");
        let work = async {
            let reservation = session.reserve(&key).await;
            let found = self.oldest().await?;
            let leader = found.kvs.into_iter().next().map(Leader::from);
            let Some(leader) = leader.filter(|leader| leader.key == key && leader.revision == rev) else {
                return Err(not_leader());
            };
            let mut seen = found.header.revision;
            if leader.lease != session.lease() {
                let own = Compare::create_revision(key.clone(), Cmp::Equal, rev);
                let rebind = Put::new(key.clone(), "").keep_value().lease(session.lease());
                let answer = session.client().txn_repeatable(Txn::new().when([own]).then([rebind])).await?;
                if !answer.succeeded {
                    return Err(not_leader());
                }
                seen = answer.header.revision;
            }
            Ok(Place::known(session, key.clone(), rev, seen, reservation))
        };
        Ok(Leadership::new(session, session.during(work).await?))
    }

    fn candidates(&self) -> KeyRange {
        KeyRange::prefix(format!("{}/", self.name))
    }

    fn key(&self, session: &Session) -> Bytes {
        place::key(&self.name, session.lease())
    }
}

impl Leadership {
    fn new(session: &Session, place: Place) -> Self {
        let (key, revision, header) = (place.key.clone(), place.revision(), place.header);
        Self { tenure: place.into_tenure(session, revision, ErrorKind::NotLeader), key, header }
    }

    /// The key that stands for this leadership.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The revision that created the key; the same as [`Held::fence`].
    #[must_use]
    pub fn rev(&self) -> i64 {
        self.fence()
    }

    /// The header of the answer that gave the place in the queue.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Announces another value without leaving office.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotLeader`]. Outcome unknown: the answer was lost; repeating it is
    /// harmless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
    /// leadership.proclaim("10.0.0.7:9001").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<Header, Error> {
        self.tenure.check()?;
        let put = Put::new(self.key.clone(), value).lease(self.tenure.session().lease());
        Ok(self.txn().then([put]).commit().await?.header)
    }

    /// Leaves office. When this returns without error, the next candidate leads. Of a leadership
    /// that was lost before, see [`Held::release`].
    ///
    /// # Errors
    /// No member confirmed it in time. The guard keeps its state: the call can be repeated, and
    /// dropping the guard goes on trying in the background.
    ///
    /// # Cancel safety
    /// A dropped future leaves the guard as after an error.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
    /// leadership.resign().await?;
    /// // The next candidate leads.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resign(&mut self) -> Result<(), Error> {
        self.tenure.release().await
    }
}
