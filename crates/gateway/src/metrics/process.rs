//! The process itself, as `/proc` tells it. Elsewhere than on Linux these series stand at 0.

use conclave_node::descriptors;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_time_seconds: Gauge,
    ticks_per_second: f64,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        let start_time_seconds = Gauge::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        start_time_seconds.set(i64::try_from(now).unwrap_or_default());
        ProcessMetrics {
            cpu_seconds: Counter::default(),
            resident_bytes: Gauge::default(),
            virtual_bytes: Gauge::default(),
            open_fds: Gauge::default(),
            max_fds: Gauge::default(),
            start_time_seconds,
            ticks_per_second: ticks_per_second().unwrap_or(100) as f64,
        }
    }
}

impl ProcessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("process_cpu_seconds", "CPU time of the process, user and system", self.cpu_seconds.clone());
        let mut gauge = |name: &str, help: &str, metric: &Gauge| registry.register(name, help, metric.clone());
        gauge("process_resident_memory_bytes", "Resident memory", &self.resident_bytes);
        gauge("process_virtual_memory_bytes", "Virtual memory", &self.virtual_bytes);
        gauge("process_open_fds", "Open file descriptors", &self.open_fds);
        gauge("process_max_fds", "File descriptors that may be open", &self.max_fds);
        gauge("os_fd_used", "Open file descriptors", &self.open_fds);
        gauge("os_fd_limit", "File descriptors that may be open", &self.max_fds);
        gauge("process_start_time_seconds", "Start of the process, seconds since the epoch", &self.start_time_seconds);
    }

    pub(super) fn refresh(&self) {
        if let Some(ticks) = cpu_ticks() {
            let seconds = ticks as f64 / self.ticks_per_second;
            self.cpu_seconds.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.resident_bytes.set(status_bytes(&status, "VmRSS:"));
        self.virtual_bytes.set(status_bytes(&status, "VmSize:"));
        let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_fds.set(i64::try_from(fds).unwrap_or(i64::MAX));
        self.max_fds.set(i64::try_from(descriptors::limit()).unwrap_or(i64::MAX));
    }
}

/// Fields 14 and 15 of `stat`; the second field, the name, may hold anything and ends at the last
/// parenthesis.
fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn status_bytes(status: &str, name: &str) -> i64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<i64>().ok()).unwrap_or_default() * 1024
}

/// The unit of `stat`, from the auxiliary vector: pairs of words (key, value).
fn ticks_per_second() -> Option<u64> {
    const AT_CLKTCK: usize = 17;
    const WORD: usize = size_of::<usize>();
    let vector = fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).ok();
    let pair = vector.chunks_exact(2 * WORD).find(|pair| word(&pair[..WORD]) == Some(AT_CLKTCK))?;
    word(&pair[WORD..]).and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let process = ProcessMetrics::default();
        process.refresh();
        assert!(process.resident_bytes.get() > 1 << 20);
        assert!(process.virtual_bytes.get() >= process.resident_bytes.get());
        assert!(process.open_fds.get() > 2 && process.max_fds.get() > process.open_fds.get());
        assert!((1.0..=1_000_000.0).contains(&process.ticks_per_second));
    }
}
