//! What the servers' processes have used, from `/proc`.
//!
//! The kernel counts CPU time in ticks, usually of 10 ms: over a run of seconds that is exact
//! enough. Bytes written are those that were sent to a block device, so on tmpfs there are none.

use conclave_cli::failure::{Failure, Result};

/// Used so far by one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
    pub(super) resident_bytes: u64,
    /// `None` if the kernel does not say, which takes the same user or root.
    pub(super) written_bytes: Option<u64>,
}

/// All of them, in the order of the ids.
pub(super) fn sample(pids: &[u32]) -> Result<Vec<Usage>> {
    pids.iter().map(|pid| usage(*pid)).collect()
}

/// As `sample`; a process that has ended counts as it did before.
pub(super) fn sample_again(pids: &[u32], before: &[Usage]) -> Vec<Usage> {
    let one = |(pid, before): (&u32, &Usage)| usage(*pid).unwrap_or(Usage { resident_bytes: 0, ..*before });
    pids.iter().zip(before).map(one).collect()
}

fn usage(pid: u32) -> Result<Usage> {
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| {
            Failure::usage(format!("--pids {pid}: there is no such process here ({error})"))
                .hint("give the process ids of servers on this machine, or leave --pids out")
        })
    };
    let strange = |file: &str| Failure::usage(format!("--pids {pid}: /proc/{pid}/{file} is not as Linux writes it"));
    let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let (user, system) = cpu_ticks(&read("stat")?).ok_or_else(|| strange("stat"))?;
    let pages = resident_pages(&read("statm")?).ok_or_else(|| strange("statm"))?;
    Ok(Usage {
        user_us: user * tick_us,
        system_us: system * tick_us,
        resident_bytes: pages * rustix::param::page_size() as u64,
        written_bytes: read("io").ok().and_then(|io| written_bytes(&io)),
    })
}

/// User and system time. The name, in parentheses, may hold blanks and parentheses; the times are
/// the 12th and 13th field after it.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn written_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "12 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14 20 0 9 0 77";
        assert_eq!(cpu_ticks(stat), Some((111, 222)));
        assert_eq!(cpu_ticks("12 (a"), None);
        assert_eq!(cpu_ticks("12 (a) S 1 2"), None);
        assert_eq!(resident_pages("1000 250 30 4 0 5 0\n"), Some(250));
        assert_eq!(resident_pages(""), None);
        assert_eq!(written_bytes("rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\n"), Some(4096));
        assert_eq!(written_bytes("rchar: 1\n"), None);
    }

    #[test]
    fn this_process_is_found_and_an_absent_one_is_refused() {
        let own = sample(&[std::process::id()]).expect("this process");
        assert!(own[0].resident_bytes > 100_000, "{own:?}");
        let failure = sample(&[u32::MAX]).expect_err("no such process");
        assert!(failure.to_string().contains("no such process"), "{failure}");
        assert_eq!(sample_again(&[u32::MAX], &own)[0].user_us, own[0].user_us);
    }
}
