//! The thread on which consensus, peers and apply run, with a runtime of its own.

use std::thread::{Builder, JoinHandle};
use tokio::runtime::{self, Handle};
use tokio_util::sync::CancellationToken;

pub(crate) struct ConsensusThread {
    handle: Handle,
    ending: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl ConsensusThread {
    pub(crate) fn start() -> std::io::Result<ConsensusThread> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (handle, ending) = (runtime.handle().clone(), CancellationToken::new());
        let ended = ending.clone();
        let run = move || {
            runtime.block_on(ended.cancelled());
            // A read of the disk that hangs must not keep the process from ending.
            runtime.shutdown_background();
        };
        let thread = Builder::new().name("consensus".to_owned()).spawn(run)?;
        Ok(ConsensusThread { handle, ending, thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Ends the tasks that are left.
impl Drop for ConsensusThread {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}
