//! Faults that are too much or too little: CPU, compactions, log.

use super::{Background, Outcome, Undo, no};
use crate::{
    env::{
        fabric::rules::Rule,
        fault::Effect,
        net::between,
        tools::{lock, wait_until},
        world::World,
    },
    history::{Compaction, now},
};
use anyhow::Result;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// One turn of a node that is stopped and continued to take CPU from it.
const TURN_MS: u64 = 100;
/// What a node says when it gets a snapshot: Conclave, and etcd.
const RECEIVES: [&str; 2] = ["receiving a snapshot", "received and saved database snapshot"];

pub(super) fn cpu(world: &Arc<World>, nodes: &[usize], percent: u64) -> Result<Undo> {
    if nodes.iter().any(|node| world.nodes[*node].site.group.is_none()) {
        return by_turns(world, nodes, percent);
    }
    let mut before = Vec::new();
    for group in nodes.iter().filter_map(|node| world.nodes[*node].site.group.as_ref()) {
        before.push(group.throttled()?);
        group.limit(percent)?;
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let mut effects = Vec::new();
        for (node, before) in nodes.into_iter().zip(before) {
            let Some(group) = &world.nodes[node].site.group else { continue };
            group.free()?;
            effects.push(Effect::Throttled { node, periods: group.throttled()?.saturating_sub(before) });
        }
        let effective =
            effects.iter().any(|effect| matches!(effect, Effect::Throttled { periods, .. } if *periods > 0));
        Ok(Outcome::new(effects, effective))
    }))
}

fn by_turns(world: &Arc<World>, nodes: &[usize], percent: u64) -> Result<Undo> {
    let turns: Arc<Mutex<Vec<u64>>> = Arc::new(Mutex::new(vec![0; world.nodes()]));
    let (worker, count, targets) = (Arc::clone(world), Arc::clone(&turns), nodes.to_vec());
    let runs = Duration::from_millis(TURN_MS * percent.min(99) / 100);
    let background = Background::start(move |stop| {
        while stop.sleep(runs) {
            for node in &targets {
                if let Ok(Some((_, true))) = worker.nodes[*node].hold_still() {
                    lock(&count)[*node] += 1;
                }
            }
            stop.sleep(Duration::from_millis(TURN_MS).saturating_sub(runs));
            for node in &targets {
                // A node that is gone needs no leave.
                let _ = worker.nodes[*node].let_go();
            }
        }
    })?;
    let nodes = nodes.to_vec();
    Ok(Box::new(move |_| {
        drop(background);
        let turns = lock(&turns);
        let effects: Vec<Effect> =
            nodes.iter().map(|node| Effect::Throttled { node: *node, periods: turns[*node] }).collect();
        let effective = nodes.iter().any(|node| turns[*node] > 0);
        Ok(Outcome::new(effects, effective).note("by stopping in turns"))
    }))
}

pub(super) fn compaction(world: &Arc<World>, every_ms: u64) -> Result<Undo> {
    let done = Arc::new(Mutex::new((0, Vec::new())));
    let (worker, count) = (Arc::clone(world), Arc::clone(&done));
    let background = Background::start(move |stop| {
        let patience = Duration::from_millis(500);
        let mut node = 0;
        while stop.sleep(Duration::from_millis(every_ms)) {
            // Round the nodes, so that one that is down does not end the storm.
            node = (node + 1) % worker.nodes();
            let Ok(revision) = worker.probe.read(node, patience) else { continue };
            lock(&count).1.push(Compaction { asked: now(), revision });
            if worker.probe.compact(node, revision).is_ok() {
                lock(&count).0 += 1;
            }
        }
    })?;
    Ok(Box::new(move |_| {
        drop(background);
        let (times, asked) = std::mem::take(&mut *lock(&done));
        Ok(Outcome::new(vec![Effect::Compacted { times, asked }], times > 0))
    }))
}

/// Cuts nodes off; what they miss meanwhile must reach them as a snapshot.
pub(super) fn snapshot_lag(world: &Arc<World>, nodes: &[usize]) -> Result<Undo> {
    let plan = world.plan;
    let links = between(nodes, &plan.everybody());
    if nodes.len() > (world.seated().len() - 1) / 2 {
        return Err(no("a majority cannot be left behind").into());
    }
    let received =
        |world: &World, node: usize| RECEIVES.iter().map(|text| world.nodes[node].count_in_log(text)).sum::<u64>();
    let before: Vec<u64> = nodes.iter().map(|node| received(world, *node)).collect();
    let layer = world.net.add(&links, &Rule::cut());
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let statuses = world.statuses();
        let newest = statuses.iter().flatten().map(|status| status.raft_index).max().unwrap_or_default();
        let behind = |node: usize| statuses[node].as_ref().map_or(0, |status| newest.saturating_sub(status.applied));
        let mut effects = vec![Effect::Packets(world.net.remove(layer))];
        let mut effective = false;
        for (node, before) in nodes.iter().zip(before) {
            wait_until(Duration::from_secs(10), || received(world, *node) > before);
            let received = received(world, *node) - before;
            effective |= received > 0;
            effects.push(Effect::Snapshots { node: *node, received, behind: behind(*node) });
        }
        Ok(Outcome::new(effects, effective))
    }))
}
