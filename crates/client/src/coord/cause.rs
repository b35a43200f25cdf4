//! Why a leader or holder came or went.

use crate::api::conclave::v1 as pb;
use std::fmt;

macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident = $wire:ident, $words:literal;)+) => {
        /// Why a leader or holder came or went.
        ///
        /// # Examples
        /// ```no_run
        /// # async fn example(guard: conclave_client::LockHold) {
        /// use conclave_client::{Cause, Held, LostReason};
        ///
        /// match guard.lost().await {
        ///     LostReason::TakenAway(Cause::Evicted) => println!("an operator wants it"),
        ///     LostReason::TakenAway(cause) => println!("{cause}"),
        ///     other => println!("{other}"),
        /// }
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Cause {
            $($(#[$doc])* $cause,)+
            /// None that is known: nothing happened yet, or a newer server has a cause that this
            /// client does not know.
            Unknown,
        }

        impl Cause {
            pub(crate) fn of(wire: i32) -> Self {
                match pb::Cause::try_from(wire) {
                    $(Ok(pb::Cause::$wire) => Self::$cause,)+
                    Ok(pb::Cause::Unspecified) | Err(_) => Self::Unknown,
                }
            }
        }

        impl fmt::Display for Cause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$cause => $words,)+
                    Self::Unknown => "for an unknown reason",
                })
            }
        }
    };
}

causes! {
    /// A candidate entered.
    Entered = Entered, "entered";
    /// It left by itself.
    Left = Left, "left";
    /// Its session ran out.
    Expired = Expired, "its session or its time ran out";
    /// Its session was closed.
    SessionClosed = SessionClosed, "its session was closed";
    /// It was taken out by hand.
    Evicted = Evicted, "evicted";
    /// Another was made the leader by hand.
    Anointed = Anointed, "another was anointed";
    /// A candidate was moved ahead.
    Promoted = Promoted, "promoted";
    /// A candidate was moved back.
    Demoted = Demoted, "demoted";
    /// A candidate of higher priority asked to lead at once.
    Preempted = Preempted, "preempted by a higher priority";
    /// Another session or instance of the same name took the place.
    TakenOver = TakenOver, "another session or instance took over";
    /// The leader handed over.
    Transferred = Transferred, "transferred";
    /// The leader was asked to hand over.
    TransferRequested = TransferRequested, "a transfer was requested";
    /// A request to hand over lapsed.
    TransferLapsed = TransferLapsed, "a requested transfer lapsed";
    /// The longest hold was over.
    HoldEnded = HoldEnded, "the longest hold was over";
    /// A lock-delay was over, and the first in line followed.
    DelayOver = DelayOver, "a lock-delay was over";
    /// A lock was acquired.
    Acquired = Acquired, "acquired";
    /// A lock was released.
    Released = Released, "released";
    /// Gave up waiting, or waited too long.
    Withdrawn = Withdrawn, "withdrawn";
    /// A claim was taken.
    Claimed = Claimed, "claimed";
    /// A claim was revoked.
    Revoked = Revoked, "revoked";
}
