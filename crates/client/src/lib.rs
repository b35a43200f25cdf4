//! The Rust client of Conclave, and of etcd.
//!
//! For programs of which several run, and only one may do a thing at a time: elect a leader, take a
//! lock, keep something alive, follow what changes. It speaks etcd's v3 wire, so everything in the
//! tour works with a stock etcd as well, and stands in the same lines as etcd's own clients; what
//! needs a Conclave cluster is named [below](#with-a-conclave-cluster).
//!
//! # A guided tour
//!
//! **Connect.** A [`Client`] knows some members and talks to one that works. It is cheap to clone
//! and connects when first used.
//!
//! ```no_run
//! # async fn example() -> Result<(), conclave_client::Error> {
//! use conclave_client::{Client, Cmp, Compare, KeyRange, Put, Txn};
//!
//! let client = Client::new(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"])?;
//! client.put("color", "green").await?;
//! let green = Compare::value("color", Cmp::Equal, "green");
//! let changed = client.txn(Txn::new().when([green]).then([Put::new("color", "blue")])).await?.succeeded;
//! let all = client.range(KeyRange::prefix("c")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Follow.** [`Client::watch`] is a stream of changes that goes on at another member when one
//! fails, without gap or repeat.
//!
//! **Hold something.** Whatever is held is held by a [`Session`]: a lease kept alive in the
//! background. It knows by the clock, without asking anybody, until when the cluster surely keeps
//! it. What holds is a guard, and every guard is [`Held`]:
//!
//! | want | take | get |
//! |---|---|---|
//! | one of many does the work | [`Election::campaign`] | [`Leadership`] |
//! | one at a time | [`Mutex::lock`], [`Mutex::try_lock`], [`Mutex::lock_within`] | [`LockGuard`] |
//! | many readers, one writer | [`RwLock`] | [`LockGuard`] |
//! | so many at a time | [`Semaphore`] | [`LockGuard`] |
//! | several keys changed as one | [`Client::stm`] | |
//!
//! ```no_run
//! # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
//! use conclave_client::{Election, Ran, Session, run_as_leader};
//! use std::time::Duration;
//!
//! let session = Session::open(&client, Duration::from_secs(10)).await?;
//! let leadership = Election::new(&client, "billing").campaign(&session, "host-7").await?;
//! let ran = run_as_leader(leadership, async |leading| {
//!     // Stopped before leadership is given up, however that comes about.
//!     println!("billing with fence {}", leading.fence());
//! });
//! if let Ran::Stopped(reason) = ran.await {
//!     println!("no longer the leader: {reason:?}");
//! }
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # With a Conclave cluster
//!
//! Decided in the cluster's own state machine (`conclave.v1`), with names of their own beside the
//! keys:
//!
//! | want | take | get |
//! |---|---|---|
//! | an election whose order can be changed, with planned hand-over, priorities, causes | [`QueueElection`] | [`QueueLeadership`] |
//! | locks: several at once, shared, permits, with a deadline kept by the cluster | [`Locks`] | [`LockHold`] |
//! | to be sure of the next half minute, without a session | [`Claims`], [`claims::ClaimManager`], [`claims::Tracker`] | [`claims::ClaimHold`] |
//! | failure noticed within less than two seconds | [`Session::open`] with milliseconds | [`Session`] |
//!
//! ```no_run
//! # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
//! use conclave_client::{Held, LostReason, QueueElection, Session, queue::Promotion};
//! use std::time::Duration;
//!
//! let session = Session::open(&client, Duration::from_millis(1500)).await?;
//! let election = QueueElection::new(&client, "billing");
//! let leadership = election.candidate(&session, "host-7").priority(5).campaign().await?;
//! // Meanwhile, an operator: `conclavectl election promote`, or
//! election.promote("host-9", Promotion::Lead).await?;
//! if let LostReason::TakenAway(cause) = leadership.lost().await {
//!     println!("deposed: {cause}");
//!     // Deposed leaders stand first in line.
//!     let leadership = leadership.again().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every operation there carries an id drawn for it, kept over its attempts: it takes effect once,
//! so the client tries it again like a read.
//!
//! # What a lock can promise
//!
//! No program can *know* that it holds a lock: between looking and acting it may be delayed for as
//! long as it takes the cluster to give the lock away. So there are three lines of defence, and
//! what must never go wrong uses the third:
//!
//! 1. **Time.** [`Held::lost`] ends at the deadline, before the cluster gives anything away, also
//!    without a network, also after the machine was suspended. It stops work that looks up in time.
//! 2. **Fences.** [`Held::fence`] rises with every grant. A service that remembers the greatest it
//!    has seen, and refuses smaller ones, is safe from late requests of earlier holders.
//! 3. **Guarded transactions.** [`Held::txn`] writes to the cluster's own store only if the tenure
//!    lasts at that very moment.
//!
//! # Failures
//!
//! Every [`Error`] is one of three: *retryable*, it surely had no effect; *outcome unknown*, a
//! write that may have happened; *final*. Writes of the store are sent once. What waits by its
//! nature (a campaign, a lock, a watch, a session) waits out failures of members by itself, and
//! ends when it is dropped or its session is lost. Each method says what dropping its future leaves
//! behind: mostly nothing.
//!
//! # The wire
//!
//! [`wire`] is the services themselves, message in, message out, for tests and for what has no
//! better form here; [`api`] is the messages.

#![warn(missing_docs)]

mod call;
pub mod claims;
mod client;
pub mod clock;
mod coord;
mod election;
mod endpoints;
mod error;
mod held;
mod kv;
mod lease;
pub mod locks;
mod login;
mod maintenance;
mod mutex;
mod observe;
mod place;
pub mod queue;
mod range;
mod rule;
mod run;
mod rwlock;
mod semaphore;
mod session;
mod stm;
mod tls;
mod token;
mod txn;
mod validity;
mod watch;
pub mod wire;

pub use claims::Claims;
pub use client::{Builder, Client};
pub use clock::Clock;
pub use conclave_api as api;
pub use coord::{Cause, Expect, Name};
pub use election::{Election, Leadership};
pub use endpoints::EndpointHealth;
pub use error::{Error, ErrorKind};
pub use held::{GuardedTxn, Held};
pub use kv::{Delete, Deleted, Found, Get, Header, KeyValue, Put, SortOrder, SortTarget, Written};
pub use lease::{Lease, LeaseInfo};
pub use locks::{LockHold, Locks};
pub use login::{Channel, Credentials, Login, LoginToken};
pub use maintenance::{AlarmMember, AlarmType, KvHash, Member, MemberStatus, Members};
pub use mutex::{LockGuard, Mutex};
pub use observe::{Leader, Observed};
pub use queue::{QueueElection, QueueLeadership};
pub use range::KeyRange;
pub use run::{Leading, Ran, run_as_leader};
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
pub use session::{LostReason, Session, SessionState};
pub use stm::{Isolation, StmTxn};
pub use tls::{Dialer, Tls};
pub use token::Token;
pub use txn::{Cmp, Compare, Op, OpAnswer, Txn, TxnAnswer};
pub use validity::Validity;
pub use watch::{Batch, Event, EventKind, Watch, WatchStream};
