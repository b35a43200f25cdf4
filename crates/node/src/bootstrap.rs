//! Turns a configuration into a member with an identity that its peers know.
//!
//! A member's votes and acknowledged entries are kept in its data directory. A member that lost the
//! directory must not come back under its old id: it could vote twice in one term, or elect itself
//! with an empty log.
//!
//! 1. Ids are derived from configuration that all members share. Equal configurations give equal
//!    ids, and every peer call carries them, so different clusters do not mix.
//! 2. A member with an empty directory draws a random *incarnation* and stores it. It takes no part
//!    until enough other members have durably recorded that incarnation for its id: any two such
//!    groups of members overlap, so a second incarnation would be refused.
//! 3. A peer that has another incarnation on record says so, and the member refuses to run.
//!
//! 4. A member that is added to a running cluster has an id that the cluster gave it. It learns the
//!    id from its peers by its own URLs, stores it, and takes no part until the cluster has
//!    admitted its incarnation: a command in the log, so every later member knows of it, and a
//!    second incarnation is refused for ever. It never writes a first membership.
//! 5. All of the configuration of a first start is for an empty directory. Later, identity and
//!    applied membership count; only name and token are compared, so that a directory is not
//!    started in another one's place.
//!
//! Later starts also ask the peers whether the directory still holds everything that this member
//! has acknowledged: [`crate::rollback`].

use crate::config::{Config, HttpUrl, InitialClusterState};
use crate::peer::transport::Transport;
use crate::peer::{Expected, Joined, PeerError, Peers, Registered, expected};
use crate::supported::Unsupported;
use conclave_state::{Admission, read};
use conclave_storage::failpoint::failpoint;
use conclave_storage::types::MemberNode;
use conclave_storage::{Acknowledged, FirstStart, Identity, LogPosition, StateHandle, first_start, read_identity};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// Interval between two rounds of questions.
const AGAIN: Duration = Duration::from_millis(100);
const WORD_AFTER: Duration = Duration::from_secs(2);
const WORD_EVERY: Duration = Duration::from_secs(5);
/// A member that no peer has heard of is given up after this: what it was added by may be on its
/// way.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum BootstrapError {
    #[error("--name {name} is not in --initial-cluster ({known}): name one of its members, or add this one")]
    NotInCluster { name: String, known: String },
    #[error(
        "--initial-cluster has {name} at {in_cluster}, but --initial-advertise-peer-urls says {advertised}: they must be the same"
    )]
    OtherUrls { name: String, in_cluster: String, advertised: String },
    #[error("--initial-cluster names {what} twice: every member needs a name and peer URLs of its own")]
    Twice { what: String },
    #[error(
        "the data directory {path} has an identity and no log, and --initial-cluster is not what it was first started with: start it with \
         that configuration, or use an empty data directory"
    )]
    OtherIdentity { path: String },
    #[error(
        "member {name} ({member:x}) has been started before, with another data directory: its peer {peer} remembers. What it \
         promised to the other members is lost with that directory, so it must not take part under the same identity. Bring \
         back the directory as it was last, never an older copy; if it is lost, leave this member out, \
         or replace it (conclavectl member replace): the others serve without it"
    )]
    StartedBefore { name: String, member: u64, peer: String },
    #[error(
        "member {name} ({member:x}) lacks what it has acknowledged: its peer {peer} knows that it followed the leader of term {} up to entry \
         {}, but in this data directory the last vote is of term {} and the log ends with entry {}. The directory is an older \
         copy, or its disk has lost what was synced, so it must not take part. Bring back the directory as it was last, never an \
         older copy; if it is lost, leave this member out, or replace it (conclavectl member replace): the \
         others serve without it",
        known.term, known.index, stands.term, stands.index
    )]
    RolledBack { name: String, member: u64, peer: String, known: Acknowledged, stands: LogPosition },
    #[error(
        "the data directory {path} belongs to {what} {stored:?}, but this configuration says {given:?}: start it with its own configuration, or \
         use another data directory"
    )]
    OtherStart { path: String, what: &'static str, stored: String, given: String },
    #[error(
        "member {name} ({member:x}) was removed from the cluster. It never takes part again. To have this machine in the cluster, add \
         a member (conclavectl member add) and start it with an empty data directory"
    )]
    Removed { name: String, member: u64 },
    #[error(
        "no member of the running cluster has the peer URLs {urls}: add this member first (conclavectl member add), and use the \
         settings that it prints"
    )]
    NotAdded { urls: String },
    #[error(
        "the peers in --initial-cluster are of different clusters ({one:x} and {other:x}): name the members of one cluster"
    )]
    TwoClusters { one: u64, other: u64 },
    #[error(
        "--initial-cluster-state=existing needs the members of the running cluster in --initial-cluster, and there is only this one"
    )]
    NoPeers,
    #[error(transparent)]
    Version(#[from] Unsupported),
    #[error("{peer} refuses this member: {reason}")]
    Refused { peer: String, reason: String },
    #[error(transparent)]
    Storage(#[from] conclave_storage::OpenError),
}

impl BootstrapError {
    /// Whether the member must not run, whatever other peers say.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, BootstrapError::RolledBack { .. } | BootstrapError::Removed { .. } | BootstrapError::Version(_))
    }
}

/// Which member this node is, and what it knows of its cluster before it has a log.
#[derive(Clone, Debug)]
pub struct Plan {
    pub identity: Identity,
    /// The members at the first start; empty in a directory that does not tell.
    pub members: BTreeMap<u64, MemberNode>,
    /// The member was added to a running cluster.
    pub joins: bool,
    token: String,
}

impl Plan {
    /// Reads the configuration and the data directory. Writes nothing. A new member of a running
    /// cluster must [ask its peers](Plan::ask) instead.
    pub fn new(config: &Config) -> Result<Plan, BootstrapError> {
        let Some(stored) = read_identity(&config.data_dir)? else { return Plan::configured(config) };
        let differs = |what, stored: &str, given: &str| BootstrapError::OtherStart {
            path: config.data_dir.display().to_string(),
            what,
            stored: stored.to_owned(),
            given: given.to_owned(),
        };
        if stored.name != config.name {
            return Err(differs("member", &stored.name, &config.name));
        }
        let token = config.initial_cluster_token.clone();
        match first_start::read(&config.data_dir)? {
            Some(first) if first.token != token => {
                Err(differs("a cluster with the token", &first.token, &config.initial_cluster_token))
            }
            Some(first) => Ok(Plan { identity: stored, members: first.members, joins: first.joins, token }),
            // From before there was this record. Without a log, the configuration must be the right
            // one.
            None => {
                let configured = Plan::configured(config).ok();
                let same = |plan: &Plan| {
                    plan.identity == Identity { incarnation: plan.identity.incarnation, ..stored.clone() }
                };
                let members = configured.filter(same).map(|plan| plan.members).unwrap_or_default();
                Ok(Plan { identity: stored, members, joins: false, token })
            }
        }
    }

    /// The plan of a member whose directory is about to be restored from that origin.
    pub fn restored(config: &Config, origin: u64) -> Result<Plan, BootstrapError> {
        Plan::of(config, Some(origin))
    }

    /// The plan of a first start with all members.
    fn configured(config: &Config) -> Result<Plan, BootstrapError> {
        Plan::of(config, None)
    }

    fn of(config: &Config, origin: Option<u64>) -> Result<Plan, BootstrapError> {
        let members = members(config, origin)?;
        let cluster_id = cluster_id(&members, &config.initial_cluster_token);
        let member_id = own(config, &members)?;
        let identity = Identity { cluster_id, member_id, name: config.name.clone(), incarnation: rand::random() };
        Ok(Plan { identity, members, joins: false, token: config.initial_cluster_token.clone() })
    }

    /// Whether the data directory is empty and the cluster runs already: [`Plan::ask`].
    pub fn must_ask(config: &Config) -> Result<bool, BootstrapError> {
        Ok(config.initial_cluster_state == InitialClusterState::Existing && read_identity(&config.data_dir)?.is_none())
    }

    /// Asks the peers in the configuration which member of their cluster this one is. The transport
    /// is for calls without ids. Repeats until a member answers that has a quorum.
    pub async fn ask(config: &Config, transport: &dyn Transport) -> Result<Plan, BootstrapError> {
        let configured = members(config, None)?;
        let me = own(config, &configured)?;
        let urls = configured.get(&me).map(|node| node.peer_urls.clone()).unwrap_or_default();
        let others = configured.iter().filter(|(id, _)| **id != me);
        let links: Vec<_> = others.map(|(_, node)| (node.to_string(), transport.link(0, node))).collect();
        if links.is_empty() {
            return Err(BootstrapError::NoPeers);
        }
        let (mut next_word, give_up) = (Instant::now() + WORD_AFTER, Instant::now() + UNKNOWN_FOR);
        loop {
            let asked = links.iter().map(|(_, link)| expected(&**link, urls.clone()));
            let answers = join_all(asked).await;
            let mut found: Option<Expected> = None;
            let mut unknown = false;
            for ((peer, _), answer) in links.iter().zip(answers) {
                match answer {
                    Ok(Some(other)) => match &found {
                        Some(one) if one.cluster != other.cluster => {
                            return Err(BootstrapError::TwoClusters { one: one.cluster, other: other.cluster });
                        }
                        _ => found = Some(other),
                    },
                    Ok(None) => unknown = true,
                    Err(error) if Instant::now() >= next_word => {
                        tracing::info!(peer, %error, "asking the cluster which member this is: no answer");
                    }
                    Err(_) => {}
                }
            }
            if let Some(Expected { cluster, member, nodes }) = found {
                let name = config.name.clone();
                let identity = Identity {
                    cluster_id: cluster,
                    member_id: member,
                    name,
                    incarnation: rand::random::<u64>().max(1),
                };
                let token = config.initial_cluster_token.clone();
                return Ok(Plan { identity, members: nodes, joins: true, token });
            }
            if unknown && Instant::now() >= give_up {
                return Err(BootstrapError::NotAdded { urls: urls.join(",") });
            }
            if Instant::now() >= next_word {
                next_word = Instant::now() + WORD_EVERY;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Stores what only the first start knows. To be called before the directory gets its identity.
    pub fn store(&self, config: &Config) -> Result<(), BootstrapError> {
        if read_identity(&config.data_dir)?.is_none() {
            first_start::write(&config.data_dir, &self.first_start())?;
        }
        Ok(())
    }

    /// What a directory must know before it has an identity.
    pub fn first_start(&self) -> FirstStart {
        FirstStart { token: self.token.clone(), joins: self.joins, members: self.members.clone() }
    }

    /// The number of other members that must know this member before it takes part: all in small
    /// clusters, a majority in larger ones.
    fn witnesses(&self) -> usize {
        let n = self.members.len();
        (n / 2 + 1).min(n - 1)
    }

    fn removed(&self) -> BootstrapError {
        BootstrapError::Removed { name: self.identity.name.clone(), member: self.identity.member_id }
    }

    /// An error if this member's own state says that it was removed.
    pub(crate) fn still_a_member(&self, state: &StateHandle) -> Result<(), BootstrapError> {
        match read::was_removed(&state.view(), self.identity.member_id) {
            Ok(true) => Err(self.removed()),
            // A state that cannot be read stops the node elsewhere.
            Ok(false) | Err(_) => Ok(()),
        }
    }
}

/// The position of this member in the configuration.
fn own(config: &Config, members: &BTreeMap<u64, MemberNode>) -> Result<u64, BootstrapError> {
    let name = config.discovered_as.as_ref().unwrap_or(&config.name);
    let own = members.iter().find(|(_, node)| node.name == *name);
    let Some((&member_id, node)) = own else {
        let known: Vec<_> = members.values().map(|n| n.name.as_str()).collect();
        return Err(BootstrapError::NotInCluster { name: config.name.clone(), known: known.join(", ") });
    };
    let mut advertised: Vec<_> = config.initial_advertise_peer_urls.iter().map(ToString::to_string).collect();
    advertised.sort();
    if advertised != node.peer_urls {
        let (in_cluster, advertised) = (node.peer_urls.join(","), advertised.join(","));
        return Err(BootstrapError::OtherUrls { name: config.name.clone(), in_cluster, advertised });
    }
    Ok(member_id)
}

fn members(config: &Config, origin: Option<u64>) -> Result<BTreeMap<u64, MemberNode>, BootstrapError> {
    let mut members = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for member in &config.initial_cluster {
        let mut peer_urls: Vec<String> = member.peer_urls.iter().map(ToString::to_string).collect();
        peer_urls.sort();
        for what in peer_urls.iter().chain([&member.name]) {
            if !seen.insert(what.clone()) {
                return Err(BootstrapError::Twice { what: what.clone() });
            }
        }
        let id = member_id(&identifying(&member.peer_urls), &config.initial_cluster_token, origin);
        members.insert(id, MemberNode { name: member.name.clone(), peer_urls });
    }
    Ok(members)
}

/// What ids are made of. A cluster that changes to TLS stays the same: the scheme does not count.
fn identifying(urls: &[HttpUrl]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(|url| format!("http://{}", url.authority())).collect();
    texts.sort();
    texts
}

/// Members that were restored have ids of their own, and with them a cluster of their own: no
/// member of before, and none that restored something else, ever takes part in it.
fn member_id(peer_urls: &[String], token: &str, origin: Option<u64>) -> u64 {
    let origin = origin.map(|origin| format!("restored from {origin:016x}"));
    hash(peer_urls.iter().map(String::as_str).chain([token]).chain(origin.as_deref()))
}

fn cluster_id(members: &BTreeMap<u64, MemberNode>, token: &str) -> u64 {
    let ids: Vec<String> = members.keys().map(|id| format!("{id:x}")).collect();
    hash(ids.iter().map(String::as_str).chain([token]))
}

/// FNV-1a over the parts, each ended by a zero byte, with a final mix; never 0. Ids are stored and
/// shown, so this must not change.
fn hash<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = parts.flat_map(|part| part.bytes().chain([0]));
    let mut h = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (h ^ (h >> 31)).max(1)
}

/// Registers this member with its peers. Retries until enough of them have recorded it.
pub async fn register(plan: &Plan, peers: &Peers) -> Result<(), BootstrapError> {
    let needed = plan.witnesses();
    let mut known_to = std::collections::BTreeSet::new();
    let mut next_word = Instant::now() + Duration::from_secs(2);
    loop {
        let others: Vec<u64> = peers.ids().into_iter().filter(|id| !known_to.contains(id)).collect();
        let asked = others.iter().map(|id| async { (*id, ask(plan, peers, *id).await) });
        for (id, answer) in futures::future::join_all(asked).await {
            if answer?.is_some() {
                known_to.insert(id);
            }
        }
        if known_to.len() >= needed {
            tracing::info!(peers = known_to.len(), "the other members know this one");
            return Ok(());
        }
        if Instant::now() >= next_word {
            next_word = Instant::now() + Duration::from_secs(5);
            let missing: Vec<_> = others.iter().map(|id| peers.name_of(*id)).collect();
            tracing::info!(
                known_to = known_to.len(),
                needed,
                "waiting for other members before the first start; not reached yet: {}",
                missing.join(", ")
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Registers this incarnation with the peer. Returns what this member has acknowledged to the peer,
/// `None` if the peer does not answer now, or an error if it will never accept.
pub(crate) async fn ask(plan: &Plan, peers: &Peers, id: u64) -> Result<Option<Acknowledged>, BootstrapError> {
    let Identity { member_id, incarnation, ref name, .. } = plan.identity;
    match peers.register(id, member_id, incarnation).await {
        Ok(Registered::Accepted(known)) => Ok(Some(known)),
        Ok(Registered::Other) => {
            Err(BootstrapError::StartedBefore { name: name.clone(), member: member_id, peer: peers.name_of(id) })
        }
        Ok(Registered::Removed) => Err(plan.removed()),
        Ok(Registered::Unsupported(why)) => Err(BootstrapError::Version(why)),
        Err(PeerError::Refused(reason)) => Err(BootstrapError::Refused { peer: peers.name_of(id), reason }),
        Err(_) => Ok(None),
    }
}

/// Has the running cluster admit this member. Repeats until one of its members answers.
pub async fn join(plan: &Plan, peers: &Peers) -> Result<(), BootstrapError> {
    let Identity { member_id, incarnation, ref name, .. } = plan.identity;
    let mut next_word = Instant::now() + WORD_AFTER;
    failpoint!("join-before-asking");
    loop {
        for peer in peers.ids() {
            match peers.join(peer, member_id, incarnation).await {
                Ok(Joined::Answer(Admission::Admitted)) => {
                    tracing::info!("the cluster has admitted this member");
                    return Ok(());
                }
                Ok(Joined::Answer(Admission::Removed)) => return Err(plan.removed()),
                Ok(Joined::Unsupported(why)) => return Err(BootstrapError::Version(why)),
                Ok(Joined::Answer(Admission::Taken | Admission::Unknown)) => {
                    let (name, peer) = (name.clone(), peers.name_of(peer));
                    return Err(BootstrapError::StartedBefore { name, member: member_id, peer });
                }
                Ok(Joined::Later) | Err(_) => {}
            }
        }
        if Instant::now() >= next_word {
            next_word = Instant::now() + WORD_EVERY;
            let asked: Vec<_> = peers.ids().iter().map(|id| peers.name_of(*id)).collect();
            tracing::info!("waiting until the cluster admits this member; asked: {}", asked.join(", "));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ids_depend_on_urls_and_token_alone() {
        let id = member_id(&urls(&["http://a:1", "http://b:2"]), "t", None);
        assert_eq!(id, member_id(&urls(&["http://a:1", "http://b:2"]), "t", None));
        assert_ne!(id, member_id(&urls(&["http://a:1", "http://b:2"]), "u", None));
        assert_ne!(id, member_id(&urls(&["http://a:1http://b:2"]), "t", None));
        // Stored in data directories: this number must never change.
        assert_eq!(member_id(&urls(&["http://127.0.0.1:2380"]), "etcd-cluster", None), ID_OF_THE_DEFAULT);
    }

    #[test]
    fn restored_members_are_others() {
        let ids: std::collections::BTreeSet<u64> =
            [None, Some(1), Some(2)].map(|origin| member_id(&urls(&["http://a:1"]), "t", origin)).into();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn tls_makes_no_other_member() {
        let ids = ["http://a:1", "https://a:1"].map(|url| identifying(&[HttpUrl::parse(url).unwrap()]));
        assert_eq!(ids[0], ids[1]);
    }

    const ID_OF_THE_DEFAULT: u64 = 0xfa51_a34e_e465_5616;

    #[test]
    fn a_second_incarnation_always_meets_a_witness_of_the_first() {
        for n in 1..=9 {
            let node = |id: u64| (id, MemberNode::default());
            let identity = Identity { cluster_id: 1, member_id: 1, name: "a".into(), incarnation: 1 };
            let members = (1..=n).map(node).collect();
            let plan = Plan { identity, members, joins: false, token: String::new() };
            let others = usize::try_from(n).unwrap() - 1;
            assert!(others == 0 || 2 * plan.witnesses() > others, "{n} members");
        }
    }
}
