//! What a stream says next, or that it says nothing.

use super::{A_WHILE, AT_ONCE};
use crate::wait::within;
use anyhow::{Context, Result, bail};
use std::fmt::Debug;
use tonic::{Status, Streaming};

/// The next message.
pub async fn next<T: Debug>(stream: &mut Streaming<T>) -> Result<T> {
    within("news", AT_ONCE, stream.message()).await??.context("the stream ended")
}

/// The error that a stream ends with, after any number of messages.
pub async fn ending<T: Debug>(stream: &mut Streaming<T>) -> Result<Status> {
    loop {
        match within("the end of a stream", AT_ONCE, stream.message()).await? {
            Ok(Some(_)) => {}
            Ok(None) => bail!("the stream ended without an error"),
            Err(status) => return Ok(status),
        }
    }
}

/// Nothing comes for a while.
pub async fn silent<T: Debug>(stream: &mut Streaming<T>) -> Result<()> {
    match within("anything", A_WHILE, stream.message()).await {
        Err(_) => Ok(()),
        Ok(message) => bail!("nothing was to come, but: {message:?}"),
    }
}
