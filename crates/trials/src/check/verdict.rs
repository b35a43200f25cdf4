//! What a checker says.

use serde::{Deserialize, Serialize};

/// How many operations (grants, expiries, …) were judged, or what is wrong.
pub type Judged = Result<usize, Flaw>;

/// Why a property is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    Violation(Violation),
    Unknown(String),
}

/// A certain violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    pub sentence: String,
    /// Indexes of the fewest records that show it.
    pub window: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    Valid,
    Violation(Violation),
    Unknown { why: String },
}

/// One property's verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    pub property: String,
    pub says: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub judged: usize,
}

impl Verdict {
    #[must_use]
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }

    #[must_use]
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

/// A violation shown by these records.
pub(super) fn violation(window: &[usize], sentence: impl Into<String>) -> Flaw {
    let mut window = window.to_vec();
    window.sort_unstable();
    window.dedup();
    Flaw::Violation(Violation { sentence: sentence.into(), window })
}

pub(super) fn unknown<T>(why: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Unknown(why.into()))
}

/// A moment for a sentence: seconds since the run began.
pub(super) fn seconds(time: u64, began: u64) -> String {
    format!("{:.3} s", time.saturating_sub(began) as f64 / 1e9)
}

/// A span for a sentence.
pub(super) fn millis(span: u64) -> String {
    format!("{:.1} ms", span as f64 / 1e6)
}
