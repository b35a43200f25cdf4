//! Faults of the network: sets of directed links and a rule for them.

use super::{Outcome, Undo, no, resolve};
use crate::env::{
    fabric::rules::{Packets, Rule},
    fault::{Effect, Fault, Scope},
    net::{Links, Plan, between, except, one_way},
    tools::chance,
    world::World,
};
use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::sync::Arc;

const MILLI: u64 = 1_000_000;

pub(super) fn install(world: &Arc<World>, fault: &Fault, nodes: &[usize]) -> Result<Undo> {
    let (links, rule) = plan(world, fault, nodes)?;
    if links.is_empty() {
        return Err(no("it would concern no link").into());
    }
    let layer = world.net.add(&links, &rule);
    let fault = fault.clone();
    Ok(Box::new(move |world| {
        let packets = world.net.remove(layer);
        Ok(Outcome::new(vec![Effect::Packets(packets)], did_something(&fault, packets)))
    }))
}

fn plan(world: &World, fault: &Fault, nodes: &[usize]) -> Result<(Links, Rule)> {
    let plan = world.plan;
    let (all, clients) = (plan.all_nodes(), plan.all_clients());
    let others = except(&all, nodes);
    let cut = |links: Links| Ok((links, Rule::cut()));
    match fault {
        Fault::Isolate { clients_too, .. } => {
            let more = if *clients_too { between(nodes, &clients) } else { Links::new() };
            cut(&between(nodes, &others) | &more)
        }
        Fault::Halves { .. } => cut(between(nodes, &others)),
        Fault::MajorityRing { seed } => cut(ring(plan.nodes, *seed)),
        Fault::OneWay { deaf: true, .. } => cut(one_way(&others, nodes)),
        Fault::OneWay { deaf: false, .. } => cut(one_way(nodes, &others)),
        Fault::Partial { b, .. } => cut(between(nodes, &except(&resolve(world, *b, world.leader_now())?, nodes))),
        Fault::ClientsCut { .. } => cut(between(nodes, &clients)),
        Fault::ClientCut { client } => cut(between(&[plan.client(*client)], &all)),
        Fault::Delay { scope, ms, jitter_ms } => {
            let rule = Rule { delay: ms * MILLI, jitter: jitter_ms * MILLI, ..Rule::default() };
            Ok((scoped(plan, *scope, nodes), rule))
        }
        Fault::Loss { scope, percent } => {
            Ok((scoped(plan, *scope, nodes), Rule { drop: chance(*percent), ..Rule::default() }))
        }
        Fault::Duplicate { scope, percent } => {
            Ok((scoped(plan, *scope, nodes), Rule { duplicate: chance(*percent), ..Rule::default() }))
        }
        Fault::Reorder { scope, percent, hold_ms } => {
            let rule = Rule { reorder: chance(*percent), hold: hold_ms * MILLI, ..Rule::default() };
            Ok((scoped(plan, *scope, nodes), rule))
        }
        Fault::Rate { scope, kbit } => {
            Ok((scoped(plan, *scope, nodes), Rule { rate: Some(kbit * 1000 / 8), ..Rule::default() }))
        }
        Fault::ResetStorm { scope, percent } => {
            Ok((scoped(plan, *scope, nodes), Rule { reset: chance(*percent), ..Rule::default() }))
        }
        other => Err(no(&format!("{} is not a fault of the network", other.name())).into()),
    }
}

fn scoped(plan: Plan, scope: Scope, nodes: &[usize]) -> Links {
    let (all, clients) = (plan.all_nodes(), plan.all_clients());
    match scope {
        Scope::Peers => between(&all, &all),
        Scope::Clients => between(&all, &clients),
        Scope::Everything => &between(&all, &all) | &between(&all, &clients),
        Scope::Around(_) => between(nodes, &plan.everybody()),
    }
}

/// The links to cut so that every node reaches a majority, each another one: nodes in a ring reach
/// their nearest neighbours only. Three nodes have no such ring: one link is cut, and the middle
/// one reaches both.
fn ring(count: usize, seed: u64) -> Links {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    if count == 3 {
        return between(&order[..1], &order[2..]);
    }
    let reach = (count / 2).div_ceil(2);
    let apart = |a: usize, b: usize| (a.abs_diff(b)).min(count - a.abs_diff(b));
    let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
    pairs.filter(|(a, b)| apart(*a, *b) > reach).map(|(a, b)| (order[a], order[b])).collect()
}

fn did_something(fault: &Fault, packets: Packets) -> bool {
    let Packets { dropped, delayed, duplicated, reordered, resets, .. } = packets;
    match fault {
        Fault::Delay { .. } => delayed > 0,
        Fault::Rate { .. } => delayed > 0 || dropped > 0,
        Fault::Duplicate { .. } => duplicated > 0,
        Fault::Reorder { .. } => reordered > 0,
        Fault::ResetStorm { .. } => resets > 0,
        _ => dropped > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_every_node_reaches_a_majority_of_its_own() {
        for count in [3, 5, 7] {
            for seed in 0..20 {
                let cut = ring(count, seed);
                let reached =
                    |node: usize| (0..count).filter(|other| !cut.contains(&(node, *other))).collect::<Vec<_>>();
                let mut views: Vec<Vec<usize>> = (0..count).map(reached).collect();
                assert!(views.iter().all(|view| view.len() > count / 2), "{count}: {views:?}");
                views.sort();
                views.dedup();
                assert_eq!(views.len(), count);
                assert!(cut.iter().all(|(a, b)| cut.contains(&(*b, *a))));
            }
        }
    }

    #[test]
    fn links_of_the_harness_are_never_in_scope() {
        let plan = Plan { nodes: 3, clients: 2 };
        for scope in [Scope::Peers, Scope::Clients, Scope::Everything, Scope::Around(crate::env::Target::All)] {
            let links = scoped(plan, scope, &[0, 1, 2]);
            assert!(
                !links.is_empty() && links.iter().all(|(a, b)| *a != plan.runner() && *b != plan.runner() && a != b)
            );
        }
    }
}
