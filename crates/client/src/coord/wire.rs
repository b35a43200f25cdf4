//! The services of `conclave.v1` and the types of their messages that several of them have.

use crate::{Channel, Compare, Token, api::conclave::v1 as pb};
use std::time::Duration;

/// A generated client of a service, without a bound on the size of answers: pages of names with
/// long values are large.
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

pub(crate) fn token(token: Option<pb::Token>) -> Token {
    let pb::Token { fence, guards } = token.unwrap_or_default();
    Token::new(fence, guards.into_iter().map(Compare::from).collect())
}

/// Whole milliseconds, rounded up: nothing is asked for less time than was meant.
pub(crate) fn millis(time: Duration) -> u64 {
    let millis = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).min(1 << 53)
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
}
