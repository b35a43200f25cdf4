//! File descriptors: the limit of the process, and how it is divided.
//!
//! The databases come first, because a log that cannot open its next file ends the process.
//! Connections get the rest. Client and peer ports have separate limits, so clients cannot keep the
//! other members out.

use conclave_storage::open_files;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many, ordinary clusters can run out of connections.
const FEW: u64 = 4_096;
/// Below this many, the databases could run out of files and end the process at any time, so it
/// refuses to start.
const LEAST: u64 = 128;
/// For everything else: listeners, the event loop, standard streams, short-lived files.
const OTHERS: usize = 24;
/// Connections from one member to another: commands, small calls, snapshots, log.
const A_PEER: usize = 4;
/// Connections are set aside for as many peers, because the cluster may grow.
const PEERS: usize = 6;
/// With fewer descriptors there is only room for the peers that there are.
const ROOM_TO_GROW: usize = 256;
/// The least number of connections on each kind of port.
const AT_LEAST: usize = 8;

/// The limit is too low to run at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process may open only {0} files at once, and needs {LEAST}: raise the limit (ulimit -n, LimitNOFILE), best to {FEW} or more"
)]
pub struct TooFew(usize);

/// Raises the limit as far as allowed, and warns if that is low.
pub fn raise() -> Result<(), TooFew> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let limit = limit();
    if (limit as u64) < LEAST {
        return Err(TooFew(limit));
    }
    if (limit as u64) < FEW {
        tracing::warn!(
            limit,
            "few files may be open at once: raise the limit (ulimit -n, LimitNOFILE) to {FEW} or more, \
             or clients are turned away when there are many"
        );
    }
    Ok(())
}

/// The limit of this process.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The number of connections on each kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// For clients, on the client and metrics ports.
    pub clients: usize,
    pub peers: usize,
}

impl Budget {
    /// The budget of a member with this number of peers.
    pub fn new(limit: usize, peers: usize) -> Budget {
        let peers = if limit < ROOM_TO_GROW { peers } else { peers.max(PEERS) };
        let own = OTHERS + open_files(limit).total() + A_PEER * peers;
        let left = limit.saturating_sub(own);
        // Doubled, because broken connections may linger.
        let for_peers = (2 * A_PEER * peers).max(left / 16).max(AT_LEAST);
        Budget { clients: left.saturating_sub(for_peers).max(AT_LEAST), peers: for_peers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_come_first_and_everybody_gets_some() {
        for limit in [1, 64, 256, 1_024, 4_096, 65_536, 1 << 20] {
            for peers in [0, 2, 4] {
                let Budget { clients, peers: incoming } = Budget::new(limit, peers);
                assert!(clients >= AT_LEAST && incoming >= 2 * A_PEER * peers && incoming >= AT_LEAST);
                let all = OTHERS + open_files(limit).total() + A_PEER * peers + clients + incoming;
                assert!(limit < 256 || all <= limit, "{all} of {limit}");
            }
        }
        // What is refused below `LEAST` aside, the databases always have theirs.
        for peers in [0, 2] {
            let Budget { clients, peers: incoming } = Budget::new(128, peers);
            assert!(OTHERS + open_files(128).total() + A_PEER * peers + clients + incoming <= 128);
        }
        // Most are for clients.
        assert!(Budget::new(1_024, 2).clients > 400);
        assert!(Budget::new(65_536, 2).clients > 30_000);
        assert!(Budget::new(usize::MAX, 2).clients > 1 << 40);
    }
}
