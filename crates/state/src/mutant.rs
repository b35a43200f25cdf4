//! Planted bugs by name, to prove that the fault harness sees them (docs/testing.md). Compiled to nothing without the feature `mutants`.
//!
//! A mutant is one deviation of a line or two at the place where a real bug of its kind would stand. `main` chooses at most one, before
//! anything runs; all members of a cluster are given the same one, so that the state is as deterministic as ever.
//!
//! 1. What ships contains none: without debug assertions the feature does not compile, and a test looks for the names in the binary.
//! 2. A name that is not in `NAMES` does not compile either.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!(
    "planted bugs are for tests: the feature `mutants` needs a profile with debug assertions, as `checked` has"
);

/// Every name there is.
#[cfg(feature = "mutants")]
pub const NAMES: &[&str] = &[
    "follower-read",
    "unconfirmed-read",
    "ack-before-sync",
    "vote-not-synced",
    "applied-apart",
    "lock-not-first",
    "lock-unchecked",
    "campaign-unchecked",
    "deposed-expiry",
    "stale-expiry",
    "watch-drops",
    "watch-doubles",
    "watch-splits",
    "progress-ahead",
    "no-wakeup",
    "last-first",
    "stale-compare",
    "snapshot-without-leases",
    "forward-twice",
    "vote-for-the-behind",
    "fence-reused",
    "session-ignored",
];

#[cfg(feature = "mutants")]
static CHOSEN: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

/// Plants the bug of that name in this process; false if there is no such name. Only the first call counts.
#[cfg(feature = "mutants")]
pub fn choose(name: &str) -> bool {
    let known = NAMES.iter().find(|known| **known == name);
    known.is_some_and(|known| CHOSEN.set(known).is_ok())
}

#[cfg(feature = "mutants")]
#[doc(hidden)]
#[must_use]
pub fn is(name: &str) -> bool {
    CHOSEN.get().is_some_and(|chosen| *chosen == name)
}

#[cfg(feature = "mutants")]
#[doc(hidden)]
#[must_use]
pub const fn is_known(name: &str) -> bool {
    let mut at = 0;
    while at < NAMES.len() {
        let (one, other) = (NAMES[at].as_bytes(), name.as_bytes());
        let mut same = 0;
        while same < one.len() && same < other.len() && one[same] == other[same] {
            same += 1;
        }
        if same == one.len() && same == other.len() {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether the bug of that name is planted here.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {{
        const { assert!($crate::mutant::is_known($name), "a mutant that is not in the list") };
        $crate::mutant::is($name)
    }};
}

/// Whether the bug of that name is planted here: none is.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}
