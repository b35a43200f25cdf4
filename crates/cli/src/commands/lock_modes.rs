//! Conclave's own locks (conclave.v1), which know modes: alone, shared, or so many permits of a
//! number.
//!
//! They have nothing to do with etcd's lock of the same name: `lock` takes one of these only if a
//! mode is given.

use super::{
    Context,
    in_line::{self, News},
    names::{CallerArgs, NameArgs, own_signature},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::Tenure,
};
use clap::Args;
use conclave_client::{
    Client, Session,
    api::conclave::v1::{
        AcquireProgress, AcquireRequest, AcquireResponse, LockPart, ReleaseRequest,
        acquire_progress::Now,
        lock_part::{Mode, Permits},
        locks_client::LocksClient,
    },
};
use futures::{FutureExt as _, future::pending};
use std::{cell::Cell, time::Duration};
use tonic::Code;

/// Which of Conclave's own modes, if any.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Conclave's own locks, apart from etcd's of the same name")]
pub(crate) struct ModeArgs {
    /// Alone
    #[arg(long, group = "mode")]
    exclusive: bool,
    /// Beside others that share it
    #[arg(long, group = "mode")]
    shared: bool,
    /// A semaphore: so many permits of all there are, such as 1/5
    #[arg(long, group = "mode", value_name = "COUNT/CAPACITY", value_parser = permits)]
    permits: Option<Permits>,
    /// The namespace of the name [default: "default"]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Shown to those who look [default: user, host name and process id]
    #[arg(long)]
    owner: Option<String>,
}

fn permits(text: &str) -> Result<Permits, String> {
    let wrong = || format!("{text:?} is not COUNT/CAPACITY, such as 1/5");
    let (weight, capacity) = text.split_once('/').ok_or_else(wrong)?;
    let (weight, capacity) = (weight.parse().map_err(|_| wrong())?, capacity.parse().map_err(|_| wrong())?);
    if weight == 0 || weight > capacity {
        return Err(format!("{text:?}: between 1 and {capacity} permits can be had"));
    }
    Ok(Permits { weight, capacity })
}

impl ModeArgs {
    /// Refuses what only Conclave's own locks have.
    pub(super) fn check(&self) -> Result<()> {
        let stray = match (self.mode(), &self.owner) {
            (Some(_), _) => return Ok(()),
            (None, Some(_)) => "--owner",
            (None, None) if !self.namespace.is_empty() => "--namespace",
            (None, None) => return Ok(()),
        };
        Err(Failure::usage(format!("{stray}: only Conclave's own locks have that, and this is etcd's lock"))
            .hint("add --exclusive, --shared or --permits COUNT/CAPACITY for one of Conclave's own"))
    }

    /// `None`: etcd's lock.
    pub(super) fn mode(&self) -> Option<Mode> {
        match (self.exclusive, self.shared, self.permits) {
            (true, _, _) => Some(Mode::Exclusive(true)),
            (_, true, _) => Some(Mode::Shared(true)),
            (_, _, Some(permits)) => Some(Mode::Permits(permits)),
            _ => None,
        }
    }

    /// Waits for the lock, no longer than `wait`.
    pub(super) async fn acquire(
        &self,
        context: &Context,
        client: &Client,
        session: &Session,
        (name, mode): (&str, Mode),
        (try_only, wait): (bool, Option<Duration>),
    ) -> Result<Tenure> {
        let request = AcquireRequest {
            caller: CallerArgs::default().caller_of(session.lease()),
            parts: vec![LockPart { lock: self.name(name).name(), mode: Some(mode) }],
            owner: self.owner.clone().unwrap_or_else(own_signature),
            try_only,
            ..AcquireRequest::default()
        };
        let busy = || {
            Failure::new(Exit::Busy, format!("somebody else holds the lock {name:?}"))
                .hint(format!("`conclavectl lock show {name}` shows who, and who waits"))
        };
        let in_line = Cell::new(false);
        let acquiring = stream(context, name, request, &in_line);
        let late = |waits| match waits {
            true => busy().about("not in time"),
            false => Failure::new(Exit::NoConnection, "no member answered in time"),
        };
        let bounded = in_line::within((wait, context.link.settings().command_timeout), &in_line, acquiring, late);
        let held = tokio::select! {
            biased;
            reason = session.lost() => return Err(crate::hold::session_lost(reason)),
            held = bounded => held?,
        };
        if held.fence == 0 {
            return Err(busy());
        }
        let token = held.token.ok_or_else(|| Failure::odd_answer("token"))?;
        let channel = context.link.node().await?.channel;
        let (session_id, fence) = (session.lease(), held.fence);
        let release = move || {
            let caller = CallerArgs::default().caller_of(session_id);
            let request = ReleaseRequest { caller, fence, ..ReleaseRequest::default() };
            let released = wire::release(channel.clone(), request);
            released.map(|done| done.map(drop).map_err(|status| Failure::of(&status, Effect::Writes))).boxed()
        };
        Ok(Tenure::new(client, session, token, pending(), Some(Box::new(release))))
    }

    fn name(&self, name: &str) -> NameArgs {
        NameArgs { name: name.to_owned(), namespace: self.namespace.clone() }
    }
}

/// Asks for it, and tells who is before; again with another member if a connection is lost, as the
/// same request. `in_line`: whether a member says, at this moment, that others are before.
async fn stream(
    context: &Context,
    name: &str,
    request: AcquireRequest,
    in_line: &Cell<bool>,
) -> Result<AcquireResponse> {
    let ask = async |channel| LocksClient::new(channel).acquire_stream(request.clone()).await;
    let failed = |status: tonic::Status| match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown => Failure::new(Exit::NoConnection, status.message()),
        _ => Failure::of(&status, Effect::Reads),
    };
    let news = |progress: AcquireProgress| match progress.now {
        Some(Now::Held(held)) => News::Won(held),
        Some(Now::Before(before)) => News::Before(before),
        _ => News::Other,
    };
    in_line::wait(context, name, in_line, ask, failed, news).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_of_a_capacity() {
        assert_eq!(permits("2/5"), Ok(Permits { weight: 2, capacity: 5 }));
        for text in ["5", "0/5", "6/5", "a/b", "1/", "-1/5"] {
            assert!(permits(text).is_err(), "{text}");
        }
    }
}
