//! Crash points by name, for the crash tests of this crate and of whole clusters. Compiled to
//! nothing without the feature `failpoints`.
//!
//! `CONCLAVE_FAILPOINT=name` aborts the process the first time it reaches `name`,
//! `CONCLAVE_FAILPOINT=name:3` the third time. An abort runs no destructor and flushes nothing,
//! like a power cut that spares the page cache.
//!
//! 1. Released binaries contain none: without debug assertions the feature does not compile.
//! 2. A name that is in neither list does not compile either.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!(
    "crash points are for tests: the feature `failpoints` needs a profile with debug assertions, as `checked` has"
);

/// Points that storage reaches by itself. The crash tests of this crate go through this list.
pub const OF_STORAGE: &[&str] = &[
    "log-before-write",
    "log-before-sync",
    "log-after-sync",
    "vote-before-save",
    "vote-after-save",
    "apply-before-write",
    "apply-after-write",
    "flush-before-record",
    "snapshot-before-checkpoint",
    "snapshot-before-record",
    "install-before-record",
    "install-before-switch",
    "install-before-pointer-rename",
    "install-after-switch",
    "sweep-before-write",
    "identity-before-rename",
    "open-before-marker",
];

/// Points that only a cluster of servers reaches. The crash tests of clusters go through both
/// lists.
pub const OF_SERVER: &[&str] = &[
    "membership-before-apply",
    "membership-after-apply",
    "snapshot-before-send",
    "snapshot-between-parts",
    "snapshot-before-finish",
    "expiry-before-proposal",
    "expiry-after-proposal",
    "watch-before-send",
    "change-before-append",
    "change-before-send",
    "change-before-answer",
    "join-before-asking",
    "join-before-proposal",
    "join-after-proposal",
];

/// Whether a point of that name is listed.
#[doc(hidden)]
#[must_use]
pub const fn is_known(name: &str) -> bool {
    is_in(name, OF_STORAGE) || is_in(name, OF_SERVER)
}

const fn is_in(name: &str, names: &[&str]) -> bool {
    let mut at = 0;
    while at < names.len() {
        let (one, other) = (names[at].as_bytes(), name.as_bytes());
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

/// Aborts if the process was started to abort at this point.
#[doc(hidden)]
#[macro_export]
macro_rules! __failpoint {
    ($name:literal) => {{
        const { assert!($crate::failpoint::is_known($name), "a failpoint that is not in the lists") };
        $crate::failpoint::hit($name);
    }};
}
pub use __failpoint as failpoint;

/// A constant condition, not an attribute: both forms are type-checked in every build.
#[doc(hidden)]
#[inline(always)]
pub fn hit(name: &'static str) {
    if cfg!(feature = "failpoints") {
        abort_if_armed(name);
    }
}

#[inline(never)]
fn abort_if_armed(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("CONCLAVE_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicI64::new(count.parse().unwrap_or(1))))
    });
    if let Some((wanted, left)) = armed
        && wanted == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_whole_and_stand_once() {
        assert!(is_known("vote-before-save") && is_known("watch-before-send"));
        assert!(!is_known("vote-before") && !is_known("vote-before-save-") && !is_known(""));
        let all: std::collections::BTreeSet<_> = OF_STORAGE.iter().chain(OF_SERVER).collect();
        assert_eq!(all.len(), OF_STORAGE.len() + OF_SERVER.len());
    }
}
