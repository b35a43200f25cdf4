//! What elections, locks and claims of `conclave.v1` have in common.
//!
//! 1. Every operation that changes something carries an id drawn for it, the same in all attempts: it takes effect once, so it may be
//!    tried again like a read.
//! 2. What is followed (watches, waiting) goes on at another member after a failure, where it was.

mod cause;
mod expect;
pub(crate) mod follow;
mod name;
pub(crate) mod once;
mod pages;

pub use cause::Cause;
pub use expect::Expect;
pub use name::Name;
pub(crate) use pages::pages;

use crate::Channel;
use crate::{Client, Compare, Session, Token, api::conclave::v1 as pb};
use bytes::Bytes;
use std::time::Duration;

/// Who asks for one operation: drawn anew for each, kept over its attempts.
pub(crate) fn caller(session: Option<&Session>, expect: &Expect) -> Option<pb::Caller> {
    let dedupe_id = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let expect = (*expect != Expect::default()).then(|| expect.clone().into());
    Some(pb::Caller { session: session.map_or(0, Session::lease), dedupe_id, expect })
}

pub(crate) fn token(token: Option<pb::Token>) -> Token {
    let pb::Token { fence, guards } = token.unwrap_or_default();
    Token::new(fence, guards.into_iter().map(Compare::from).collect())
}

/// Whole milliseconds, rounded up: nothing is asked for less time than was meant.
pub(crate) fn millis(time: Duration) -> u64 {
    let millis = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).min(1 << 53)
}

/// A generated client of a service, without a bound on the size of answers: pages of names with long values are large.
macro_rules! service {
    ($name:ident, $client:ty) => {
        pub(crate) fn $name(channel: Channel) -> $client {
            <$client>::new(channel).max_decoding_message_size(usize::MAX)
        }
    };
}

service!(elections, pb::elections_client::ElectionsClient<Channel>);
service!(claims, pb::claims_client::ClaimsClient<Channel>);
service!(locks, pb::locks_client::LocksClient<Channel>);
service!(sessions, pb::sessions_client::SessionsClient<Channel>);

/// A call of one method of a service, for [`Client::read`] and its like.
macro_rules! call {
    ($service:ident . $method:ident) => {
        |channel, request| async move { $crate::coord::$service(channel).$method(request).await }
    };
}
pub(crate) use call;

/// A handle with what its operations carry besides their own arguments.
#[derive(Clone, Debug)]
pub(crate) struct Acting {
    pub(crate) client: Client,
    pub(crate) session: Option<Session>,
    pub(crate) expect: Expect,
}

impl Acting {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), session: None, expect: Expect::default() }
    }

    pub(crate) fn caller(&self) -> Option<pb::Caller> {
        caller(self.session.as_ref(), &self.expect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_bounded() {
        let of = |time| millis(time);
        assert_eq!(of(Duration::ZERO), 0);
        assert_eq!(of(Duration::from_nanos(1)), 1);
        assert_eq!(of(Duration::from_micros(1_500_500)), 1_501);
        assert_eq!(of(Duration::MAX), 1 << 53);
    }

    #[test]
    fn each_operation_has_an_id_of_its_own() {
        let id = || caller(None, &Expect::default()).expect("always").dedupe_id;
        assert!(id().len() == 16 && id() != id());
    }
}
