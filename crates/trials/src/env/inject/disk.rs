//! Faults of disks: power, syncs, room.

use super::{Outcome, Undo, come_back, no};
use crate::env::{
    fault::Effect,
    node::{NodeState, killed},
    shim::Sync,
    strace::{Strace, Tamper},
    tools::{ask_every, wait_until},
    world::World,
};
use anyhow::{Context, Result};
use std::{sync::Arc, time::Duration};

/// Less room than this is none.
const NOTHING: u64 = 64 * 1024;
/// How long a node may take to end when its disk fails.
const ENDS: Duration = Duration::from_secs(6);
/// Between two looks at a node that is held still.
const LOOK: Duration = Duration::from_millis(50);

/// What is wrong with syncs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Slow { millis: u64 },
    Fail,
    Lie,
}

/// Whether the nodes' system calls go through the shim: every node has synced something by the time
/// it serves.
pub(super) fn shim_works(world: &World) -> bool {
    let through = |page: &super::super::shim::Page| page.seen().is_ok_and(|seen| seen.attached != 0 && seen.syncs > 0);
    world.seated().into_iter().all(|node| world.nodes[node].site.page.as_ref().is_some_and(through))
}

/// Cuts the power of the nodes' disks; ends the nodes with it, or leaves them alive to see that
/// their disk fails.
pub(super) fn power_loss(world: &Arc<World>, nodes: &[usize], alive: bool) -> Result<Undo> {
    if nodes.iter().any(|node| world.nodes[*node].is_dark()) {
        return Err(no("the power is off already").into());
    }
    let mut effects = Vec::new();
    if !alive {
        // All at the same moment, as far as they can tell.
        for node in nodes {
            world.nodes[*node].hold_still()?;
        }
    }
    for node in nodes {
        let pid = world.nodes[*node].cut(alive)?;
        effects.extend(pid.filter(|_| !alive).map(|pid| killed(*node, pid)));
    }
    if !alive {
        for node in nodes {
            world.nodes[*node].let_go()?;
        }
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let mut all_lost = true;
        for node in nodes.iter().filter(|_| alive) {
            let pid = world.nodes[*node].pid();
            effects.extend(pid.and_then(|pid| sees_and_ends(world, *node, pid)));
        }
        for node in &nodes {
            let (loss, started) = world.nodes[*node].recover(alive)?;
            all_lost &= loss.canary_bytes > 0 && loss.canary_kept;
            effects.push(Effect::Lost { node: *node, loss });
            effects.extend(started.map(|pid| Effect::Started { node: *node, pid }));
        }
        effects.extend(come_back(world, &nodes));
        Ok(Outcome::new(effects, all_lost))
    }))
}

pub(super) fn sync(world: &Arc<World>, nodes: &[usize], trouble: Trouble) -> Result<Undo> {
    if shim_works(world) { sync_by_shim(world, nodes, trouble) } else { sync_by_strace(world, nodes, trouble) }
}

fn sync_by_shim(world: &Arc<World>, nodes: &[usize], trouble: Trouble) -> Result<Undo> {
    let mode = match trouble {
        Trouble::Slow { millis } => Sync::Slow { nanos: millis * 1_000_000 },
        Trouble::Fail => Sync::Fail,
        Trouble::Lie => Sync::Lie,
    };
    let mut before = Vec::new();
    for node in nodes {
        let page = world.nodes[*node].site.page.as_ref().context("no page")?;
        before.push((*node, world.nodes[*node].pid(), page.seen()?.syncs_changed));
        page.set_sync(mode)?;
    }
    Ok(Box::new(move |world| {
        let mut effects = Vec::new();
        for (node, _, before) in &before {
            let page = world.nodes[*node].site.page.as_ref().context("no page")?;
            page.set_sync(Sync::AsUsual)?;
            let changed = u64::try_from(page.seen()?.syncs_changed - before).unwrap_or_default();
            effects.push(Effect::Syncs { node: *node, changed });
        }
        let processes: Vec<_> = before.iter().map(|(node, pid, _)| (*node, *pid)).collect();
        after_syncs(world, &processes, effects, trouble)
    }))
}

fn sync_by_strace(world: &Arc<World>, nodes: &[usize], trouble: Trouble) -> Result<Undo> {
    let tamper = match trouble {
        Trouble::Slow { millis } => Tamper::Delay { micros: millis * 1000 },
        Trouble::Fail => Tamper::Fail,
        Trouble::Lie => Tamper::Lie,
    };
    let mut attached = Vec::new();
    for node in nodes {
        let Some(pid) = world.nodes[*node].pid() else { return Err(no("a node is down").into()) };
        let trace = world.out().join(format!("{}.strace-{}", world.nodes[*node].site.name, crate::env::now_ns()));
        attached.push((*node, Some(pid), Strace::attach(world.id(), pid, tamper, trace)?));
    }
    Ok(Box::new(move |world| {
        let mut effects = Vec::new();
        for (node, _, strace) in &attached {
            effects.push(Effect::Syncs { node: *node, changed: strace.detach()? });
        }
        let processes: Vec<_> = attached.iter().map(|(node, pid, _)| (*node, *pid)).collect();
        after_syncs(world, &processes, effects, trouble)
    }))
}

/// Nodes that did not survive it come back with a sound disk; those that should not have do too.
/// `processes` are the nodes with what ran there when the trouble began: a process that another
/// fault has started since then has seen nothing of it.
fn after_syncs(
    world: &Arc<World>,
    processes: &[(usize, Option<u32>)],
    mut effects: Vec<Effect>,
    trouble: Trouble,
) -> Result<Outcome> {
    let mut note = String::new();
    let changed = effects.iter().filter_map(|effect| match effect {
        Effect::Syncs { node, changed } if *changed > 0 => Some(*node),
        _ => None,
    });
    let changed: Vec<usize> = changed.collect();
    let effective = !changed.is_empty();
    for (node, pid) in processes.iter().filter(|(node, _)| changed.contains(node)) {
        let (Trouble::Fail, Some(pid)) = (trouble, *pid) else { continue };
        let Some(ended) = sees_and_ends(world, *node, pid) else {
            // Nothing it says from here on is worth anything: what it could not sync may be gone.
            if world.nodes[*node].kill_process(pid)? {
                effects.push(killed(*node, pid));
                note = format!("{note}{} went on after a sync had failed. ", world.nodes[*node].site.name);
            }
            continue;
        };
        effects.push(ended);
    }
    let nodes: Vec<usize> = processes.iter().map(|(node, _)| *node).collect();
    effects.extend(revive(world, &nodes)?);
    Ok(Outcome::new(effects, effective).note(note))
}

/// Waits for a node's process to end by itself, as it should once its disk has failed; tells how it
/// did. While something else holds it still it cannot.
fn sees_and_ends(world: &Arc<World>, node: usize, pid: u32) -> Option<Effect> {
    let node = &world.nodes[node];
    let still = || matches!(node.state(), NodeState::Stopped { .. });
    while node.pid() == Some(pid) {
        if !wait_until(ENDS, || node.pid() != Some(pid) || still()) {
            return None;
        }
        std::thread::sleep(LOOK);
    }
    let how = node.exits().last()?.how.clone();
    Some(Effect::Ended { who: node.site.name.clone(), pid, how })
}

/// How long another fault may keep the power of a disk off that is to be emptied.
const DARK: Duration = Duration::from_secs(20);

/// Takes all room on the nodes' volumes.
pub(super) fn full(world: &Arc<World>, nodes: &[usize]) -> Result<Undo> {
    if nodes.iter().any(|node| world.nodes[*node].is_dark()) {
        return Err(no("the power is off").into());
    }
    let mut effects = Vec::new();
    for node in nodes {
        let (free_before, free_after) = world.nodes[*node].disk()?.fill()?;
        effects.push(Effect::Full { node: *node, free_before, free_after });
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let mut effective = false;
        for node in &nodes {
            let volume = world.nodes[*node].disk()?;
            // Another fault may have cut the power meanwhile.
            ask_every(Duration::from_millis(50), DARK, || !world.nodes[*node].is_dark());
            // Full to the end: a node that gives up files gets their room.
            effective |= volume.free()? < NOTHING;
            volume.drain()?;
        }
        for node in &nodes {
            // A node that found no room may be about to end.
            let served = || world.probe.read(*node, Duration::from_millis(500)).is_ok();
            ask_every(Duration::from_millis(50), ENDS, || world.nodes[*node].pid().is_none() || served());
        }
        effects.extend(revive(world, &nodes)?);
        Ok(Outcome::new(effects, effective))
    }))
}

/// Starts those that ended by themselves.
fn revive(world: &Arc<World>, nodes: &[usize]) -> Result<Vec<Effect>> {
    let mut effects = Vec::new();
    for node in nodes {
        effects.extend(world.nodes[*node].start()?.map(|pid| Effect::Started { node: *node, pid }));
    }
    effects.extend(come_back(world, nodes));
    Ok(effects)
}
