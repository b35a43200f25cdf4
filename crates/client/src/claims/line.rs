//! Waiting in line for a claim.
//!
//! 1. A place belongs to session, holder and instance, not to a call: asked again, also of another
//!    member, the cluster finds it.
//! 2. Each attempt is timed by itself: what is granted counts from before that attempt was sent.
//! 3. Without a session the place has a time of its own, and is asked for again before that is
//!    over.
//! 4. A dropped wait gives the place up in the background.

use super::{Bid, Claim, Claims, Outcome, PAUSE};
use crate::{
    Error, ErrorKind, Session,
    api::conclave::v1 as pb,
    coord::{self, call, millis},
};
use std::time::Duration;
use tokio::{runtime::Handle as Runtime, time::sleep};
use tonic::Request;

/// How long a place without a session is kept for a process that may have died.
const KEPT: Duration = Duration::from_secs(60);

pub(super) async fn wait(claims: &Claims, bid: &Bid) -> Result<Claim, Error> {
    let mut place = Place { claims: claims.clone(), bid: bid.clone(), owed: false };
    let waiting = async {
        loop {
            match attempt(claims, bid, &mut place.owed).await {
                Ok(Some(claim)) => return Ok(claim),
                Ok(None) => {}
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "waiting for a claim goes on elsewhere");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    let result = match claims.acting.session.as_ref() {
        Some(session) => session.during(waiting).await,
        None => waiting.await,
    };
    place.owed &= result.is_err();
    result
}

/// One call; `None` if it is to be asked again.
async fn attempt(claims: &Claims, bid: &Bid, owed: &mut bool) -> Result<Option<Claim>, Error> {
    let session = claims.acting.session.as_ref();
    let wait_ms = if session.is_some() { 0 } else { millis(KEPT) };
    let item = pb::ClaimItem { wait: true, wait_ms, ..bid.item() };
    // No id: asked again it finds its place or its tenure, whatever became of the call before.
    let (session, expect) = (session.map_or(0, Session::lease), claims.acting.expect.clone());
    let expect = (expect != crate::Expect::default()).then(|| expect.into());
    let caller = Some(pb::Caller { session, expect, ..Default::default() });
    let client = claims.client();
    let sent = client.clock().now();
    *owed = true;
    let wire = client.wire();
    let call = async |channel, request| coord::claims(channel).claim(request).await;
    let answer = wire.patient(Request::new(pb::ClaimRequest { caller, items: vec![item] }), call);
    let answer = match wait_ms {
        0 => answer.await?,
        _ => match tokio::time::timeout(KEPT / 3, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Ok(None),
        },
    };
    match answer.results.into_iter().next().map(|result| Outcome::of(result, sent)) {
        Some(Outcome::Held(claim)) => Ok(Some(claim)),
        // It was held for a moment, or the place was given up.
        Some(Outcome::Denied(_) | Outcome::Waiting { .. }) => Ok(None),
        Some(outcome) => outcome.into_claim(bid).map(Some),
        None => Err(Error::new(ErrorKind::Refused, "a claim without an answer")),
    }
}

struct Place {
    claims: Claims,
    bid: Bid,
    owed: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.owed, Runtime::try_current()) else { return };
        let (client, request) = (self.claims.client().clone(), self.bid.unclaim(self.claims.acting.caller()));
        runtime.spawn(async move {
            if let Err(error) = client.repeatable(request, call!(claims.unclaim)).await {
                tracing::debug!(%error, "a place in line is left to its time");
            }
        });
    }
}
