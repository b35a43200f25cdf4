//! What is known of the members: for everybody who is logged in, as with `MemberList` and `Status`.

use crate::gateway::Gateway;
use crate::service::conclave::decide::look;
use conclave_console::Frame;
use conclave_console::cluster::{self, Cluster, Facts, Link, Member};
use conclave_state::{AlarmKind, read};
use conclave_storage::StateView;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Status;

pub(super) async fn page(gateway: &Gateway, frame: &Frame) -> Result<String, Status> {
    let read = |view: &StateView| {
        let names: BTreeMap<_, _> = read::members(view)?.into_iter().map(|member| (member.id, member)).collect();
        let labels: BTreeMap<_, _> = read::labels(view)?.into_iter().collect();
        let supported: BTreeMap<_, _> = read::supported(view)?.into_iter().collect();
        Ok((names, labels, supported, read::in_maintenance(view)?, read::alarms(view)?))
    };
    let ((announced, labels, supported, maintenance, raised), _) = look(gateway, true, true, read).await?;
    let leadership = &gateway.node.leadership;
    let (me, now) = (gateway.node.identity.member_id, leadership.current());
    let leader = now.leader.filter(|_| leadership.is_led());
    let leads = leader == Some(me);
    let matched: BTreeMap<u64, u64> = leadership.replicated().into_iter().collect();
    let followers: BTreeMap<_, _> = leadership.followers().into_iter().map(|other| (other.id, other)).collect();
    let last = leadership.last_log_index();
    let name = |id: u64| {
        let name = announced.get(&id).map(|member| member.name.clone()).filter(|name| !name.is_empty());
        name.unwrap_or_else(|| format!("{id:x}"))
    };
    let mut members: Vec<Member> = leadership
        .members()
        .into_iter()
        .map(|(id, node, votes)| {
            let known = announced.get(&id);
            let index = if id == me { Some(last) } else { matched.get(&id).copied().filter(|_| leads) };
            Member {
                id,
                name: known.map_or_else(String::new, |member| member.name.clone()),
                is_this: id == me,
                leads: leader == Some(id),
                votes,
                in_maintenance: maintenance.contains(&id),
                peer_urls: node.peer_urls,
                client_urls: known.map_or_else(Vec::new, |member| member.client_urls.clone()),
                labels: labels.get(&id).into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect(),
                versions: supported.get(&id).map(|supports| format!("{} to {}", supports.oldest, supports.newest)),
                index,
                lag: index.filter(|_| leads).map(|index| last.saturating_sub(index)),
                heard_ago: followers.get(&id).and_then(|follower| follower.heard_ago),
                link: (id != me).then(|| link(gateway, id)),
            }
        })
        .collect();
    members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let alarm = |kind| match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    };
    let cluster = Cluster {
        alarms: raised.into_iter().map(|raised| (alarm(raised.kind), name(raised.member))).collect(),
        members,
        leads,
        facts: facts(gateway, leader.map(name), now.term),
    };
    Ok(cluster::cluster(frame, &cluster))
}

fn facts(gateway: &Gateway, leader: Option<String>, term: u64) -> Facts {
    let node = &gateway.node;
    let (versions, watches) = (node.versions.now(), gateway.watches.stats());
    let applied_index = node.state.applied_index();
    Facts {
        leader,
        term,
        // What is known of the commit is a little behind at times.
        committed_index: node.leadership.committed_index().max(applied_index),
        applied_index,
        revision: node.state.revision(),
        compacted: node.state.compacted(),
        cluster_version: versions.version().to_string(),
        downgrade_to: versions.downgrade.map(|target| target.to_string()),
        keys: node.state.living_keys(),
        leases: node.leases.len() as u64,
        db_bytes: node.state.size_bytes(),
        db_in_use_bytes: node.state.size_in_use_bytes(),
        quota_bytes: node.config.quota_backend_bytes,
        log_bytes: node.log_size.bytes(),
        disk_free_bytes: Some(node.disk_space.free()).filter(|free| *free > 0),
        connections: gateway.connections.clients.open() as u64,
        watchers: watches.watchers as u64,
        slow_watchers: watches.behind as u64,
    }
}

fn link(gateway: &Gateway, id: u64) -> Link {
    let figures = gateway.node.peers.traffic().of(id);
    let count: u64 = figures.round_trips.buckets().map(|(_, count)| count).sum();
    let mean = figures.round_trips.total().as_nanos().checked_div(u128::from(count));
    Link {
        reached: figures.active(),
        failures: figures.failures(),
        round_trip: mean.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos),
        sent_bytes: figures.sent_bytes(),
        received_bytes: figures.received_bytes(),
    }
}
