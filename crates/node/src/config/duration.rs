//! Durations in Go's notation, as in etcd's flags: `300ms`, `1.5h`, `1h30m`.

use std::time::Duration;

/// Parses a Go duration without sign. `0` needs no unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total = part(number, unit).and_then(|part| total.checked_add(part)).ok_or_else(|| bad(text))?;
        rest = tail;
    }
    match text.is_empty() {
        true => Err(bad(text)),
        false => Ok(total),
    }
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let unit_seconds = match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * unit_seconds;
    Duration::try_from_secs_f64(seconds).ok()
}

fn bad(text: &str) -> String {
    format!("{text:?} is not a duration: write for example 500ms, 10s, 5m, 1h30m")
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn go_notation() {
        for (text, millis) in
            [("0", 0), ("100ms", 100), ("1.5s", 1_500), ("5m", 300_000), ("1h30m", 5_400_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "m", "5x", "-1s", "1h30", "..s", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
