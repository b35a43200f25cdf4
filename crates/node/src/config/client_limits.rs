//! What one connection or one user may use of a member:
//! `requests=100,bytes=1048576,watchers=1000,leases=100,waiting=50`.

use super::problems::Problems;
use super::settings::Settings;

/// The most of each; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Calls that begin within a second.
    pub requests: Option<u64>,
    /// Of the messages of calls, within a second.
    pub bytes: Option<u64>,
    /// Watches that are open.
    pub watchers: Option<u64>,
    /// Leases that were granted and have not ended.
    pub leases: Option<u64>,
    /// Calls that wait for a lock, a leadership or a claim.
    pub waiting: Option<u64>,
}

impl ClientLimits {
    /// Whether anything is limited.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != ClientLimits::default()
    }
}

/// Limits of connections and of users.
pub(super) fn check(s: &Settings, p: &mut Problems) -> (ClientLimits, ClientLimits) {
    let mut of = |name, text: &Option<String>| {
        let parsed = text.as_deref().map_or(Ok(ClientLimits::default()), parse);
        p.take(name, parsed, ClientLimits::default())
    };
    (of("connection-limits", &s.connection_limits), of("user-limits", &s.user_limits))
}

fn parse(text: &str) -> Result<ClientLimits, String> {
    let mut limits = ClientLimits::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, number) = part.split_once('=').ok_or_else(|| format!("{part:?} has no number: NAME=NUMBER"))?;
        let field = match name {
            "requests" => &mut limits.requests,
            "bytes" => &mut limits.bytes,
            "watchers" => &mut limits.watchers,
            "leases" => &mut limits.leases,
            "waiting" => &mut limits.waiting,
            _ => return Err(format!("{name:?} is none of: requests, bytes, watchers, leases, waiting")),
        };
        let number: u64 = number.parse().map_err(|_| format!("{part:?}: {number:?} is not a whole number"))?;
        if !(1..=MOST).contains(&number) {
            return Err(format!("{part:?}: from 1 to {MOST}; leave it out for no limit"));
        }
        if field.replace(number).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    Ok(limits)
}

/// A nanosecond for each.
const MOST: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_limited() {
        assert_eq!(parse(""), Ok(ClientLimits::default()));
        let limits = parse("requests=100, waiting=5").expect("two limits");
        let expected = ClientLimits { requests: Some(100), waiting: Some(5), ..ClientLimits::default() };
        assert!(limits == expected && limits.is_any() && !ClientLimits::default().is_any());
        for wrong in
            ["requests", "requests=x", "requests=0", "calls=1", "bytes=-1", "bytes=1,bytes=2", "leases=9999999999"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
