//! Times: as Go writes them (`5s`, `1m30s`, `500ms`), and times to live, which may also be plain
//! seconds.

use std::time::Duration;

/// The longest time to live that a cluster grants, in seconds.
const LONGEST_TTL: i64 = 9_000_000_000;

/// A time with its unit.
///
/// # Errors
/// It is not one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write it with units, such as 5s, 1m30s or 500ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let value: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        total += value * unit;
        rest = &rest[end..];
    }
    if text.is_empty() { Err(wrong()) } else { Duration::try_from_secs_f64(total).map_err(|_| wrong()) }
}

/// A time to live: whole seconds, or a time with its unit; more than nothing.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<i64>() {
        Ok(seconds) => Duration::from_secs(u64::try_from(ttl_seconds(text, seconds)?).unwrap_or(0)),
        Err(_) if text.strip_prefix('-').is_some() => {
            return Err(format!("{text}: a time to live cannot be negative"));
        }
        Err(_) => duration(text)?,
    };
    match i64::try_from(time.as_secs()) {
        Ok(_) if time.is_zero() => {
            Err(format!("{text}: a time to live of nothing would end before it began; 10s is usual"))
        }
        Ok(seconds) if seconds <= LONGEST_TTL => Ok(time),
        _ => Err(too_long(text)),
    }
}

/// Checks a time to live in whole seconds.
pub(crate) fn ttl_seconds(text: &str, seconds: i64) -> Result<i64, String> {
    match seconds {
        ..0 => Err(format!("{text}: a time to live cannot be negative")),
        0 => Err(format!("{text}: a time to live of nothing would end before it began; 10 (seconds) is usual")),
        1..=LONGEST_TTL => Ok(seconds),
        _ => Err(too_long(text)),
    }
}

fn too_long(text: &str) -> String {
    format!("{text}: the longest time to live is {LONGEST_TTL}s (285 years); 10s to a few minutes are usual")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        for (text, millis) in
            [("5s", 5_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1_500), ("2h", 7_200_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-5s", "5 s", "1e9s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_to_live_that_make_sense() {
        assert_eq!(ttl("10"), Ok(Duration::from_secs(10)));
        assert_eq!(ttl("1500ms"), Ok(Duration::from_millis(1_500)));
        for (text, says) in [
            ("0", "before it began"),
            ("0s", "before it began"),
            ("-5", "negative"),
            ("-5s", "negative"),
            ("9000000001", "longest"),
            ("99999999999999999999", "not a time"),
            ("9999999999h", "longest"),
            ("soon", "not a time"),
        ] {
            let error = ttl(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
