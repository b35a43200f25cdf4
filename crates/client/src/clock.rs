//! The clock that sessions live by: it never goes back, it cannot be set, and it goes on while the
//! machine sleeps.
//!
//! A clock that stands still during suspend (as [`std::time::Instant`] does on Linux) would let a
//! holder wake up and believe in a lock that has long been given to somebody else.

use futures::future::BoxFuture;
use std::{fmt, ops::Add, time::Duration};

/// A point in time on a [`Clock`]: the time since some fixed moment, usually the machine's start.
/// Not comparable between machines.
///
/// # Examples
/// ```
/// use conclave_client::clock::Moment;
/// use std::time::Duration;
///
/// let (before, after) = (Moment::at(Duration::from_secs(5)), Moment::at(Duration::from_secs(5)) + Duration::from_secs(2));
/// assert_eq!(after.since(before), Duration::from_secs(2));
/// assert_eq!(before.since(after), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

/// All of it as in the [example](Moment#examples).
impl Moment {
    /// The moment so long after the clock's beginning.
    #[must_use]
    pub const fn at(since_beginning: Duration) -> Self {
        Self(since_beginning)
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// A source of [`Moment`]s, and of sleep that ends at one.
///
/// Tests put their own in [`Builder::clock`](crate::Builder::clock), to move time by hand.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), conclave_client::Error> {
/// use conclave_client::{Client, Clock, clock::Moment};
/// use futures::future::BoxFuture;
/// use std::{sync::Arc, time::Duration};
/// use tokio::sync::watch;
///
/// /// Stands still until it is moved.
/// #[derive(Debug)]
/// struct ByHand(watch::Sender<Moment>);
///
/// impl Clock for ByHand {
///     fn now(&self) -> Moment {
///         *self.0.borrow()
///     }
///
///     fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
///         let mut now = self.0.subscribe();
///         Box::pin(async move { drop(now.wait_for(|now| *now >= moment).await) })
///     }
/// }
///
/// let clock = Arc::new(ByHand(watch::Sender::new(Moment::default())));
/// let client = Client::builder().endpoints(["127.0.0.1:2379"]).clock(Arc::clone(&clock) as _).build()?;
/// // An hour passes, for this client.
/// clock.0.send_replace(clock.now() + Duration::from_secs(3600));
/// # Ok(())
/// # }
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now. Never less than before.
    fn now(&self) -> Moment;

    /// Ends at `moment`, not before; at once if it has passed. After a suspend over `moment`, ends
    /// on resume.
    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()>;
}

/// The machine's clock since its start, counting the time it was suspended: `CLOCK_BOOTTIME`.
///
/// Elsewhere than on Linux it is `CLOCK_MONOTONIC`, which counts suspends on macOS and not on
/// others.
///
/// # Examples
/// ```
/// use conclave_client::{Clock, clock::BootClock};
///
/// let earlier = BootClock.now();
/// assert!(BootClock.now() >= earlier);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let now = rustix::time::clock_gettime(system::CLOCK);
        let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        Moment(Duration::new(seconds, nanos))
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while BootClock.now() < moment {
                system::sleep(moment, moment.since(BootClock.now())).await;
            }
        })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::Moment;
    use rustix::{
        fd::OwnedFd,
        time::{
            ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
            timerfd_settime,
        },
    };
    use std::{io, time::Duration};
    use tokio::io::unix::AsyncFd;

    pub(super) const CLOCK: ClockId = ClockId::Boottime;
    /// How often a sleeper looks at the clock where the kernel gives it no timer (out of file
    /// descriptors).
    const SLICE: Duration = Duration::from_millis(100);

    /// The runtime's timers stand still while the machine is suspended; this one fires on resume.
    pub(super) async fn sleep(until: Moment, left: Duration) {
        match timer(until) {
            Ok(timer) => drop(timer.readable().await),
            Err(_) => tokio::time::sleep(left.min(SLICE)).await,
        }
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe because it takes descriptors that may be closed; this one is owned"
    )]
    fn timer(Moment(at): Moment) -> io::Result<AsyncFd<OwnedFd>> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        let at = Timespec { tv_sec: seconds, tv_nsec: at.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        AsyncFd::new(timer)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Moment;
    use rustix::time::ClockId;
    use std::time::Duration;

    pub(super) const CLOCK: ClockId = ClockId::Monotonic;
    /// How often a sleeper looks at the clock, because the runtime's timers may stand still while
    /// the machine is suspended.
    const SLICE: Duration = Duration::from_millis(100);

    pub(super) async fn sleep(_until: Moment, left: Duration) {
        tokio::time::sleep(left.min(SLICE)).await;
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use super::{Clock, Moment};
    use futures::future::BoxFuture;
    use std::time::Duration;
    use tokio::sync::watch;

    /// A clock that goes only when told, as over a suspend.
    #[derive(Debug)]
    pub(crate) struct FakeClock(watch::Sender<Moment>);

    impl Default for FakeClock {
        fn default() -> Self {
            Self(watch::Sender::new(Moment::at(Duration::from_secs(1000))))
        }
    }

    impl FakeClock {
        pub(crate) fn advance(&self, time: Duration) {
            self.0.send_modify(|now| *now = *now + time);
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> Moment {
            *self.0.borrow()
        }

        fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
            let mut now = self.0.subscribe();
            // Without its clock nobody waits for anything any more.
            Box::pin(async move { drop(now.wait_for(|now| *now >= moment).await) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_do_not_wrap() {
        let (early, late) = (Moment::at(Duration::from_secs(1)), Moment::at(Duration::MAX));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::from_secs(1), late);
    }

    #[tokio::test]
    async fn the_boot_clock_sleeps_no_shorter_than_asked() {
        let start = BootClock.now();
        let end = start + Duration::from_millis(30);
        BootClock.sleep_until(end).await;
        assert!(BootClock.now() >= end);
        // What has passed already is no sleep.
        BootClock.sleep_until(start).await;
    }
}
