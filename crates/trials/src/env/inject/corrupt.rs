//! Damage to the files of stopped nodes: torn ends, missing ends, flipped bytes.
//!
//! A node that wakes with damaged files is alone at first. If it ends, it has told nobody anything,
//! and it gets the files back that it had before the damage, as from a copy taken of the sound
//! disk. If it comes up, it joins the others with what it has.
//!
//! 1. Files come back only to a node that nobody has heard since the damage: it never forgets what
//!    it promised.

use super::{COMES_BACK, Outcome, Undo, no};
use crate::env::{
    fabric::rules::Rule,
    fault::{Effect, Fault},
    net::between,
    node::{Node, NodeState, killed},
    picture::files,
    tools::{run, wait_until},
    world::World,
};
use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long a damaged node is alone: longer than it takes to read its files.
const ALONE: Duration = Duration::from_secs(2);

pub(super) fn damage(world: &Arc<World>, fault: &Fault, nodes: &[usize]) -> Result<Undo> {
    if nodes.len() > (world.seated().len() - 1) / 2 {
        return Err(no("damage to a majority is not to be survived").into());
    }
    if nodes.iter().any(|node| !matches!(world.nodes[*node].state(), NodeState::Running { .. })) {
        return Err(no("a node does not run that shall be stopped and damaged").into());
    }
    let mut effects = Vec::new();
    for node in nodes {
        let (node, plan) = (&world.nodes[*node], world.plan);
        let copy = world.out().join(format!("{}.sound", node.site.name));
        if std::fs::create_dir(&copy).is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            return Err(no("the node is being damaged already").into());
        }
        effects.extend(node.hold_down()?.map(|pid| killed(node.index, pid)));
        copy_tree(&node.data, &copy)?;
        match spoil(node, fault) {
            Ok(damage) => effects.extend(damage),
            Err(error) => {
                node.let_up()?;
                std::fs::remove_dir_all(&copy)?;
                return Err(error);
            }
        }
        let mut links = between(&[node.index], &plan.everybody());
        links.extend(between(&[node.index], &[plan.runner()]));
        let layer = world.net.add(&links, &Rule::cut());
        let started = node.let_up()?;
        effects.extend(started.map(|pid| Effect::Started { node: node.index, pid }));
        let ended = wait_until(ALONE, || node.pid().is_none());
        if ended {
            let how = node.exits().last().map(|exit| exit.how.clone()).unwrap_or_default();
            effects.push(Effect::Refused { node: node.index, how });
            std::fs::remove_dir_all(&node.data)?;
            std::fs::create_dir(&node.data)?;
            copy_tree(&copy, &node.data)?;
            // The directory as it was last, and not an older copy: the member need not wait for all
            // others to say so.
            match std::fs::remove_file(node.data.join("PLACE")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            // A restore is done when it is on the disk: the next power loss must find it.
            run("sync", ["-f".as_ref(), node.data.as_os_str()])?;
            effects.extend(node.start()?.map(|pid| Effect::Started { node: node.index, pid }));
        } else {
            effects.push(Effect::Survived { node: node.index });
        }
        world.net.remove(layer);
        std::fs::remove_dir_all(&copy)?;
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let quiet = world.is_quiet();
        for node in nodes.iter().filter(|node| quiet && !world.nodes[**node].ready(COMES_BACK)) {
            effects.push(Effect::NotReady { node: *node });
        }
        let effective = effects.iter().any(|effect| matches!(effect, Effect::Damaged { .. }));
        Ok(Outcome::new(effects, effective))
    }))
}

/// What a directory holds, into one that is there.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    run("cp", ["-a".as_ref(), from.join(".").as_os_str(), to.as_os_str()]).map(drop)
}

fn spoil(node: &Node, fault: &Fault) -> Result<Vec<Effect>> {
    let all = files(&node.data)?;
    let length = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
    let mut effects = Vec::new();
    let mut record = |path: &Path, offset, bytes| {
        let file = path.strip_prefix(&node.data).unwrap_or(path).display().to_string();
        effects.push(Effect::Damaged { node: node.index, file, offset, bytes });
    };
    match fault {
        Fault::TornTail { bytes, .. } => {
            let log = newest_log(&all).ok_or_else(|| no("nothing is written to the node's log yet"))?;
            let (file, end) = (OpenOptions::new().read(true).write(true).open(&log)?, end_of_data(&log)?);
            // The beginning of the log's last bytes over again: a record that starts well and
            // stops.
            let size = (*bytes).clamp(1, end.max(1));
            let mut torn = vec![0; usize::try_from(size)?];
            file.read_exact_at(&mut torn, end - size)?;
            file.write_all_at(&torn, end)?;
            record(&log, end, size);
        }
        Fault::Truncate { bytes, .. } => {
            let log = newest_log(&all).ok_or_else(|| no("nothing is written to the node's log yet"))?;
            let end = end_of_data(&log)?;
            let keep = end.saturating_sub(*bytes);
            OpenOptions::new().write(true).open(&log)?.set_len(keep)?;
            record(&log, keep, end - keep);
        }
        Fault::FlipBytes { count, seed, .. } => {
            let mut dice = StdRng::seed_from_u64(*seed);
            let targets: Vec<&PathBuf> = all.iter().filter(|path| is_data(path) && length(path) > 0).collect();
            for _ in 0..*count {
                let path = *targets.get(dice.random_range(0..targets.len().max(1))).context("the node has no files")?;
                let offset = dice.random_range(0..length(path));
                let file = OpenOptions::new().read(true).write(true).open(path)?;
                let mut byte = [0];
                file.read_exact_at(&mut byte, offset)?;
                byte[0] ^= 1 << dice.random_range(0..8u32);
                file.write_all_at(&byte, offset)?;
                record(path, offset, 1);
            }
        }
        other => return Err(no(&format!("{} damages no files", other.name())).into()),
    }
    Ok(effects)
}

/// Whether a file holds the node's data, and not remarks on it.
fn is_data(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(extension, "log" | "sst" | "wal" | "db" | "blob") || name.starts_with("MANIFEST")
}

/// The log that is written to.
fn newest_log(all: &[PathBuf]) -> Option<PathBuf> {
    let logs =
        all.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log" || extension == "wal"));
    let written = logs.filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)));
    written.filter(|(_, path)| end_of_data(path).is_ok_and(|end| end > 0)).max().map(|(_, path)| path.clone())
}

/// Where a file that was made larger than its content really ends.
fn end_of_data(path: &Path) -> Result<u64> {
    let bytes = std::fs::read(path)?;
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    Ok((bytes.len() - zeros) as u64)
}
