//! One look at the cluster: every member is asked at the same time, by its own addresses and by the
//! endpoints that were given.
//!
//! A look ends in bounded time whatever the members do; what they do not say is shown as missing.

use super::view::{Election, Elections, Member, State, View};
use crate::{
    census::{self, Answer, id_of, known_leader},
    commands::{Context, lock_lines, names, wire},
    failure::Result,
    output::human,
};
use conclave_client::Channel;
use conclave_client::api::{
    conclave::v1::{GetClaimRequest, GetLockRequest, GetTermRequest, ListRequest, Name},
    etcdserverpb::{self as pb, AlarmRequest, MemberListRequest, RangeRequest, alarm_request::AlarmAction},
};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

/// Rows of one kind.
const ROWS: usize = 100;
/// In a larger store etcd's locks are not looked for: they are found by reading all keys.
const MOST_KEYS: i64 = 20_000;

/// Who the members are, as was last heard.
#[derive(Debug)]
pub(super) struct Looker {
    members: Vec<pb::Member>,
    cluster: u64,
}

impl Looker {
    /// # Errors
    /// Nobody answers.
    pub(super) async fn new(context: &Context) -> Result<Self> {
        let request = MemberListRequest { linearizable: false };
        let list = context.link.read(|channel| wire::members(channel, request)).await?;
        Ok(Self { members: list.members, cluster: list.header.unwrap_or_default().cluster_id })
    }

    /// Looks once; waits for no member longer than `patience`.
    pub(super) async fn look(&mut self, context: &Context, patience: Duration) -> View {
        let answers = census::ask(context.link.settings(), &self.members, patience).await;
        let status = |answer: &Answer| answer.outcome.as_ref().ok().map(|(_, status)| status.clone());
        let term = answers.iter().filter_map(status).map(|status| status.raft_term).max().unwrap_or(0);
        let leader = census::leader(&self.members, &answers);
        let revision = answers.iter().filter_map(status).filter_map(|status| Some(status.header?.revision)).max();
        let mut view = View {
            cluster: self.cluster,
            revision: revision.unwrap_or(0),
            term,
            leader,
            members: self.members.iter().map(|member| describe(member, &answers)).collect(),
            ..View::default()
        };
        view.members.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        // Who leads knows most; else any member.
        let best = answers.iter().filter_map(|answer| answer.outcome.as_ref().ok());
        let best = best.max_by_key(|(_, status)| (id_of(status) == leader, status.raft_applied_index));
        if let Some((channel, _)) = best {
            let more = async {
                let alarms = alarms(channel.clone()).await;
                (alarms, elections(channel.clone(), leader.is_some()).await, members(channel.clone()).await)
            };
            match timeout(patience, more).await {
                Ok((alarms, elections, members)) => {
                    view.alarms = alarms;
                    view.elections = elections.unwrap_or_else(|status| unknown(status.message()));
                    self.members = members.unwrap_or_else(|| std::mem::take(&mut self.members));
                }
                Err(_) => view.elections = unknown("no answer in time"),
            }
        } else {
            view.elections.unknown = true;
        }
        view
    }
}

fn describe(member: &pb::Member, answers: &[Answer]) -> Member {
    let mine = |answer: &&Answer| answer.outcome.as_ref().is_ok_and(|(_, status)| id_of(status) == Some(member.id));
    let at_its_address = |answer: &&Answer| member.client_ur_ls.contains(&answer.address);
    let state = match answers.iter().find(mine) {
        Some(Answer { outcome: Ok((_, status)), .. }) => State::Up {
            index: status.raft_index,
            applied: status.raft_applied_index,
            leader: known_leader(status),
            size: u64::try_from(status.db_size).unwrap_or(0),
            version: status.version.clone(),
            errors: status.errors.join(", "),
        },
        _ => State::Down(match answers.iter().find(at_its_address) {
            Some(Answer { outcome: Err(reason), .. }) => reason.clone(),
            Some(_) => "another member answers at its address".into(),
            None => "it has no address for clients".into(),
        }),
    };
    Member {
        id: member.id,
        name: member.name.clone(),
        address: member.client_ur_ls.first().cloned().unwrap_or_else(|| "-".into()),
        learner: member.is_learner,
        state,
    }
}

async fn members(channel: Channel) -> Option<Vec<pb::Member>> {
    let list = wire::members(channel, MemberListRequest { linearizable: false }).await.ok()?;
    Some(list.into_inner().members).filter(|members| !members.is_empty())
}

async fn alarms(channel: Channel) -> Vec<(u64, &'static str)> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    let alarms = wire::alarm(channel, request).await.map(|response| response.into_inner().alarms).unwrap_or_default();
    alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm().as_str_name())).collect()
}

fn unknown(why: &str) -> Elections {
    Elections { rows: Vec::new(), note: Some(format!("elections and locks: {why}")), unknown: true }
}

/// What a stock etcd does not have is not missed.
fn page<A: Default>(answer: Result<Response<A>, Status>) -> Result<A, Status> {
    match answer {
        Err(status) if status.code() == Code::Unimplemented => Ok(A::default()),
        answer => answer.map(Response::into_inner),
    }
}

/// Everything that is led or held; without a leader of the cluster as this member last knew it. All
/// of it or a failure: what was left out would seem to be gone.
async fn elections(channel: Channel, agreed: bool) -> Result<Elections, Status> {
    let serializable = !agreed;
    let mut all = Elections::default();
    let list = ListRequest { limit: u32::try_from(ROWS).unwrap_or(u32::MAX), serializable, ..ListRequest::default() };
    for name in page(wire::list_elections(channel.clone(), list.clone()).await)?.names {
        all.rows.extend(election(channel.clone(), name, serializable).await?);
    }
    for name in page(wire::list_locks(channel.clone(), list.clone()).await)?.names {
        all.rows.push(lock(channel.clone(), name, serializable).await?);
    }
    for name in page(wire::list_claims(channel.clone(), list).await)?.names {
        all.rows.push(claim(channel.clone(), name, serializable).await?);
    }
    match etcd_lines(channel, serializable).await? {
        Ok(rows) => all.rows.extend(rows),
        Err(note) => all.note = Some(note),
    }
    Ok(all)
}

async fn election(channel: Channel, name: Name, serializable: bool) -> Result<Option<Election>, Status> {
    let request = GetTermRequest { election: Some(name.clone()), serializable, ..GetTermRequest::default() };
    let Some(term) = wire::get_term(channel, request).await?.into_inner().term else { return Ok(None) };
    let name = names::full(&name);
    Ok(Some(Election { kind: "election", name, leader: term.leader, fence: term.id, waiting: term.waiting.into() }))
}

async fn lock(channel: Channel, name: Name, serializable: bool) -> Result<Election, Status> {
    let request = GetLockRequest { lock: Some(name.clone()), serializable, limit: 3, ..GetLockRequest::default() };
    let lock = wire::get_lock(channel, request).await?.into_inner();
    let owners: Vec<String> = lock.holders.iter().map(names::owner).collect();
    let fence = lock.holders.first().map_or(0, |holder| holder.fence);
    let leader = match lock.holder_count {
        0..=3 => owners.join(", "),
        more => format!("{more} holders"),
    };
    let name = names::full(&name);
    Ok(Election { kind: "lock", name, leader, fence, waiting: lock.waiting_count.into() })
}

async fn claim(channel: Channel, name: Name, serializable: bool) -> Result<Election, Status> {
    let request = GetClaimRequest { claim: Some(name.clone()), serializable, ..GetClaimRequest::default() };
    let claim = wire::get_claim(channel, request).await?.into_inner();
    let name = names::full(&name);
    let (leader, fence) = (claim.holder, claim.fence);
    Ok(Election { kind: "claim", name, leader, fence, waiting: claim.waiting_count.into() })
}

/// Locks and elections of etcd's wire; or a note why they are not looked for.
async fn etcd_lines(channel: Channel, serializable: bool) -> Result<Result<Vec<Election>, String>, Status> {
    let all = || RangeRequest { key: "\0".into(), range_end: "\0".into(), serializable, ..RangeRequest::default() };
    let count = RangeRequest { count_only: true, ..all() };
    let count = wire::range(channel.clone(), count).await?.into_inner().count;
    if count > MOST_KEYS {
        return Ok(Err(format!(
            "{count} keys: etcd's locks and elections are not searched for; conclavectl lock ls does"
        )));
    }
    let keys = RangeRequest { keys_only: true, ..all() };
    let keys = wire::range(channel.clone(), keys).await?.into_inner().kvs;
    let mut rows = Vec::new();
    for mut line in lock_lines::lines(keys).into_iter().take(ROWS) {
        line.learn_value(|mut request| {
            request.serializable = serializable;
            let range = wire::range(channel.clone(), request);
            async { range.await.map(tonic::Response::into_inner) }
        })
        .await;
        let Some(holder) = line.places.first() else { continue };
        let leader = if holder.value.is_empty() { human::lease(holder.lease) } else { holder.value() };
        let waiting = line.waiting().count() as u64;
        rows.push(Election { kind: "etcd", name: line.name.clone(), leader, fence: holder.fence, waiting });
    }
    Ok(Ok(rows))
}
