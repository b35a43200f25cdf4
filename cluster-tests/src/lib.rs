//! Tests of whole clusters: real `conclave` processes on loopback, driven by clients, killed,
//! paused and restarted.
//!
//! * [`cluster`] starts and breaks nodes; [`process`] is one of them.
//! * [`status`] asks a member how far its state has come.
//! * [`client`] has short forms of the requests that tests make; [`etcdctl`] runs Debian's
//!   `etcdctl`.
//! * [`kit`] has the requests and bounds that tests of elections, locks and claims share.
//! * [`load`] makes work and records it in a [`history`], where an outcome that is unknown stays
//!   unknown.
//! * [`check`] judges histories and states: one property a file, each with tests that show it
//!   failing.
//!
//! Rules: the semantics stand in the checkers, written from the documentation and never imported
//! from the server. A failure of the harness (a node that does not start) is an error of the test,
//! not an outcome of an operation. Waits have generous bounds and end as soon as they can.
//!
//! The server's binary is `$CONCLAVE_BIN`, or `checked/conclave` in the target directory.
//! `CONCLAVE_BIN=/usr/bin/etcd` runs the same tests on etcd, which passes those that concern what
//! both promise: that is how the harness itself is checked.

pub mod check;
pub mod client;
pub mod cluster;
pub mod conclavectl;
pub mod etcd;
pub mod etcd_tools;
pub mod etcdctl;
pub mod history;
pub mod kit;
pub mod load;
pub mod process;
pub mod proxy;
pub mod timeline;
pub mod wait;

pub use conclave_trials::{figure as report, ports, status};
