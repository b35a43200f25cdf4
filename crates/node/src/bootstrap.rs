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
//! Later starts also ask the peers whether the directory still holds everything that this member
//! has acknowledged: [`crate::rollback`].

use crate::config::{Config, HttpUrl};
use crate::peer::{PeerError, Peers};
use conclave_storage::types::MemberNode;
use conclave_storage::{Acknowledged, Identity, LogPosition, read_identity, read_origin};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

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
        "the data directory {path} belongs to member {stored} of cluster {stored_cluster:x}, but this configuration is for member \
         {given} of cluster {given_cluster:x}: start with that member's own configuration (name, initial cluster, token), or use \
         another data directory"
    )]
    OtherIdentity { path: String, stored: String, stored_cluster: u64, given: String, given_cluster: u64 },
    #[error(
        "member {name} ({member:x}) has been started before, with another data directory: its peer {peer} remembers. What it \
         promised to the other members is lost with that directory, so it must not take part under the same identity. Bring \
         back the directory as it was last, never an older copy; if it is lost, leave this member out: the others serve without it"
    )]
    StartedBefore { name: String, member: u64, peer: String },
    #[error(
        "member {name} ({member:x}) lacks what it has acknowledged: its peer {peer} knows that it followed the leader of term {} up to entry \
         {}, but in this data directory the last vote is of term {} and the log ends with entry {}. The directory is an older \
         copy, or its disk has lost what was synced, so it must not take part. Bring back the directory as it was last, never an \
         older copy; if it is lost, leave this member out: the others serve without it",
        known.term, known.index, stands.term, stands.index
    )]
    RolledBack { name: String, member: u64, peer: String, known: Acknowledged, stands: LogPosition },
    #[error("{peer} refuses this member: {reason}")]
    Refused { peer: String, reason: String },
    #[error(transparent)]
    Storage(#[from] conclave_storage::OpenError),
}

impl BootstrapError {
    pub(crate) fn is_rollback(&self) -> bool {
        matches!(self, BootstrapError::RolledBack { .. })
    }
}

/// The members of the cluster, and which of them this node is.
#[derive(Clone, Debug)]
pub struct Plan {
    pub identity: Identity,
    pub members: BTreeMap<u64, MemberNode>,
}

impl Plan {
    /// Reads the configuration and the identity in the data directory. Writes nothing.
    pub fn new(config: &Config) -> Result<Plan, BootstrapError> {
        Plan::of(config, read_origin(&config.data_dir)?, read_identity(&config.data_dir)?)
    }

    /// The plan of a member whose directory is about to be restored from that origin.
    pub fn restored(config: &Config, origin: u64) -> Result<Plan, BootstrapError> {
        Plan::of(config, Some(origin), None)
    }

    fn of(config: &Config, origin: Option<u64>, stored: Option<Identity>) -> Result<Plan, BootstrapError> {
        let members = members(config, origin)?;
        let cluster_id = cluster_id(&members, &config.initial_cluster_token);
        let own = members.iter().find(|(_, node)| node.name == config.name);
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
        let given = |incarnation| Identity { cluster_id, member_id, name: config.name.clone(), incarnation };
        let identity = match stored {
            None => given(rand::random()),
            Some(stored) if stored == given(stored.incarnation) => stored,
            Some(stored) => {
                return Err(BootstrapError::OtherIdentity {
                    path: config.data_dir.display().to_string(),
                    stored: format!("{} ({:x})", stored.name, stored.member_id),
                    stored_cluster: stored.cluster_id,
                    given: format!("{} ({member_id:x})", config.name),
                    given_cluster: cluster_id,
                });
            }
        };
        Ok(Plan { identity, members })
    }

    /// The number of other members that must know this member before it takes part: all in small
    /// clusters, a majority in larger ones.
    fn witnesses(&self) -> usize {
        let n = self.members.len();
        (n / 2 + 1).min(n - 1)
    }

    pub(crate) fn name_of(&self, id: u64) -> String {
        self.members.get(&id).map_or_else(|| format!("{id:x}"), ToString::to_string)
    }
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

/// Members that were restored have ids of their own, and with them a cluster of their own: no member of before, and none that restored
/// something else, ever takes part in it.
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
        let others: Vec<u64> = peers.ids().filter(|id| !known_to.contains(id)).collect();
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
            let missing: Vec<_> = others.iter().map(|id| plan.name_of(*id)).collect();
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
        Ok(Some(known)) => Ok(Some(known)),
        Ok(None) => {
            Err(BootstrapError::StartedBefore { name: name.clone(), member: member_id, peer: plan.name_of(id) })
        }
        Err(PeerError::Refused(reason)) => Err(BootstrapError::Refused { peer: plan.name_of(id), reason }),
        Err(_) => Ok(None),
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
            let plan = Plan { identity, members: (1..=n).map(node).collect() };
            let others = usize::try_from(n).unwrap() - 1;
            assert!(others == 0 || 2 * plan.witnesses() > others, "{n} members");
        }
    }
}
