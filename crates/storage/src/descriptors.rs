//! How many file descriptors each database may use.
//!
//! RocksDB is fastest if it can keep every file open. If descriptors are few it must close some,
//! because a file that cannot be opened ends the process.

use rustix::process::{Resource, getrlimit};

/// With this many descriptors both databases keep all their files open.
const PLENTY: usize = 1 << 16;
/// RocksDB does not go below this.
const LEAST: usize = 20;

/// The bounds of both databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    log: usize,
    state: usize,
    bounded: bool,
}

/// The share of both databases in a process with this limit of open files.
pub fn open_files(limit: usize) -> OpenFiles {
    let bounded = limit < PLENTY;
    let limit = limit.min(PLENTY);
    OpenFiles { log: (limit / 16).max(LEAST), state: (limit / 4).max(LEAST), bounded }
}

impl OpenFiles {
    /// Descriptors to reserve for the databases, including a second state during an installation.
    pub fn total(&self) -> usize {
        self.log + self.state + self.state / 2
    }

    pub(crate) fn of_this_process() -> OpenFiles {
        let limit = getrlimit(Resource::Nofile).current;
        open_files(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    pub(crate) fn log(&self) -> i32 {
        self.setting(self.log)
    }

    pub(crate) fn state(&self) -> i32 {
        self.setting(self.state)
    }

    /// RocksDB's setting; -1 is no limit.
    fn setting(&self, files: usize) -> i32 {
        if self.bounded { i32::try_from(files).unwrap_or(-1) } else { -1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_take_a_part_of_few_and_all_they_want_of_many() {
        let few = open_files(1_024);
        assert_eq!((few.log(), few.state()), (64, 256));
        assert_eq!((open_files(64).log(), open_files(64).state()), (20, 20));
        let many = open_files(1 << 20);
        assert_eq!((many.log(), many.state()), (-1, -1));
        assert!(many.total() < PLENTY / 2);
    }
}
