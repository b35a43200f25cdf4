//! Faults that hold: installed, mended, and what was seen of each.
//!
//! 1. A fault is mended once; what nobody mended is mended by [`World::heal_all`].
//! 2. A node may end without being to blame for it only while a fault that may end nodes holds;
//!    damage holds for ever.

use super::{
    clock::now_ns,
    fault::{Evidence, Fault},
    inject::{self, Undo},
    tools::lock,
    world::{NotPossible, World},
};
use anyhow::{Context, Result};
use std::sync::Arc;

/// A fault that holds, until it is given to [`World::heal`].
#[derive(Debug)]
pub struct Installed {
    id: u64,
    pub fault: Fault,
    pub nodes: Vec<usize>,
    pub clients: Vec<usize>,
    pub installed_ns: u64,
}

pub(crate) struct Active {
    fault: Fault,
    nodes: Vec<usize>,
    clients: Vec<usize>,
    leader_was: Option<usize>,
    installed_ns: u64,
    undo: Undo,
}

impl World {
    /// Whether a fault could be installed on this machine, with this binary.
    ///
    /// # Errors
    /// It could not; the error says why.
    pub fn possible(&self, fault: &Fault) -> Result<(), NotPossible> {
        inject::possible(self, fault)
    }

    /// Installs a fault.
    ///
    /// # Errors
    /// [`NotPossible`], or a failure of the harness.
    pub fn install(self: &Arc<Self>, fault: &Fault) -> Result<Installed> {
        self.possible(fault)?;
        let leader_was = self.leader_now();
        let (nodes, clients) = inject::targets(self, fault, leader_was)?;
        let installed_ns = now_ns();
        if fault.may_end_nodes() {
            nodes.iter().for_each(|node| self.nodes[*node].excuse());
        }
        let undo = inject::install(self, fault, &nodes, &clients)?;
        let (next, installed) = &mut *lock(&self.installed);
        *next += 1;
        let active = Active {
            fault: fault.clone(),
            nodes: nodes.clone(),
            clients: clients.clone(),
            leader_was,
            installed_ns,
            undo,
        };
        installed.insert(*next, active);
        Ok(Installed { id: *next, fault: fault.clone(), nodes, clients, installed_ns })
    }

    /// Mends a fault and tells what it did.
    ///
    /// # Errors
    /// It was mended before, or the harness failed.
    #[allow(clippy::needless_pass_by_value, reason = "a fault is healed once")]
    pub fn heal(self: &Arc<Self>, installed: Installed) -> Result<Evidence> {
        let active = lock(&self.installed).1.remove(&installed.id).context("the fault does not hold any more")?;
        self.undo(active)
    }

    /// Mends every fault that still holds, the last first.
    ///
    /// # Errors
    /// The harness failed.
    pub fn heal_all(self: &Arc<Self>) -> Result<Vec<Evidence>> {
        let mut evidence = Vec::new();
        loop {
            let last = lock(&self.installed).1.pop_last();
            let Some((_, active)) = last else { return Ok(evidence) };
            evidence.push(self.undo(active)?);
        }
    }

    /// Whether no fault holds.
    pub(crate) fn is_quiet(&self) -> bool {
        lock(&self.installed).1.is_empty()
    }

    fn undo(self: &Arc<Self>, active: Active) -> Result<Evidence> {
        let outcome = (active.undo)(self).with_context(|| format!("heal {:?}", active.fault))?;
        // Damage stays, and so does its excuse.
        if active.fault.may_end_nodes() && active.fault.class() != "corruption" {
            active.nodes.iter().for_each(|node| self.nodes[*node].blame());
        }
        Ok(Evidence {
            class: active.fault.class().to_owned(),
            fault: active.fault,
            nodes: active.nodes,
            clients: active.clients,
            leader_was: active.leader_was,
            installed_ns: active.installed_ns,
            healed_ns: now_ns(),
            effects: outcome.effects,
            effective: outcome.effective,
            note: outcome.note,
        })
    }
}
