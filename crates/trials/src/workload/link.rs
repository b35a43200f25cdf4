//! A client's connections: one to each member, one in use at a time; and which failures are
//! certain.
//!
//! 1. Nothing is repeated. After a failure that concerns the member the next call goes to the next
//!    one.
//! 2. A failure is certain only where the answer says so, or nothing was sent. Everything else is
//!    unknown.

use anyhow::Result;
use std::{error::Error, time::Duration};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

#[derive(Clone, Debug)]
pub(crate) struct Link {
    channels: Vec<Channel>,
    at: usize,
}

impl Link {
    pub(crate) fn new(endpoints: &[String], at: usize, pings: bool) -> Result<Self> {
        let connect = |url: &String| {
            let endpoint =
                Endpoint::try_from(url.clone())?.connect_timeout(Duration::from_millis(800)).tcp_nodelay(true);
            let pinging = |endpoint: Endpoint| {
                endpoint
                    .http2_keep_alive_interval(Duration::from_millis(800))
                    .keep_alive_timeout(Duration::from_millis(1200))
            };
            // etcd hangs up on who asks so often whether it is there.
            Ok(if pings { pinging(endpoint) } else { endpoint }.connect_lazy())
        };
        let channels: Vec<Channel> = endpoints.iter().map(connect).collect::<Result<_>>()?;
        Ok(Self { at: at % channels.len().max(1), channels })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channels[self.at].clone()
    }

    /// The member in use, from 1.
    pub(crate) fn node(&self) -> u32 {
        self.at as u32 + 1
    }

    /// Turns to another member.
    pub(crate) fn turn(&mut self, to: usize) {
        self.at = to % self.channels.len();
    }

    pub(crate) fn next(&mut self) {
        self.turn(self.at + 1);
    }
}

/// Texts that say that nothing happened, whatever the code.
const CERTAIN: [&str; 9] = [
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: requested lease not found",
    "etcdserver: mvcc: database space exceeded",
    "election: not leader",
    "election: no leader",
    "election: session expired",
    "mutex: session is expired",
    "conclave: not acquired within",
];

/// Whether what was asked for surely did not happen.
pub(crate) fn is_certain(status: &Status) -> bool {
    if CERTAIN.iter().any(|text| status.message().contains(text)) || never_sent(status) {
        return true;
    }
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::ResourceExhausted
    )
}

/// No connection was made.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.to_string().contains("tcp connect error") {
            return true;
        }
        cause = error.source();
    }
    status.message().contains("tcp connect error")
}

/// Whether another member may know better.
pub(crate) fn concerns_member(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal | Code::Unknown
    )
}

/// The code as histories name it.
pub(crate) fn code(status: &Status) -> String {
    format!("{:?}", status.code())
}
