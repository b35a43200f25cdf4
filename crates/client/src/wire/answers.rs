//! The answering side of a stream whose call has been made but perhaps not accepted yet.
//!
//! Some servers accept a stream only with their first answer to a message on it, so the first
//! message must be sendable before.

use crate::Error;
use futures::future::BoxFuture;
use std::fmt;
use tonic::Streaming;

/// Answers of one stream; the call itself is made when the first is waited for.
pub(crate) enum Answers<T> {
    Opening(BoxFuture<'static, Result<Streaming<T>, Error>>),
    Open(Box<Streaming<T>>),
    /// The call failed, and its error has been given.
    Failed,
}

impl<T> Answers<T> {
    pub(crate) fn new(call: impl Future<Output = Result<Streaming<T>, Error>> + Send + 'static) -> Self {
        Self::Opening(Box::pin(call))
    }

    /// The next answer; giving up waiting loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Error> {
        if let Self::Opening(call) = self {
            match call.await {
                Ok(stream) => *self = Self::Open(Box::new(stream)),
                Err(error) => {
                    *self = Self::Failed;
                    return Err(error);
                }
            }
        }
        match self {
            Self::Open(stream) => Ok(stream.message().await?),
            Self::Opening(_) | Self::Failed => Ok(None),
        }
    }
}

impl<T> fmt::Debug for Answers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening(_) => "Opening",
            Self::Open(_) => "Open",
            Self::Failed => "Failed",
        })
    }
}
