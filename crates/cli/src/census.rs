//! Who answers: every member is asked at the same time, by its own addresses and by the endpoints
//! that were given.

use crate::{commands::wire, dial::dial, settings::Settings};
use conclave_client::Channel;
use conclave_client::api::etcdserverpb::{Member, MemberListRequest, StatusResponse};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::timeout;

/// No member is waited for longer to find out why there was no answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// An answer of one address.
pub(crate) struct Answer {
    pub(crate) address: String,
    pub(crate) outcome: Result<(Channel, StatusResponse), String>,
}

/// Asks all endpoints and all addresses of these members; waits for none longer than `patience`.
pub(crate) async fn ask(settings: &Settings, members: &[Member], patience: Duration) -> Vec<Answer> {
    ask_until(settings, members, patience, |_| false).await
}

/// The same, until the answers are `enough`: those that do not answer are not waited for then.
async fn ask_until(
    settings: &Settings,
    members: &[Member],
    patience: Duration,
    enough: impl Fn(&[Answer]) -> bool,
) -> Vec<Answer> {
    let own = members.iter().flat_map(|member| member.client_ur_ls.clone());
    let addresses: BTreeSet<String> = settings.endpoints.iter().map(|e| settings.url(e)).chain(own).collect();
    let one = |address: String| async move {
        let outcome = match timeout(patience, dial(&address, 0, settings)).await {
            Ok(Ok(node)) => node.status.map(|status| (node.channel, status)).ok_or_else(|| "it does not say".into()),
            Ok(Err(reason)) => Err(reason.to_string()),
            Err(_) => Err("no answer".to_owned()),
        };
        Answer { address, outcome }
    };
    gather(addresses.into_iter().map(one).collect(), enough).await
}

/// What these answer, until that is enough.
async fn gather<T>(mut asked: FuturesUnordered<impl Future<Output = T>>, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut answers = Vec::new();
    while let Some(answer) = asked.next().await {
        answers.push(answer);
        if enough(&answers) {
            break;
        }
    }
    answers
}

/// Who leads in the newest term: a member that says so of itself, or of whom a majority says so. A
/// member that has lost touch remembers a leader, and does not count.
pub(crate) fn leader(members: &[Member], answers: &[Answer]) -> Option<u64> {
    let up = || answers.iter().filter_map(|answer| answer.outcome.as_ref().ok());
    let term = up().map(|(_, status)| status.raft_term).max().unwrap_or(0);
    let mut votes: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (_, status) in up() {
        if let (Some(voter), true) = (id_of(status), status.raft_term == term && known_leader(status) != 0) {
            votes.entry(status.leader).or_default().insert(voter);
        }
    }
    let majority = majority(members);
    let leads = |(leader, voters): &(u64, BTreeSet<u64>)| voters.contains(leader) || voters.len() >= majority;
    votes.into_iter().find(leads).map(|(leader, _)| leader)
}

pub(crate) fn id_of(status: &StatusResponse) -> Option<u64> {
    status.header.map(|header| header.member_id)
}

/// The leader that a member is in touch with; 0 if it is in touch with none.
pub(crate) fn known_leader(status: &StatusResponse) -> u64 {
    if status.errors.iter().any(|error| error == "etcdserver: no leader") { 0 } else { status.leader }
}

fn majority(members: &[Member]) -> usize {
    members.iter().filter(|member| !member.is_learner).count() / 2 + 1
}

/// That the cluster has no leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaderless {
    /// The same in words.
    pub(crate) words: String,
    /// Too few members answer to elect one.
    pub(crate) too_few: bool,
}

/// Looks whether the cluster has no leader; `None` if it has one, or nobody can tell.
pub(crate) async fn leaderless(settings: &Settings) -> Option<Leaderless> {
    let patience = settings.dial_timeout.min(PATIENCE);
    let known = ask_until(settings, &[], patience, |answers| answers.iter().any(|one| one.outcome.is_ok())).await;
    let (channel, _) = known.iter().find_map(|answer| answer.outcome.as_ref().ok())?;
    let list = wire::members(channel.clone(), MemberListRequest { linearizable: false });
    let members = timeout(patience, list).await.ok()?.ok()?.into_inner().members;
    let answers = ask_until(settings, &members, patience, |answers| leader(&members, answers).is_some()).await;
    if leader(&members, &answers).is_some() {
        return None;
    }
    let up: BTreeSet<u64> = answers.iter().filter_map(|answer| id_of(&answer.outcome.as_ref().ok()?.1)).collect();
    let up = members.iter().filter(|member| up.contains(&member.id)).count();
    let needed = majority(&members);
    Some(Leaderless { words: words(up, members.len(), needed), too_few: up < needed })
}

/// The same if nobody can log in: who the members are is not known then.
pub(crate) fn without_login(up: usize, endpoints: usize) -> String {
    let answers = if up == 1 { "answers" } else { "answer" };
    format!("{NO_LEADER}: {up} of {endpoints} endpoints {answers}, and {NO_LOGIN}")
}

/// Why nobody can log in.
pub(crate) const NO_LOGIN: &str = "a login needs a majority of the members";

/// What is said of a missing leader begins so.
const NO_LEADER: &str = "the cluster has no leader";

/// Whether a text says already that there is no leader.
pub(crate) fn is_named(text: &str) -> bool {
    text.starts_with(NO_LEADER)
}

fn words(up: usize, all: usize, needed: usize) -> String {
    let answers = if up == 1 { "answers" } else { "answer" };
    let why = if up < needed {
        format!(", {needed} are needed")
    } else {
        "; they are electing one, or cannot reach each other".to_owned()
    };
    format!("{NO_LEADER}: {up} of {all} members {answers}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_client::api::etcdserverpb::ResponseHeader;

    fn answer(id: u64, term: u64, leader: u64, errors: &[&str]) -> Answer {
        let status = StatusResponse {
            header: Some(ResponseHeader { member_id: id, ..ResponseHeader::default() }),
            raft_term: term,
            leader,
            errors: errors.iter().map(ToString::to_string).collect(),
            ..StatusResponse::default()
        };
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        let channel = Channel::new(channel, conclave_client::LoginToken::default());
        Answer { address: id.to_string(), outcome: Ok((channel, status)) }
    }

    #[tokio::test]
    async fn a_leader_is_one_that_says_so_or_that_a_majority_follows() {
        let members: Vec<Member> = (1..=3).map(|id| Member { id, ..Member::default() }).collect();
        let of = |answers: &[Answer]| leader(&members, answers);
        assert_eq!(of(&[answer(1, 2, 1, &[]), answer(2, 2, 1, &[])]), Some(1));
        assert_eq!(of(&[answer(2, 2, 1, &[]), answer(3, 2, 1, &[])]), Some(1));
        // One that remembers a leader, one that knows it is out of touch, and one of an earlier
        // term.
        assert_eq!(of(&[answer(2, 2, 1, &[])]), None);
        assert_eq!(of(&[answer(1, 2, 1, &["etcdserver: no leader"])]), None);
        assert_eq!(of(&[answer(1, 2, 1, &[]), answer(2, 3, 0, &[])]), None);
    }

    /// Two of three are paused: they accept a connection and say nothing.
    #[tokio::test(start_paused = true)]
    async fn once_enough_is_known_the_others_are_not_waited_for() {
        let begun = tokio::time::Instant::now();
        let asked: FuturesUnordered<_> = [2000, 20, 2000].into_iter().map(after).collect();
        assert_eq!(gather(asked, |answers| !answers.is_empty()).await, [20]);
        assert_eq!(begun.elapsed().as_millis(), 20);
        let asked: FuturesUnordered<_> = [30, 20].into_iter().map(after).collect();
        assert_eq!(gather(asked, |_| false).await, [20, 30]);
    }

    async fn after(millis: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis
    }

    #[test]
    fn it_says_how_many_answer_and_how_many_are_needed() {
        assert_eq!(words(1, 3, 2), "the cluster has no leader: 1 of 3 members answers, 2 are needed");
        assert!(is_named(&words(1, 3, 2)) && !is_named("no member answered in time"));
        assert!(words(2, 3, 2).ends_with("2 of 3 members answer; they are electing one, or cannot reach each other"));
    }
}
