//! Conditions on an operation.

use crate::api::conclave::v1 as pb;

/// What must be true for an operation to take place; else it fails with
/// [`ErrorKind::NotAsExpected`](crate::ErrorKind::NotAsExpected), has no effect, and the message
/// says how things stand.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Expect, QueueElection, queue::Eviction};
///
/// let election = QueueElection::new(&client, "scheduler");
/// let seen = election.term().await?;
/// // Only if nothing has changed since it was looked at.
/// election.expecting(Expect::new().revision(seen.revision)).anoint("node-2").await?;
/// // Only while node-1 leads in the term that was seen; only while nobody does.
/// election.expecting(Expect::new().fence(seen.id).holder("node-1")).evict("node-1", Eviction::new()).await?;
/// election.expecting(Expect::new().vacant()).delete().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Expect {
    fence: Option<i64>,
    revision: Option<i64>,
    holder: Option<String>,
}

/// Conditions, as in the [example](Expect#examples).
impl Expect {
    /// Nothing in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// The term id of the election (kept when its leader goes), or the fence of the claim (0:
    /// nobody holds it).
    pub fn fence(mut self, fence: i64) -> Self {
        self.fence = Some(fence);
        self
    }

    /// The revision that last changed the leader or holder, or the line.
    pub fn revision(mut self, revision: i64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Who leads or holds.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// Nobody leads or holds.
    pub fn vacant(self) -> Self {
        self.holder("")
    }
}

impl From<Expect> for pb::Expect {
    fn from(Expect { fence, revision, holder }: Expect) -> Self {
        Self { fence, revision, holder }
    }
}
