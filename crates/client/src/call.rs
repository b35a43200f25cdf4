//! How calls are made: deadlines, and which failures are tried again where.
//!
//! 1. A *read* has no effect, so any failure of a member is tried again elsewhere until the call's
//!    time is over.
//! 2. A *write* is tried again only if it surely had no effect. The first failure that leaves doubt
//!    ends it, as an unknown outcome.
//! 3. A *repeatable* write has the same effect twice as once (a transaction that compares, a
//!    revocation): tried again like a read, but its last failure stays an unknown outcome.
//! 4. Each endpoint is tried once before there is a pause; pauses grow and are never longer than
//!    [`LONGEST_PAUSE`].

use crate::Channel;
use crate::{
    Client, Error, ErrorKind,
    endpoints::{Choice, Endpoints},
};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    Read,
    Write,
    Repeatable,
}

impl Client {
    /// A call that changes nothing.
    pub(crate) async fn read<Q, A, F>(&self, request: Q, call: impl Fn(Channel, Request<Q>) -> F) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Nature::Read, request, call).await.0
    }

    /// A call that must not happen twice.
    pub(crate) async fn write<Q, A, F>(&self, request: Q, call: impl Fn(Channel, Request<Q>) -> F) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Nature::Write, request, call).await.0
    }

    /// A call that changes something, the same if it happens twice.
    pub(crate) async fn repeatable<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.repeatable_with_doubt(request, call).await.0
    }

    /// The same; also tells whether a request other than the answered one may have taken effect, or
    /// may yet.
    pub(crate) async fn repeatable_with_doubt<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> (Result<A, Error>, bool)
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(Nature::Repeatable, request, call).await
    }

    /// Opens a stream on the endpoint in use, within `patience`; the caller blames the endpoint for
    /// what happens later.
    pub(crate) async fn open<Q, A, F>(
        &self,
        patience: Duration,
        request: Request<Q>,
        call: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<Opened<A>, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let choice = self.endpoints_ref().choose();
        let opening = async {
            self.login().ensure(choice.channel.clone()).await?;
            call(choice.channel.clone(), request).await
        };
        let opened = timeout_at(Instant::now() + patience, opening).await;
        match opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("the member did not accept a stream in time"))) {
            Ok(answers) => Ok(Opened { answers: answers.into_inner(), choice }),
            Err(status) => Err(self.blame(&choice, status.into())),
        }
    }

    /// Notes the failure of an endpoint, if it is one.
    pub(crate) fn blame(&self, choice: &Choice, error: Error) -> Error {
        // It was refused before it could have an effect; with another token it may pass.
        if self.login().outdated(&error) || self.login().missing(&error) {
            return Error::unsent(error.message());
        }
        if error.of_endpoint() {
            self.endpoints_ref().failed(choice);
        }
        error
    }

    /// Notes that an endpoint answered.
    pub(crate) fn praise(&self, choice: &Choice) {
        self.endpoints_ref().succeeded(choice);
    }

    async fn attempts<Q, A, F>(
        &self,
        nature: Nature,
        request: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> (Result<A, Error>, bool)
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let end = Instant::now() + self.timeout();
        let mut pauses = Pauses::new(self.endpoints_ref());
        // Once one attempt may have had an effect, a later sure failure does not make the whole
        // call a sure one.
        let mut doubt = false;
        loop {
            // A write waits as long as the caller allows: leaving it earlier would only make its
            // outcome unknown.
            let patience = if nature == Nature::Write { end } else { end.min(Instant::now() + self.attempt_timeout()) };
            let error = match self.attempt(request.clone(), &call, patience).await {
                Ok(answer) => return (Ok(answer), doubt),
                Err(error) => error,
            };
            doubt |= error.outcome_unknown();
            let again = match nature {
                Nature::Read => error.is_retryable() || error.outcome_unknown(),
                Nature::Write => error.is_retryable(),
                Nature::Repeatable => error.is_retryable() || error.outcome_unknown(),
            };
            let pause = pauses.next();
            if !again || Instant::now() + pause >= end {
                let error = match nature {
                    Nature::Read => error.of_read(),
                    _ if doubt && error.is_retryable() => Error::new(ErrorKind::OutcomeUnknown, error.message()),
                    _ => error,
                };
                return (Err(error), doubt);
            }
            sleep(pause).await;
        }
    }

    async fn attempt<Q, A, F>(
        &self,
        request: Q,
        call: &impl Fn(Channel, Request<Q>) -> F,
        until: Instant,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let choice = self.endpoints_ref().choose();
        let mut request = Request::new(request);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let late = || Err(Status::deadline_exceeded("no answer within the deadline"));
        // Whatever becomes of a login, nothing was asked yet.
        match timeout_at(until, self.login().ensure(choice.channel.clone())).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => {
                let error = self.blame(&choice, status.into());
                let unsent = error.outcome_unknown() || error.is_retryable();
                return Err(if unsent { Error::unsent(error.message()) } else { error });
            }
            Err(_) => return Err(Error::unsent("no answer to the login within the deadline")),
        }
        let answer = timeout_at(until, call(choice.channel.clone(), request)).await.unwrap_or_else(|_| late());
        match answer {
            Ok(response) => {
                self.praise(&choice);
                Ok(response.into_inner())
            }
            Err(status) => Err(self.blame(&choice, status.into())),
        }
    }
}

/// A stream that a member has accepted.
#[derive(Debug)]
pub(crate) struct Opened<A> {
    pub(crate) answers: A,
    /// Where it is, to be praised and blamed.
    pub(crate) choice: Choice,
}

/// How long to wait before each next attempt.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// Attempts that need no pause: another endpoint is next.
    free: usize,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(endpoints: &Endpoints) -> Self {
        Self { free: endpoints.len().saturating_sub(1), next: FIRST_PAUSE }
    }

    pub(crate) fn next(&mut self) -> Duration {
        if self.free > 0 {
            self.free -= 1;
            return Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
