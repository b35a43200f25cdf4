//! A candidacy in the cluster, and what is owed for it.
//!
//! 1. Entering has one id over all its attempts, and is seen through also for a caller that is
//!    gone.
//! 2. Within one session a candidacy has one user at a time, who leaves it before the next one
//!    enters: leaving never takes away what was entered anew.
//! 3. A candidacy takes a place over once, when it first enters. Two processes with one id would
//!    otherwise take it from each other for ever.

use super::{Answer, Candidacy, Standing};
use crate::{
    Client, Error, ErrorKind, Session,
    api::conclave::v1 as pb,
    coord::{
        Expect, call, caller,
        once::{attended, insist},
    },
    held::give_back,
    session::Reservation,
};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

/// Enters, or finds the candidacy again.
pub(super) async fn enter(candidacy: &Candidacy, try_only: bool) -> Result<(Entry, Answer), Error> {
    let session = &candidacy.session;
    let name = &candidacy.election.name;
    // No key of the store begins so: it is a name within this process.
    let place = Bytes::from(format!("\0election\0{}\0{}\0{}", name.namespace, name.name, candidacy.id()));
    let reservation = session.during(async { Ok(session.reserve(&place).await) }).await?;
    let caller = caller(Some(session), &candidacy.election.acting.expect);
    // A process that came later has taken the place over, and takes it from nobody else.
    let takeover = candidacy.request.takeover && !candidacy.entered.load(Ordering::SeqCst);
    let request = pb::EnterRequest { caller, try_only, takeover, ..candidacy.request.clone() };
    let mut entry = Entry::new(candidacy, request.clone(), reservation);
    let (client, session_of, entered) = (session.client().clone(), session.clone(), Arc::clone(&candidacy.entered));
    let entering = attended(session, |wanted| async move {
        let answer = insist(&client, request, &wanted, call!(elections.enter)).await;
        let answer = answer.inspect_err(|error| {
            if error.kind() == ErrorKind::LeaseNotFound {
                session_of.lease_gone();
            }
        })?;
        let answer = Answer::from(answer);
        // What was there before is not this call's to leave.
        entry.owed = answer.changed && answer.standing != Standing::Absent;
        entered.fetch_or(answer.standing != Standing::Absent, Ordering::SeqCst);
        Ok((entry, answer))
    });
    entering.await
}

/// A candidacy. Dropping it leaves the election in the background, if that is owed.
pub(super) struct Entry {
    session: Session,
    /// What was entered with, for those who want to be told of the win.
    pub(super) request: pb::EnterRequest,
    leave: Arc<Leave>,
    owed: bool,
}

impl Entry {
    fn new(candidacy: &Candidacy, request: pb::EnterRequest, reservation: Reservation) -> Self {
        let client = candidacy.session.client().clone();
        let leave = Self::leave_request(candidacy, &Expect::default());
        let leave = Leave { client, request: leave, reservation: Mutex::new(Some(reservation)) };
        Self { session: candidacy.session.clone(), request, leave: Arc::new(leave), owed: false }
    }

    pub(super) fn leave_request(candidacy: &Candidacy, expect: &Expect) -> pb::LeaveRequest {
        pb::LeaveRequest {
            caller: caller(Some(&candidacy.session), expect),
            election: candidacy.election.name.wire(),
            candidate: candidacy.request.candidate.clone(),
            instance: Some(candidacy.request.instance.clone()),
        }
    }

    /// It stays in the election.
    pub(super) fn keep(&mut self) {
        self.owed = false;
    }

    /// Hands it to a guard, which leaves whatever was before.
    pub(super) fn into_leave(mut self) -> (pb::EnterRequest, Arc<Leave>) {
        self.owed = false;
        (self.request.clone(), Arc::clone(&self.leave))
    }

    /// Takes it back from a guard that is lost, to wait in line again.
    pub(super) fn again(session: &Session, request: pb::EnterRequest, leave: Arc<Leave>) -> Self {
        Self { session: session.clone(), request, leave, owed: true }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.owed {
            leave_in_background(&self.session, &self.leave);
        }
    }
}

/// The way out of an election.
pub(super) struct Leave {
    client: Client,
    /// One operation, however often it is tried.
    request: pb::LeaveRequest,
    reservation: Mutex<Option<Reservation>>,
}

impl Leave {
    pub(super) async fn leave(&self) -> Result<(), Error> {
        match self.client.repeatable(self.request.clone(), call!(elections.leave)).await {
            // It went with the lease.
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => {}
            result => drop(result?),
        }
        self.done();
        Ok(())
    }

    /// The candidate has left, so the next user of its id may enter.
    pub(super) fn done(&self) {
        drop(self.reservation.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

pub(super) fn leave_in_background(session: &Session, leave: &Arc<Leave>) {
    if session.is_lost() {
        return;
    }
    let (session_of, leave) = (session.clone(), Arc::clone(leave));
    session.in_background(async move { give_back(&session_of, || leave.leave()).await });
}
