//! Why no snapshot could be made.

use conclave_bolt::WriteError;
use conclave_state::Fault;
use std::io;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum MakeError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}
