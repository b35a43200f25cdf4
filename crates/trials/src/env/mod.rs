//! The environment of a trial: nodes and clients as real processes, each in a world of its own, and
//! the faults that break it.
//!
//! * [`setup`], [`build`], [`world`]: what is started, how, and what can be asked of it.
//! * [`fabric`] carries packets between TUN devices; [`proxy`] does what it can on loopback;
//!   [`net`] is either.
//! * [`node`], [`client`], [`host`]: processes; [`volume`]: a disk whose power can be cut;
//!   [`shim`]: clocks and syncs.
//! * [`target`], [`change`]: which nodes, and changes of the members, as values.
//! * [`fault`]: faults and their evidence, as values; [`inject`], [`holding`]: how they are
//!   installed and mended.
//! * [`run`]: names, register, guard and sweep; [`doctor`]: what is possible here.
//!
//! 1. A fault counts by what was seen of it, never by having been asked for.
//! 2. Nothing outlives a run: a guard process ends what the run began, however the run ends, and
//!    the next run sweeps after the guard.
//! 3. Runs side by side share nothing: names hold the process, and addresses are in namespaces.
//! 4. The harness's own requests go over links that no fault touches.

mod build;
mod cgroup;
mod change;
mod client;
mod clock;
mod doctor;
mod fabric;
mod fault;
mod holding;
mod host;
mod inject;
mod native;
mod net;
mod netns;
mod node;
mod picture;
mod probe;
mod proxy;
mod run;
mod setup;
mod shim;
mod strace;
mod target;
mod tools;
mod torn;
mod volume;
mod world;

pub use change::{Change, Hurt};
pub use client::ClientProcess;
pub use clock::now_ns;
pub use doctor::{Capabilities, Capability, Diagnosis, doctor};
pub use fabric::rules::{HostNo, Packets, Rule};
pub use fault::{Effect, Evidence, Fault, Scope, Who};
pub use holding::Installed;
pub(crate) use inject::resolve;
pub use node::{Exit, NodeState};
pub(crate) use probe::AskMember;
pub use probe::NodeStatus;
pub use proxy::Proxies;
pub use run::{remains, sweep};
pub use setup::{Mode, Setup};
pub use target::Target;
pub use volume::Loss;
pub use world::{Host, NotPossible, World};

use anyhow::Result;
use std::{ops::Deref, sync::Arc};

/// A running environment. What it can do stands at [`World`]; dropping it ends everything.
pub struct Env(Arc<World>);

impl Env {
    /// Starts everything and waits until all nodes serve.
    ///
    /// # Errors
    /// The mode is not possible here, or something does not start.
    pub fn start(setup: Setup) -> Result<Self> {
        Ok(Self(build::build(setup)?.wake()?))
    }

    /// Ends everything, and says so if something would not go.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn finish(self) -> Result<()> {
        self.0.end()
    }
}

impl Deref for Env {
    type Target = Arc<World>;

    fn deref(&self) -> &Arc<World> {
        &self.0
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        // A caller that wants the outcome calls `finish`; the next sweep tries again.
        let _ = self.0.end();
    }
}
