//! What this program can read and write, and what it writes in a cluster of which version.
//!
//! 1. A new form of a command, or a new format between members, belongs to a version of Conclave.
//!    It is written only once the cluster is of that version, which it becomes when every member
//!    supports it.
//! 2. What is added here is read by this program before any version writes it.
//!
//! For tests of two versions side by side, `CONCLAVE_TEST_VERSION=0.2` makes a program with the
//! feature `failpoints` one of that version: with a form of commands of its own, which other
//! programs cannot read. Without the feature it is ignored.

use conclave_state::{Supports, Version};

/// The version of this program.
const THIS: Version = Version { major: 0, minor: 1 };
/// The oldest cluster version it can serve in.
const OLDEST: Version = Version { major: 0, minor: 1 };

/// The version that commands about the placement of leadership belong to.
pub const PLACEMENT: Version = Version { major: 0, minor: 1 };

/// A command without a caller, or with its caller before it.
pub(crate) const FORM_OF_FIRST: u8 = 1;
/// Only in tests: the form of the version after this one.
pub(crate) const FORM_OF_TESTS: u8 = 2;

/// The format of records on disk.
pub(crate) const FORMAT: u8 = 1;

/// The version of the wire between members.
const PEER_PROTOCOL: u32 = 1;

/// What this program supports.
#[must_use]
pub fn supports() -> Supports {
    let newest = newest();
    Supports {
        oldest: OLDEST,
        newest,
        peer_protocol: PEER_PROTOCOL,
        command_form: u32::from(command_form(newest)),
        disk_format: u32::from(FORMAT),
    }
}

/// The form in which commands are written in a cluster of this version.
#[must_use]
pub fn command_form(cluster: Version) -> u8 {
    if cluster > THIS { FORM_OF_TESTS } else { FORM_OF_FIRST }
}

/// Whether this program can read commands of that form.
pub(crate) fn reads(form: u8) -> bool {
    form <= command_form(newest())
}

fn newest() -> Version {
    if cfg!(feature = "failpoints") { of_tests() } else { THIS }
}

#[inline(never)]
fn of_tests() -> Version {
    use std::sync::OnceLock;
    static NEWEST: OnceLock<Version> = OnceLock::new();
    *NEWEST.get_or_init(|| {
        let given = std::env::var("CONCLAVE_TEST_VERSION").ok().and_then(|text| text.parse().ok());
        given.unwrap_or(THIS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_packages() {
        let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
        assert_eq!(format!("{major}.{minor}"), THIS.to_string());
        assert!(supports().includes(THIS) && OLDEST <= THIS && PLACEMENT <= THIS);
    }

    #[test]
    fn a_form_is_of_its_version() {
        assert_eq!(command_form(Version::FIRST), FORM_OF_FIRST);
        assert_eq!(command_form(THIS), FORM_OF_FIRST);
        assert!(reads(FORM_OF_FIRST) && !reads(FORM_OF_TESTS), "no test sets the version of this process");
    }
}
