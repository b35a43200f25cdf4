//! How the program ends. The numbers are documented (`--help`, docs/conclavectl.md) and do not
//! change.

/// An exit code of conclavectl's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The cluster refused, or failed.
    Failed,
    /// `snapshot diff`: the two differ.
    Differs,
    /// No endpoint could be used, or none answered.
    NoConnection,
    /// What came on standard input, or a file, makes no sense.
    BadInput,
    /// This server cannot do it.
    Unsupported,
    /// Interrupted before it was done, by this signal: as shells number it, 128 and the signal.
    Interrupted(u8),
    /// Reading or writing failed on this side.
    Io,
    /// The operation may have taken effect, or not.
    Unknown,
    /// Somebody else holds or leads it now; or not in time.
    Busy,
    /// Things are not as the command names them: another holds or leads it, or nobody does.
    Otherwise,
    /// Lost while it was held.
    Lost,
    /// `-- COMMAND`: it never started, somebody else holds or leads now. Nothing else: scripts take
    /// it for "later, then".
    CommandBusy,
    /// `-- COMMAND`: stopped, because the lock or leadership was lost.
    CommandLost,
    /// `-- COMMAND`: it never started, conclavectl failed.
    CommandFailed,
    /// `-- COMMAND`: it was found but cannot be run.
    CommandUnusable,
    /// `-- COMMAND`: there is no such command.
    CommandMissing,
    /// The command line is wrong.
    Usage,
    /// What the command that was run ended with: its code, or 128 and its signal.
    Command(u8),
}

impl Exit {
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Differs => 1,
            Self::NoConnection => 2,
            Self::BadInput => 3,
            Self::Unsupported => 4,
            Self::Io => 6,
            Self::Unknown => 7,
            Self::Busy | Self::Otherwise => 8,
            Self::Lost => 9,
            Self::CommandBusy => 123,
            Self::CommandLost => 124,
            Self::CommandFailed => 125,
            Self::CommandUnusable => 126,
            Self::CommandMissing => 127,
            Self::Usage => 128,
            Self::Interrupted(signal) => 128 + i32::from(signal),
            Self::Command(code) => code.into(),
        }
    }

    /// What it is when a command should have run: the low numbers belong to the command.
    #[must_use]
    pub(crate) fn before_command(self) -> Self {
        match self {
            Self::Busy => Self::CommandBusy,
            Self::Otherwise
            | Self::Lost
            | Self::Failed
            | Self::NoConnection
            | Self::BadInput
            | Self::Unsupported
            | Self::Io
            | Self::Unknown => Self::CommandFailed,
            other => other,
        }
    }
}

/// The table for `--help`.
pub const TABLE: &str = "\
Exit codes:
    0  done
    1  the cluster refused, or failed; snapshot diff: the two differ
    2  no endpoint could be used, or none answered
    3  standard input makes no sense (txn, watch -i), or a file (snapshot)
    4  this server cannot do it
    6  reading or writing failed on this side
    7  outcome unknown: it may have taken effect; read before doing it again
    8  not now: somebody else holds or leads it, the one named does not, or not in time
    9  lost while it was held
  128  the command line is wrong
  130  interrupted by Ctrl-C before it was done; 143 by SIGTERM, 129 by SIGHUP
  With -- COMMAND it is the command's code, or 128 plus its signal. If conclavectl failed:
  123  not started: somebody else holds or leads it now (--try, --wait); it may pass later
  124  stopped: the lock or leadership was lost
  125  not started: anything else of the above
  126  not started: COMMAND cannot be run
  127  not started: there is no such COMMAND";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code() {
        let own = [
            Exit::Done,
            Exit::Failed,
            Exit::NoConnection,
            Exit::BadInput,
            Exit::Unsupported,
            Exit::Io,
            Exit::Unknown,
            Exit::Busy,
            Exit::Lost,
            Exit::Usage,
            Exit::Interrupted(2),
            Exit::CommandBusy,
            Exit::CommandLost,
            Exit::CommandFailed,
            Exit::CommandUnusable,
            Exit::CommandMissing,
        ];
        let listed: Vec<i32> = TABLE.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, own.map(Exit::code));
    }

    #[test]
    fn an_interrupted_wait_ends_as_shells_number_it_with_and_without_a_command() {
        for (signal, code) in [(1, 129), (2, 130), (15, 143)] {
            let exit = Exit::Interrupted(signal);
            assert_eq!((exit.code(), exit.before_command().code()), (code, code));
        }
    }
}
