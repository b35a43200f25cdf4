//! CPU shares: a control group for each node, of either version, whichever can be written.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const PERIOD: u64 = 100_000;

/// Where groups can be made.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    root: PathBuf,
    second: bool,
}

/// One node's group. The guard removes it.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    second: bool,
}

impl Hierarchy {
    /// A hierarchy that controls CPU time and lets this process make groups.
    pub(crate) fn find() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let mut tried = Vec::new();
        for line in mounts.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(dir), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let first = kind == "cgroup" && options.split(',').any(|option| option == "cpu");
            if !first && kind != "cgroup2" {
                continue;
            }
            let found = Self { root: dir.into(), second: !first };
            match found.probe() {
                Ok(()) => return Ok(found),
                Err(error) => tried.push(format!("{dir}: {error:#}")),
            }
        }
        anyhow::bail!("no control group for CPU time ({})", tried.join("; "))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn create(&self, name: &str) -> Result<Group> {
        let dir = self.root.join(name);
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Group { dir, second: self.second })
    }

    fn probe(&self) -> Result<()> {
        let controllers = self.root.join("cgroup.subtree_control");
        if self.second && !std::fs::read_to_string(&controllers)?.contains("cpu") {
            anyhow::bail!("the cpu controller is not enabled for groups below");
        }
        let group = self.create(&format!("ctprobe{}", std::process::id()))?;
        let limited = group.limit(50).and_then(|()| group.throttled());
        std::fs::remove_dir(&group.dir)?;
        limited.map(drop)
    }
}

impl Group {
    /// The file through which a process joins.
    pub(crate) fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// At most this share of one processor.
    pub(crate) fn limit(&self, percent: u64) -> Result<()> {
        let quota = PERIOD * percent.max(1) / 100;
        if self.second {
            return Ok(std::fs::write(self.dir.join("cpu.max"), format!("{quota} {PERIOD}"))?);
        }
        std::fs::write(self.dir.join("cpu.cfs_period_us"), PERIOD.to_string())?;
        Ok(std::fs::write(self.dir.join("cpu.cfs_quota_us"), quota.to_string())?)
    }

    /// As much as there is.
    pub(crate) fn free(&self) -> Result<()> {
        let (file, text) = if self.second { ("cpu.max", "max") } else { ("cpu.cfs_quota_us", "-1") };
        Ok(std::fs::write(self.dir.join(file), text)?)
    }

    /// How many periods the group wanted more than it got.
    pub(crate) fn throttled(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(self.dir.join("cpu.stat"))?;
        let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.context("cpu.stat has no nr_throttled")?.trim().parse().context("nr_throttled")
    }
}
