//! What a learner answers: nothing that needs a vote, as etcd's learners.
//!
//! Its clients are to go elsewhere: what it has may be far behind, and it may be taken away again.

use crate::status::text;
use conclave_node::leadership::Leadership;
use tonic::Status;

/// What a learner answers. Of ranges only those that are serializable:
/// [`crate::service::etcd::kv`].
const ALLOWED: [&str; 3] =
    ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot"];

/// Services that tell of the process.
const ALWAYS: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// Open everywhere by default.
#[derive(Clone, Default)]
pub(super) struct Gate(Option<Leadership>);

impl Gate {
    pub(super) fn new(leadership: Leadership) -> Gate {
        Gate(Some(leadership))
    }

    /// Why the method at this path is not answered now.
    pub(super) fn refusal(&self, path: &str) -> Option<Status> {
        let learner = self.0.as_ref().is_some_and(Leadership::is_learner);
        (learner && !is_for_learners(path)).then(|| text::NOT_FOR_LEARNERS.status())
    }
}

fn is_for_learners(path: &str) -> bool {
    ALLOWED.contains(&path) || ALWAYS.iter().any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_answer_little() {
        for path in ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/grpc.health.v1.Health/Check"] {
            assert!(is_for_learners(path), "{path}");
        }
        for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.Cluster/MemberList", "/conclave.v1.Locks/Acquire"] {
            assert!(!is_for_learners(path), "{path}");
        }
        assert!(Gate::default().refusal("/etcdserverpb.KV/Put").is_none());
    }
}
