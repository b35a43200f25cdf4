//! The signals that ask conclavectl to end.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};
use rustix::process::Signal;
use std::{future::poll_fn, task::Poll};
use tokio::signal::unix::{self, SignalKind, signal};

/// By which holders are asked to end; without a command that is no failure.
const ASKING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];
/// The others that would end the process, apart from those of a fault in its own code: what is held
/// is given back first.
const ENDING: [Signal; 10] = [
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
];

/// Every signal that would end the process and can be caught, from when it was made.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        Self::of(ASKING.into_iter().chain(ENDING))
    }

    /// All but the one that means something else to this command.
    pub(crate) fn without(own: Signal) -> Result<Self> {
        Self::of(ASKING.into_iter().chain(ENDING).filter(|number| *number != own))
    }

    fn of(numbers: impl Iterator<Item = Signal>) -> Result<Self> {
        let caught = |number: Signal| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?));
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
            asking if ASKING.contains(&asking) => Exit::Done,
            ending => Exit::Interrupted(number(ending)),
        }
    }

    /// The next one; can be dropped and asked for again.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            let mut came = self.0.iter_mut().filter_map(|(number, signal)| {
                matches!(signal.poll_recv(cx), Poll::Ready(Some(()))).then_some(*number)
            });
            came.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn number(signal: Signal) -> u8 {
    u8::try_from(signal.as_raw()).unwrap_or(0)
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
