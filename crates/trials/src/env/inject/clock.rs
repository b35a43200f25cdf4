//! Faults of clocks, through the shim.

use super::{Outcome, Undo};
use crate::env::{
    fault::Effect,
    shim::{Page, Seen},
    world::World,
};
use anyhow::{Context, Result};
use std::sync::Arc;

const MILLI: i64 = 1_000_000;

/// Nodes first, then clients.
#[derive(Clone, Copy)]
enum Owner {
    Node(usize),
    Client(usize),
}

pub(super) fn wall(world: &Arc<World>, nodes: &[usize], clients: &[usize], ms: i64) -> Result<Undo> {
    change(
        world,
        nodes,
        clients,
        move |page| page.set_wall(ms * MILLI),
        |page| page.set_wall(0),
        move |before, after| (ms * MILLI, after.wall_reads - before.wall_reads),
    )
}

pub(super) fn rate(world: &Arc<World>, nodes: &[usize], clients: &[usize], rate: f64) -> Result<Undo> {
    let seen =
        |before: &Seen, after: &Seen| (after.ahead - before.ahead, after.monotonic_reads - before.monotonic_reads);
    change(world, nodes, clients, move |page| page.set_rate(rate), |page| page.set_rate(1.0), seen)
}

pub(super) fn jump(world: &Arc<World>, nodes: &[usize], clients: &[usize], ms: u64) -> Result<Undo> {
    let seen =
        |before: &Seen, after: &Seen| (after.ahead - before.ahead, after.monotonic_reads - before.monotonic_reads);
    // A monotonic clock stays where it jumped to.
    change(world, nodes, clients, move |page| page.jump(ms * 1_000_000), |_| Ok(()), seen)
}

fn change(
    world: &Arc<World>,
    nodes: &[usize],
    clients: &[usize],
    begin: impl Fn(&Page) -> Result<()>,
    end: impl Fn(&Page) -> Result<()> + Send + 'static,
    seen: impl Fn(&Seen, &Seen) -> (i64, i64) + Send + 'static,
) -> Result<Undo> {
    let owners = nodes.iter().map(|node| Owner::Node(*node)).chain(clients.iter().map(|client| Owner::Client(*client)));
    let mut changed = Vec::new();
    for owner in owners {
        let page = page(world, owner)?;
        changed.push((owner, page.seen()?));
        begin(page)?;
    }
    Ok(Box::new(move |world| {
        let mut effects = Vec::new();
        for (owner, before) in changed {
            let page = page(world, owner)?;
            let (ahead_nanos, reads) = seen(&before, &page.seen()?);
            end(page)?;
            let who = match owner {
                Owner::Node(node) => crate::env::node::name(node),
                Owner::Client(client) => format!("client{}", client + 1),
            };
            effects.push(Effect::Clock { who, ahead_nanos, reads: u64::try_from(reads).unwrap_or_default() });
        }
        // Nobody is fooled by a clock that nobody reads.
        let fooled = |effect: &Effect| matches!(effect, Effect::Clock { ahead_nanos, reads, .. } if *ahead_nanos != 0 && *reads > 0);
        let effective = effects.iter().any(fooled);
        Ok(Outcome::new(effects, effective))
    }))
}

fn page(world: &World, owner: Owner) -> Result<&Page> {
    let site = match owner {
        Owner::Node(node) => &world.nodes[node].site,
        Owner::Client(client) => &world.client_sites[client],
    };
    site.page.as_ref().context("there is no page")
}
