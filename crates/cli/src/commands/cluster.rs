//! `endpoint`, `alarm`, `compaction`, `move-leader`.

use super::{Context, members, wire};
use crate::{
    dial::{Node, dial},
    exit::Exit,
    failure::{Failure, Result},
    output::{
        self,
        etcd::{Alarms, HashOf, Hashes, Health, HealthOf, StatusOf, Statuses},
    },
};
use clap::{Args, Subcommand};
use conclave_client::Channel;
use conclave_client::api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, HashKvRequest, MemberListRequest,
    MoveLeaderRequest, RangeRequest, StatusRequest, alarm_request::AlarmAction,
};
use std::{collections::BTreeSet, time::Instant};
use tokio::time::timeout;
use tonic::{Response, Status};

/// Each endpoint by itself: status, health, hash
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Version, size, leader, term and index of each endpoint
    #[command(after_long_help = "Example:\n  conclavectl endpoint status --cluster -w table")]
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Whether each endpoint commits a proposal; 1 if one does not
    #[command(after_long_help = "Example:\n  conclavectl endpoint health --cluster")]
    Health {
        #[command(flatten)]
        which: Which,
    },
    /// Hash of the keys and their history at each endpoint; equal at equal revisions
    #[command(after_long_help = "Example:\n  conclavectl endpoint hashkv --cluster --rev 4711")]
    Hashkv {
        #[command(flatten)]
        which: Which,
        /// Up to this revision; 0 is all
        #[arg(long, default_value_t = 0, value_name = "REVISION")]
        rev: i64,
    },
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Which {
    /// Every member of the cluster, not only the given endpoints
    #[arg(long)]
    cluster: bool,
}

impl EndpointCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Status { which } => status(context, which).await,
            Self::Health { which } => health(context, which).await,
            Self::Hashkv { which, rev } => hashes(context, which, rev).await,
        }
    }
}

impl Which {
    async fn endpoints(self, context: &Context) -> Result<Vec<String>> {
        if !self.cluster {
            return Ok(context.link.settings().endpoints.clone());
        }
        let request = MemberListRequest { linearizable: false };
        let members = context.link.read(|channel| wire::members(channel, request)).await?;
        let urls: BTreeSet<String> = members.members.into_iter().flat_map(|member| member.client_ur_ls).collect();
        Ok(urls.into_iter().collect())
    }
}

/// Asks every endpoint at the same time; answers in their order.
async fn each<A, F>(context: &Context, endpoints: &[String], ask: impl Fn(Channel) -> F) -> Vec<Result<A, String>>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let settings = context.link.settings();
    let ask = &ask;
    let one = |(index, endpoint): (usize, &String)| {
        let endpoint = endpoint.clone();
        async move {
            let Node { channel, .. } = dial(&endpoint, index, settings).await.map_err(|why| why.to_string())?;
            match timeout(settings.command_timeout, ask(channel)).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(status.message().to_owned()),
                Err(_) => Err(format!("no answer within {:?}", settings.command_timeout)),
            }
        }
    };
    futures::future::join_all(endpoints.iter().enumerate().map(one)).await
}

/// Notes what failed, and fails if anything did.
fn failures(errors: Vec<(String, String)>, what: &str) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let list: String = errors.iter().map(|(endpoint, error)| format!("\n    {endpoint}: {error}")).collect();
    Err(Failure::new(Exit::NoConnection, format!("{what}:{list}"))
        .hint("the others are shown above; `conclavectl status` shows the cluster in one view"))
}

async fn status(context: &Context, which: Which) -> Result<()> {
    let endpoints = which.endpoints(context).await?;
    let answers = each(context, &endpoints, |channel| wire::status(channel, StatusRequest {})).await;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (endpoint, answer) in endpoints.into_iter().zip(answers) {
        match answer {
            Ok(status) => found.push(StatusOf { endpoint, status }),
            Err(error) => errors.push((endpoint, error)),
        }
    }
    context.out.show(&Statuses(&found))?;
    failures(errors, "no status of")
}

async fn health(context: &Context, which: Which) -> Result<()> {
    let endpoints = which.endpoints(context).await?;
    let start = Instant::now();
    // A linearizable read passes through consensus, and needs no right to write.
    let request = RangeRequest { key: "health".into(), ..RangeRequest::default() };
    let ask = |channel| {
        let request = request.clone();
        async move {
            let answer = wire::range(channel, request).await?;
            Ok(answer.map(|_| start.elapsed()))
        }
    };
    let answers = each(context, &endpoints, ask).await;
    let all: Vec<HealthOf> = endpoints
        .into_iter()
        .zip(answers)
        .map(|(endpoint, answer)| match answer {
            Ok(took) => HealthOf { endpoint, took, error: None },
            Err(error) => HealthOf { endpoint, took: start.elapsed(), error: Some(error) },
        })
        .collect();
    context.out.show(&Health(&all))?;
    if all.iter().all(|one| one.error.is_none()) {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "unhealthy cluster")
        .hint("a member that runs but is unhealthy has no leader: is a majority of the members up and connected?"))
}

async fn hashes(context: &Context, which: Which, revision: i64) -> Result<()> {
    let endpoints = which.endpoints(context).await?;
    let answers = each(context, &endpoints, |channel| wire::hash_kv(channel, HashKvRequest { revision })).await;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (endpoint, answer) in endpoints.into_iter().zip(answers) {
        match answer {
            Ok(hash) => found.push(HashOf { endpoint, hash }),
            Err(error) => errors.push((endpoint, error)),
        }
    }
    context.out.show(&Hashes(&found))?;
    failures(errors, "no hash of")
}

/// Alarms: what keeps the cluster from taking data
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// The alarms that are raised
    #[command(visible_alias = "ls", after_long_help = "Example:\n  conclavectl alarm list")]
    List,
    /// Clear all alarms, once their cause has been fixed
    #[command(after_long_help = "Example:\n  conclavectl alarm disarm")]
    Disarm,
}

impl AlarmCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let get = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        let raised = context.link.read(|channel| wire::alarm(channel, get)).await?;
        if matches!(self, Self::List) {
            context.out.show(&Alarms(&raised))?;
            return Ok(());
        }
        let mut disarmed = AlarmResponse::default();
        for AlarmMember { member_id, alarm } in raised.alarms {
            debug_assert_ne!(alarm, i32::from(AlarmType::None));
            let request = AlarmRequest { action: AlarmAction::Deactivate.into(), member_id, alarm };
            disarmed.alarms.extend(context.link.write(|channel| wire::alarm(channel, request)).await?.alarms);
        }
        context.out.show(&Alarms(&disarmed))?;
        Ok(())
    }
}

/// Forget history before a revision
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Values at older revisions cannot be read or watched any more; the newest value of every key
stays.

Example:
  conclavectl compaction 4711")]
pub(crate) struct CompactionArgs {
    /// The first revision that stays readable
    revision: i64,
    /// Wait until the space is really given back
    #[arg(long)]
    physical: bool,
}

impl CompactionArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let request = CompactionRequest { revision: self.revision, physical: self.physical };
        let compacted = context.link.write(|channel| wire::compact(channel, request)).await;
        compacted.map_err(|failure| match failure.message() {
            known if known.contains("has been compacted") => Failure::new(failure.exit, known)
                .hint("history before that revision is gone already: there is nothing to do"),
            _ => failure,
        })?;
        output::raw(&format!("compacted revision {}\n", self.revision))?;
        Ok(())
    }
}

/// Hand the cluster's leadership to another member
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl move-leader n2
  conclavectl move-leader 8e9e05c52164694d")]
pub(crate) struct MoveLeaderArgs {
    /// The member's name, or its id in hexadecimal as `member list` prints it
    member: String,
}

impl MoveLeaderArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let settings = context.link.settings();
        let target_id = members::named(context, &self.member).await?;
        // Only the leader takes this order.
        let (mut old, mut leader) = (0, None);
        let dials = settings.endpoints.iter().enumerate().map(|(index, endpoint)| dial(endpoint, index, settings));
        for node in futures::future::join_all(dials).await.into_iter().flatten() {
            let Some(status) = &node.status else { continue };
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                (old, leader) = (status.leader, Some(node));
            }
        }
        let Some(node) = leader else {
            if let Some(cause) = context.link.leaderless().await {
                return Err(Failure::new(Exit::NoConnection, cause)
                    .hint("there is no leadership to hand over; `conclavectl status` shows the members"));
            }
            return Err(Failure::new(Exit::NoConnection, "no leader endpoint given at --endpoints and reachable")
                .hint("give all members with --endpoints; `conclavectl status` shows which one leads"));
        };
        let request = MoveLeaderRequest { target_id };
        let answer = timeout(settings.command_timeout, wire::move_leader(node.channel, request)).await;
        let late = || Status::deadline_exceeded(format!("no answer within {:?}", settings.command_timeout));
        let answer = answer.unwrap_or_else(|_| Err(late()));
        answer.map_err(|status| Failure::of(&status, crate::failure::Effect::Writes))?;
        output::raw(&format!("Leadership transferred from {old:x} to {target_id:x}\n"))?;
        Ok(())
    }
}
