//! What has holders and a queue.

/// The kinds of things that are coordinated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Election,
    /// Locks with readers and writers, and semaphores.
    Lock,
    Claim,
    /// Of etcd's Lock and Election, and of clients that do the same with keys.
    Queue,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Election, Kind::Lock, Kind::Claim, Kind::Queue];

    /// In addresses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Election => "election",
            Kind::Lock => "lock",
            Kind::Claim => "claim",
            Kind::Queue => "queue",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Kind::Election => "Elections",
            Kind::Lock => "Locks and semaphores",
            Kind::Claim => "Claims",
            Kind::Queue => "etcd queues",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Election => "Election",
            Kind::Lock => "Lock",
            Kind::Claim => "Claim",
            Kind::Queue => "etcd queue",
        }
    }

    /// What the one in front is called.
    pub(crate) fn holder(self) -> &'static str {
        match self {
            Kind::Election => "Leader",
            Kind::Lock | Kind::Claim | Kind::Queue => "Holder",
        }
    }

    /// What it is, for those who see it the first time.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Kind::Election => "Elections of conclave.v1: candidates in line, and one that leads.",
            Kind::Lock => "Locks of conclave.v1: exclusive, shared, or a semaphore with permits.",
            Kind::Claim => "Claims of conclave.v1: a name that somebody holds for a time.",
            Kind::Queue => "Queues of etcd’s Lock and Election: keys that end with a lease. The first holds or leads.",
        }
    }
}

/// The name of such a thing. Queues have no namespace, and names of any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    pub namespace: String,
    pub name: Vec<u8>,
}
