//! Sizes, times and ids as people read them.

use std::time::Duration;

/// `20 kB`, as etcdctl rounds it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = bytes as f64;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A time as Go prints it: `4.118961ms`, `1m2.5s`.
pub(crate) fn go_duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A time for reading: at most two digits after the point, nothing finer than milliseconds.
pub(crate) fn time(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}s", decimal(millis / 10 * 10, 1_000)),
        _ => go_duration(Duration::from_secs(time.as_secs())),
    }
}

/// Milliseconds for reading; `none` if there are none.
pub(crate) fn millis(millis: u64) -> String {
    if millis == 0 { "-".into() } else { time(Duration::from_millis(millis)) }
}

/// A lease or session.
pub(crate) fn lease(id: i64) -> String {
    format!("{id:016x}")
}

/// A lease or session, or a dash for none.
pub(crate) fn lease_or_dash(id: i64) -> String {
    if id == 0 { "-".into() } else { lease(id) }
}

/// A text, or a dash for the empty one.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.to_owned() }
}

/// A number, or a dash for none.
pub(crate) fn number(number: i64) -> String {
    if number == 0 { "-".into() } else { number.to_string() }
}

fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_etcdctl_prints_them() {
        let cases = [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (20_418, "20 kB"),
            (25_600_000, "26 MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_as_go_prints_them() {
        let cases = [
            (0, "0s"),
            (512, "512ns"),
            (1_500, "1.5µs"),
            (4_118_961, "4.118961ms"),
            (2_000_000_000, "2s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(time(Duration::from_millis(9_876)), "9.87s");
        assert_eq!(time(Duration::from_millis(61_200)), "1m1s");
    }
}
