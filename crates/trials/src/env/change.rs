//! Changes of the members as values: what a plan lists. Who they concern is decided when they are
//! made.

use super::target::Target;
use serde::{Deserialize, Serialize};

/// What an operator does with the members of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A new member, with a vote at once, or as a learner that is promoted.
    Grow { learner: bool },
    /// A member goes, after this was done to it.
    Shrink { target: Target, hurt: Hurt },
    /// Two members go, one right after the other.
    ShrinkTwice { target: Target },
    /// A new member for an old one, which had this done to it.
    Replace { target: Target, hurt: Hurt },
    /// A member comes and another one goes, asked for at the same moment through two members.
    Both { target: Target },
    /// A removed member is started again with its old directory.
    Return,
}

/// What is wrong with a member while it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hurt {
    Nothing,
    Killed,
    Paused,
    /// The other members do not reach it, nor it them.
    CutOff,
    /// Its directory is lost, and somebody starts it without.
    Wiped,
}

impl Change {
    /// The change's own name, as in its JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grow { .. } => "grow",
            Self::Shrink { .. } => "shrink",
            Self::ShrinkTwice { .. } => "shrink-twice",
            Self::Replace { .. } => "replace",
            Self::Both { .. } => "both",
            Self::Return => "return",
        }
    }
}
