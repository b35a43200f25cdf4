//! Which of the endpoints that are dialled at the same time is used.
//!
//! The first that answers and knows a leader; endpoints that do not answer are not waited for. A
//! member that knows no leader is used if none that does answers within a moment after it.

use crate::dial::{Node, Unusable};
use futures::{Stream, StreamExt};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a member that knows a leader is waited for once one has answered that knows none,
const MOMENT: Duration = Duration::from_millis(500);
/// or so many times as long as that one took, if the way to the members is long.
const TIMES: u32 = 3;

/// What the dials came to.
#[derive(Debug)]
pub(super) enum Picked {
    Node(Node),
    /// None can be used: the places of the endpoints, and why.
    None(Vec<(usize, Unusable)>),
}

/// Takes the first that can be used; drops the other dials.
pub(super) async fn pick(mut dials: impl Stream<Item = (usize, Result<Node, Unusable>)> + Unpin) -> Picked {
    let begun = Instant::now();
    let (mut leaderless, mut reasons) = (None, Vec::new());
    // Of no meaning before `leaderless`.
    let mut until = begun;
    loop {
        let dialled = tokio::select! {
            biased;
            dialled = dials.next() => dialled,
            () = sleep_until(until), if leaderless.is_some() => None,
        };
        match dialled {
            Some((_, Ok(node))) if node.status.as_ref().is_none_or(|status| status.leader != 0) => {
                return Picked::Node(node);
            }
            Some((_, Ok(node))) if leaderless.is_none() => {
                until = Instant::now() + MOMENT.max(begun.elapsed() * TIMES);
                leaderless = Some(node);
            }
            Some((_, Ok(_))) => {}
            Some((index, Err(reason))) => {
                // No other member knows another password.
                let refused = matches!(reason, Unusable::Login(_));
                reasons.push((index, reason));
                if refused {
                    reasons.drain(..reasons.len() - 1);
                    return Picked::None(reasons);
                }
            }
            None => break,
        }
    }
    reasons.sort_by_key(|(index, _)| *index);
    leaderless.map_or(Picked::None(reasons), Picked::Node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_client::{Channel, LoginToken, api::etcdserverpb::StatusResponse};
    use futures::stream::FuturesUnordered;
    use tokio::time::{Instant, sleep};

    /// After how many milliseconds it answers, if it does, and the leader that it knows.
    type Member = (Option<u64>, u64);

    /// The endpoint that is used, and after how many milliseconds.
    async fn of(members: &[Member]) -> (Option<usize>, u128) {
        let dial = |(index, &(after, leader)): (usize, &Member)| async move {
            let Some(after) = after else {
                // As long as a dial may take.
                sleep(Duration::from_secs(2)).await;
                return (index, Err(Unusable::Endpoint("no answer".to_owned())));
            };
            sleep(Duration::from_millis(after)).await;
            let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
            let channel = Channel::new(channel, LoginToken::default());
            let status = Some(StatusResponse { leader, ..StatusResponse::default() });
            (index, Ok(Node { index, endpoint: index.to_string(), channel, status }))
        };
        let (dials, begun) = (members.iter().enumerate().map(dial).collect::<FuturesUnordered<_>>(), Instant::now());
        match pick(dials).await {
            Picked::Node(node) => (Some(node.index), begun.elapsed().as_millis()),
            Picked::None(reasons) => {
                assert!(reasons.is_sorted_by_key(|(index, _)| *index) && reasons.len() == members.len());
                (None, begun.elapsed().as_millis())
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn members_that_do_not_answer_are_not_waited_for() {
        assert_eq!(of(&[(None, 0), (None, 0), (Some(20), 7)]).await, (Some(2), 20));
        assert_eq!(of(&[(None, 0), (Some(20), 0), (None, 0)]).await, (Some(1), 520));
        assert_eq!(of(&[(Some(20), 0), (Some(30), 0), (None, 0)]).await, (Some(0), 520), "the first");
        assert_eq!(of(&[(None, 0), (None, 0)]).await, (None, 2000));
        assert_eq!(of(&[(Some(20), 0)]).await, (Some(0), 20), "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_knows_a_leader_goes_before_one_that_knows_none() {
        assert_eq!(of(&[(Some(20), 0), (Some(400), 7)]).await, (Some(1), 400));
        // Far away.
        assert_eq!(of(&[(Some(400), 0), (Some(1500), 7), (None, 0)]).await, (Some(1), 1500));
    }
}
