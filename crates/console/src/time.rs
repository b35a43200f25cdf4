//! Times as people say them.

use std::time::Duration;

/// When something was changed: the revision, and how long ago that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    pub revision: i64,
    pub age: Age,
}

/// How long ago, as far as the member knows that shows it: the store has no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    About(Duration),
    /// It was so when this member began to look.
    Over(Duration),
}

/// What is left of a lease or a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Time(Duration),
    /// Only the leader knows, and this member does not lead.
    AtLeader,
    /// It is not limited, or there is nothing that could end.
    Unlimited,
    /// It does not end while it is pinned.
    Pinned,
}

/// In the two largest units.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() > 0 => format!("{} ms", time.as_millis()),
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Small times, such as those of a network.
pub(crate) fn fine(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        _ => duration(time),
    }
}

impl Age {
    pub(crate) fn words(self) -> String {
        match self {
            // Two looks are a second apart, so less would be pretended.
            Age::About(time) if time.as_secs() == 0 => "1 s".to_owned(),
            Age::About(time) => duration(Duration::from_secs(time.as_secs())),
            Age::Over(time) => format!("over {}", duration(Duration::from_secs(time.as_secs()))),
        }
    }
}

impl Left {
    pub(crate) fn words(self) -> String {
        match self {
            Left::Time(time) => duration(time),
            Left::AtLeader => "see leader".to_owned(),
            Left::Unlimited => "–".to_owned(),
            Left::Pinned => "pinned".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units() {
        for (millis, expected) in [
            (0, "0 s"),
            (20, "20 ms"),
            (1_500, "1 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!(duration(Duration::MAX), "213503982334601 d 7 h");
        assert_eq!(fine(Duration::from_micros(1_234)), "1.2 ms");
        assert_eq!(Age::Over(Duration::from_millis(61_400)).words(), "over 1 min 1 s");
    }
}
