//! Faults of processes: killed, stopped, restarted.

use super::{Background, Outcome, Undo, come_back, no};
use crate::env::{
    clock::now_ns,
    fault::Effect,
    node::{how, killed, name},
    tools::lock,
    world::{LONG, World},
};
use anyhow::Result;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long a node may take to end when asked to.
const ENDS: Duration = Duration::from_secs(20);

pub(super) fn kill(world: &Arc<World>, nodes: &[usize]) -> Result<Undo> {
    // All are stopped first, so that none sees another go.
    for node in nodes {
        world.nodes[*node].hold_still()?;
    }
    let mut effects = Vec::new();
    for node in nodes {
        effects.extend(world.nodes[*node].hold_down()?.map(|pid| killed(*node, pid)));
        world.nodes[*node].let_go()?;
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let effective = !effects.is_empty();
        for node in &nodes {
            effects.extend(world.nodes[*node].let_up()?.map(|pid| Effect::Started { node: *node, pid }));
        }
        effects.extend(come_back(world, &nodes));
        Ok(Outcome::new(effects, effective))
    }))
}

pub(super) fn crash_loop(world: &Arc<World>, nodes: &[usize], up_ms: u64) -> Result<Undo> {
    let seen: Arc<Mutex<Vec<Effect>>> = Arc::default();
    let (worker, effects, targets) = (Arc::clone(world), Arc::clone(&seen), nodes.to_vec());
    let background = Background::start(move |stop| {
        while !stop.asked() {
            for node in &targets {
                let (Ok(ended), Ok(started)) = (worker.nodes[*node].kill(), worker.nodes[*node].start()) else {
                    return;
                };
                let mut effects = lock(&effects);
                effects.extend(ended.map(|pid| killed(*node, pid)));
                effects.extend(started.map(|pid| Effect::Started { node: *node, pid }));
            }
            stop.sleep(Duration::from_millis(up_ms.max(10)));
        }
    })?;
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        drop(background);
        let mut effects = std::mem::take(&mut *lock(&seen));
        let kills = effects.iter().filter(|effect| matches!(effect, Effect::Ended { .. })).count();
        for node in &nodes {
            effects.extend(world.nodes[*node].start()?.map(|pid| Effect::Started { node: *node, pid }));
        }
        effects.extend(come_back(world, &nodes));
        Ok(Outcome::new(effects, kills > 1).note(format!("{kills} kills")))
    }))
}

pub(super) fn rolling_restart(world: &Arc<World>) -> Result<Undo> {
    let seen: Arc<Mutex<Vec<Effect>>> = Arc::default();
    let (worker, effects) = (Arc::clone(world), Arc::clone(&seen));
    let background = Background::start(move |stop| {
        for node in &worker.nodes {
            if stop.asked() {
                return;
            }
            let Ok(Some((pid, status))) = node.terminate(ENDS) else { continue };
            lock(&effects).push(Effect::Ended { who: name(node.index), pid, how: how(status) });
            let Ok(Some(pid)) = node.start() else { continue };
            lock(&effects).push(Effect::Started { node: node.index, pid });
            if !node.ready(LONG) {
                lock(&effects).push(Effect::NotReady { node: node.index });
            }
        }
    })?;
    Ok(Box::new(move |world| {
        background.join();
        let effects = std::mem::take(&mut *lock(&seen));
        let restarts = effects.iter().filter(|effect| matches!(effect, Effect::Started { .. })).count();
        let bad =
            effects.iter().filter(|effect| matches!(effect, Effect::Ended { how, .. } if how != "exit 0")).count();
        let note = if bad > 0 { format!("{bad} did not end well when asked to") } else { String::new() };
        // Members may come and go meanwhile.
        let all = if world.setup.spares == 0 { world.nodes() } else { 1 };
        Ok(Outcome::new(effects, restarts >= all).note(note))
    }))
}

pub(super) fn pause(world: &Arc<World>, nodes: &[usize]) -> Result<Undo> {
    let mut stopped = Vec::new();
    for node in nodes {
        if let Some((pid, true)) = world.nodes[*node].hold_still()? {
            stopped.push((*node, pid, now_ns()));
        }
    }
    let nodes = nodes.to_vec();
    Ok(Box::new(move |world| {
        let mut effects = Vec::new();
        for node in nodes {
            let ended = now_ns();
            let Some((pid, still)) = world.nodes[node].let_go()? else { continue };
            // The same process, stopped from then until now.
            if let Some((_, _, since)) = stopped.iter().find(|(n, p, _)| still && *n == node && *p == pid) {
                effects.push(Effect::Stopped { who: name(node), pid, nanos: ended - since });
            }
        }
        let effective = !effects.is_empty();
        Ok(Outcome::new(effects, effective))
    }))
}

pub(super) fn pause_client(world: &Arc<World>, client: usize) -> Result<Undo> {
    let mut stopped = Vec::new();
    for guest in world.guests(client) {
        if guest.stop()? {
            stopped.push((guest, now_ns()));
        }
    }
    if stopped.is_empty() {
        return Err(no("the client has no process").into());
    }
    Ok(Box::new(move |_| {
        let mut effects = Vec::new();
        for (guest, since) in stopped {
            let ended = now_ns();
            if guest.go_on()? {
                let who = format!("client{}", client + 1);
                effects.push(Effect::Stopped { who, pid: guest.pid(), nanos: ended - since });
            }
        }
        let effective = !effects.is_empty();
        Ok(Outcome::new(effects, effective))
    }))
}

pub(super) fn kill_client(world: &Arc<World>, client: usize) -> Result<Undo> {
    let mut effects = Vec::new();
    for guest in world.guests(client) {
        if guest.kill()? {
            let who = format!("client{}", client + 1);
            effects.push(Effect::Ended { who, pid: guest.pid(), how: "signal 9".into() });
        }
    }
    if effects.is_empty() {
        return Err(no("the client has no process").into());
    }
    Ok(Box::new(move |_| Ok(Outcome::new(effects, true))))
}
