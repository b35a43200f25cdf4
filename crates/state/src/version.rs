//! Versions of Conclave: of a cluster, and those that a member's program supports. See
//! [`crate::cluster_version`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A version of Conclave without its patch number: within one, all that is written can be read by
/// all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    /// Of clusters that have not decided on a version.
    pub const FIRST: Version = Version { major: 0, minor: 1 };

    /// As one number, in the same order; never 0.
    #[must_use]
    pub fn packed(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }

    /// `None` for 0.
    #[must_use]
    pub fn unpacked(packed: u32) -> Option<Version> {
        let version = Version { major: (packed >> 16) as u16, minor: packed as u16 };
        (packed != 0).then_some(version)
    }

    /// The minor version before it, to which a cluster can go back.
    #[must_use]
    pub fn before(self) -> Option<Version> {
        let minor = self.minor.checked_sub(1)?;
        Version::unpacked(Version { minor, ..self }.packed())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoVersion;

/// `major.minor`, or `major.minor.patch` whose patch does not count.
impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Version, NoVersion> {
        let mut parts = text.split('.');
        let mut number = || {
            let digits = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u16>().ok()).ok_or(NoVersion)
        };
        let (major, minor) = (number()?, number()?);
        let _patch = number();
        let whole = text.split('.').count() == 2 || (text.split('.').count() == 3 && _patch.is_ok());
        whole.then(|| Version::unpacked(Version { major, minor }.packed())).flatten().ok_or(NoVersion)
    }
}

/// What a member's program can read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supports {
    /// The cluster versions it can serve in.
    pub oldest: Version,
    pub newest: Version,
    /// The highest versions of the peer protocol, of the forms of commands, and of the formats on
    /// disk. For people: what counts is the cluster's version, which each of them belongs to.
    pub peer_protocol: u32,
    pub command_form: u32,
    pub disk_format: u32,
}

impl Supports {
    #[must_use]
    pub fn includes(&self, version: Version) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// A change of what the cluster's version is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionChange {
    /// A member announces itself.
    Announce { member: u64, supports: Supports },
    /// The leader found that every member supports it.
    Raise { to: Version },
    /// The cluster goes back by one minor version, so that members of it can take part.
    Downgrade { to: Version },
    /// The cluster may rise again.
    CancelDowngrade,
    /// The leader found that every member has arrived at the version before.
    EndDowngrade,
}

/// The version of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterVersion {
    /// `None`: no version was decided on yet, and [`Version::FIRST`] counts.
    pub decided: Option<Version>,
    /// Where the downgrade that is under way leads to.
    pub downgrade: Option<Version>,
}

impl ClusterVersion {
    #[must_use]
    pub fn version(&self) -> Version {
        self.decided.unwrap_or(Version::FIRST)
    }

    /// What the leader should change, given what each member announced (`None`: nothing yet).
    #[must_use]
    pub fn due(&self, members: &[Option<Supports>]) -> Option<VersionChange> {
        let members: Vec<Supports> = members.iter().copied().collect::<Option<_>>()?;
        let to = members.iter().map(|member| member.newest).min()?;
        let possible = members.iter().all(|member| member.includes(to));
        match self.downgrade {
            Some(target) => members.iter().all(|member| member.newest <= target).then_some(VersionChange::EndDowngrade),
            None => (possible && self.decided.is_none_or(|now| now < to)).then_some(VersionChange::Raise { to }),
        }
    }
}
