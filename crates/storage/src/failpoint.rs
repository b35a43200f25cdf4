//! Crash points by name, for the crash tests. Compiled to nothing without the feature `failpoints`.
//!
//! `CONCLAVE_FAILPOINT=name` aborts the process the first time it comes to `name`, `CONCLAVE_FAILPOINT=name:3` the third time.
//! An abort runs no destructor and flushes nothing, which is what a power switch does to everything but the page cache.

/// Every name there is: the crash tests go through this list.
pub const NAMES: &[&str] = &[
    "log-before-write",
    "log-before-sync",
    "log-after-sync",
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

macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        $crate::failpoint::hit($name);
    }};
}
pub(crate) use failpoint;

#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    debug_assert!(NAMES.contains(&name), "failpoint {name} is missing in the list");
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
