//! The signals that ask conclavectl to end.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};
use rustix::process::Signal;
use std::{future::poll_fn, ops::RangeInclusive, task::Poll};
use tokio::signal::unix::{self, SignalKind, signal};

/// By which holders are asked to end; without a command that is no failure.
const ASKING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];
/// The others that would end the process, apart from those of a fault in its own code: what is held
/// is given back first.
const ENDING: [Signal; 12] = [
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::IO,
    Signal::ABORT,
    Signal::POWER,
    Signal::STKFLT,
];
/// The real-time signals that the C library leaves to programs.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// Every signal that would end the process and can be caught, from when it was made.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(i32, unix::Signal)>);

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        Self::of(all())
    }

    /// All but the one that means something else to this command.
    pub(crate) fn without(own: Signal) -> Result<Self> {
        Self::of(all().filter(|number| *number != own.as_raw()))
    }

    fn of(numbers: impl Iterator<Item = i32>) -> Result<Self> {
        let caught = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        Ok(Self(numbers.map(caught).collect::<Result<_>>()?))
    }

    /// What a wait comes to that the next signal ends; can be dropped and asked for again.
    pub(crate) async fn interrupt(&mut self) -> Failure {
        Failure::interrupted(number(self.next().await))
    }

    /// What something comes to that goes on until a signal ends it; can be dropped and asked for
    /// again.
    pub(crate) async fn end(&mut self) -> Exit {
        match self.next().await {
            asking if ASKING.iter().any(|known| known.as_raw() == asking) => Exit::Done,
            ending => Exit::Interrupted(number(ending)),
        }
    }

    /// The next one; can be dropped and asked for again.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|cx| {
            let mut came = self.0.iter_mut().filter_map(|(number, signal)| {
                matches!(signal.poll_recv(cx), Poll::Ready(Some(()))).then_some(*number)
            });
            came.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn all() -> impl Iterator<Item = i32> {
    ASKING.into_iter().chain(ENDING).map(Signal::as_raw).chain(REAL_TIME)
}

fn number(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpid, kill_process};

    #[tokio::test]
    async fn every_signal_that_would_end_the_process_is_caught_and_numbered_as_shells_do() {
        let mut signals = Signals::new().expect("handlers");
        for signal in ASKING.into_iter().chain(ENDING) {
            kill_process(getpid(), signal).expect("this process");
            let asks = [1, 2, 15].contains(&signal.as_raw());
            assert_eq!(signals.end().await.code(), if asks { 0 } else { 128 + signal.as_raw() }, "{signal:?}");
            kill_process(getpid(), signal).expect("this process");
            assert_eq!(signals.interrupt().await.exit.code(), 128 + signal.as_raw(), "{signal:?}");
        }
    }
}
