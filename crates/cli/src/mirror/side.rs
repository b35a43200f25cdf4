//! One of the two clusters, which may be away for a while.

use crate::{failure::Failure, output};
use conclave_client::{Client, Error, Get, KeyRange};
use std::time::Duration;
use tokio::time::sleep;

/// Between two attempts while no member answers.
const PAUSE: Duration = Duration::from_millis(500);

/// A cluster with what it is called.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) client: Client,
    pub(crate) name: &'static str,
}

impl Side {
    /// Makes a call that may be repeated until it is answered; a refusal is an answer.
    pub(super) async fn patiently<T>(&self, call: impl AsyncFn(&Client) -> Result<T, Error>) -> Result<T, Error> {
        let mut told = false;
        loop {
            let done = call(&self.client).await;
            match &done {
                Err(error) if !error.is_final() => {
                    if !std::mem::replace(&mut told, true) {
                        output::note(&format!("the {} does not answer: {error}; it is asked again", self.name));
                    }
                }
                _ => {
                    if told {
                        output::note(&format!("the {} answers again", self.name));
                    }
                    return done;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// The revision that the cluster is at.
    pub(super) async fn revision(&self, range: &KeyRange) -> Result<i64, Error> {
        let get = Get::new(range.first().clone()).count_only();
        Ok(self.patiently(async |client| client.range(get.clone()).await).await?.header.revision)
    }

    /// What it refused.
    pub(super) fn refused(&self, error: Error) -> Failure {
        Failure::of_client(error).about(format!("the {}", self.name))
    }
}
