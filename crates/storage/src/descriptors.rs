//! How many files each database may hold open, of those that the process may have.
//!
//! RocksDB keeps every table open if it may, which spares it a look-up for each read. Where file descriptors are few it has to close
//! some: a file that cannot be opened ends the process.

use rustix::process::{Resource, getrlimit};

/// With so many descriptors both databases keep all their files open.
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

/// What a process with this limit of open files gives to them.
pub fn open_files(limit: usize) -> OpenFiles {
    let bounded = limit < PLENTY;
    let limit = limit.min(PLENTY);
    OpenFiles { log: (limit / 16).max(LEAST), state: (limit / 4).max(LEAST), bounded }
}

impl OpenFiles {
    /// What to set aside for the databases, a second state during an installation included.
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

    /// -1: all of them.
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
