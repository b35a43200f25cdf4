//! The way to the cluster: which member is talked to, for how long, and what is tried again.
//!
//! 1. A member is used once it has answered a question about itself, so a wrong endpoint is found
//!    before anything is sent there. Endpoints are tried in their order, each a moment after the
//!    one before; which is used, `pick` says.
//! 2. Every call is bounded: looking for a member by `--dial-timeout`, the call by
//!    `--command-timeout`.
//! 3. A read that fails is tried with the other members while there is time, and so is a write with
//!    an id of its own, which takes effect once. Any other write is sent again only if it surely
//!    had no effect. What may have taken effect is reported so.

mod leader;
mod pick;
mod unreachable;

use crate::{
    dial::{Node, dial},
    failure::{Effect, Failure, Result},
    output,
    settings::Settings,
};
use conclave_client::{Channel, Client, Error};
use futures::stream::FuturesUnordered;
use pick::{Picked, pick};
use std::{cell::RefCell, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};
use unreachable::unreachable;

/// How much later the next endpoint is tried while the one before has not answered.
const STAGGER: Duration = Duration::from_millis(60);
/// Between two attempts at what surely had no effect.
const PAUSE: Duration = Duration::from_millis(100);
/// The least time that one member gets for a read.
const LEAST: Duration = Duration::from_millis(500);

/// The way to the cluster of one run.
#[derive(Debug)]
pub(crate) struct Link {
    settings: Settings,
    node: RefCell<Option<Node>>,
}

impl Link {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, node: RefCell::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The member in use; looks for one if there is none.
    ///
    /// # Errors
    /// None answers within the dial timeout; says why for each.
    pub(crate) async fn node(&self) -> Result<Node> {
        if let Some(node) = self.node.borrow().clone() {
            return Ok(node);
        }
        let node = self.find(None).await?;
        self.settings.debug(|| format!("using {}", node.endpoint));
        *self.node.borrow_mut() = Some(node.clone());
        Ok(node)
    }

    /// Looks for a member anew at the next call.
    pub(crate) fn forget(&self) {
        self.node.borrow_mut().take();
    }

    /// The client library's handle, with the member in use first.
    ///
    /// # Errors
    /// None answers within the dial timeout.
    pub(crate) async fn client(&self) -> Result<Client> {
        let first = self.node().await?.index;
        let endpoints = &self.settings.endpoints;
        let order = (0..endpoints.len()).map(|i| &endpoints[(first + i) % endpoints.len()]);
        let mut builder = Client::builder();
        if let Some(tls) = &self.settings.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(credentials) = &self.settings.credentials {
            builder = builder.credentials(credentials.clone());
        }
        let builder = builder
            .endpoints(order)
            .connect_timeout(self.settings.dial_timeout)
            .timeout(self.settings.command_timeout.max(self.settings.dial_timeout));
        builder.build().map_err(|error| Failure::usage(error.to_string()))
    }

    /// A call that changes nothing.
    pub(crate) async fn read<A, F>(&self, call: impl Fn(Channel) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Effect::Reads, call).await
    }

    /// A call that changes something.
    pub(crate) async fn write<A, F>(&self, call: impl Fn(Channel) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Effect::Writes, call).await
    }

    /// A call that changes something, with an id of its own: it takes effect once, however often it
    /// is sent.
    pub(crate) async fn repeat<A, F>(&self, call: impl Fn(Channel) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Effect::Repeats, call).await
    }

    async fn attempts<A, F>(&self, effect: Effect, call: impl Fn(Channel) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut node = self.node().await?;
        let bound = self.settings.command_timeout;
        let end = Instant::now() + bound;
        // Once one attempt may have had an effect, a later sure failure does not make the whole
        // call a sure one.
        let mut doubt = false;
        loop {
            let patience = match effect {
                // Leaving it earlier would only make its outcome unknown.
                Effect::Writes => end,
                Effect::Reads | Effect::Repeats => end.min(Instant::now() + self.share()),
            };
            let late = || Err(Status::deadline_exceeded(format!("{} did not answer within {bound:?}", node.endpoint)));
            let status = match timeout_at(patience, call(node.channel.clone())).await.unwrap_or_else(|_| late()) {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let error = Error::from(status.clone());
            self.settings.debug(|| format!("{}: {error}", node.endpoint));
            doubt |= effect == Effect::Repeats && error.outcome_unknown();
            let failure = || {
                if doubt && error.is_retryable() { Failure::in_doubt(&status) } else { Failure::of(&status, effect) }
            };
            let again = error.is_retryable() || (effect != Effect::Writes && error.outcome_unknown());
            if !again || Instant::now() + PAUSE >= end {
                return Err(self.explained(failure()).await);
            }
            sleep(PAUSE).await;
            match timeout_at(end, self.find(Some(node.index))).await {
                Ok(Ok(other)) => node = other,
                Ok(Err(_)) | Err(_) => return Err(self.explained(failure()).await),
            }
            *self.node.borrow_mut() = Some(node.clone());
        }
    }

    /// How long one member may take for a read.
    fn share(&self) -> Duration {
        let count = u32::try_from(self.settings.endpoints.len()).unwrap_or(u32::MAX).max(1);
        (self.settings.command_timeout / count).max(LEAST)
    }

    /// The first endpoint that answers, beginning after `after`, which is tried last.
    async fn find(&self, after: Option<usize>) -> Result<Node> {
        let endpoints = &self.settings.endpoints;
        let first = after.map_or(0, |index| index + 1);
        let order = (0..endpoints.len()).map(|i| (first + i) % endpoints.len());
        let dials: FuturesUnordered<_> = (0_u32..)
            .zip(order)
            .map(|(i, index)| async move {
                sleep(STAGGER * i).await;
                (index, dial(&endpoints[index], index, &self.settings).await)
            })
            .collect();
        match pick(dials).await {
            Picked::Node(node) => Ok(node),
            Picked::None(reasons) => Err(unreachable(endpoints, self.settings.tls.is_some(), reasons)),
        }
    }
}

impl Settings {
    /// An endpoint as a URL.
    #[must_use]
    pub fn url(&self, endpoint: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        if endpoint.contains("://") { endpoint.to_owned() } else { format!("{scheme}://{endpoint}") }
    }

    /// Tells what is done, if asked to.
    pub(crate) fn debug(&self, text: impl FnOnce() -> String) {
        if self.debug {
            output::note(&text());
        }
    }
}
