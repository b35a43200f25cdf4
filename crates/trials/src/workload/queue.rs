//! Queue elections: candidates come, lead, hand over and go; operators change the line; one watcher
//! a worker sees it all.

use super::{
    actor::Actor,
    fenced::{Proof, guarded},
    messages::{bytes, revision},
    places::{called, caller},
    session::Session,
};
use crate::history::{
    Answer, Call, Candidate, Event, Promotion, QueueAnswer, QueueCall, QueueEvent, QueueEventKind, QueueOp, Term, now,
};
use conclave_api::conclave::v1::{
    self as api, AnointRequest, CampaignRequest, DemoteRequest, ElectionResponse, EnterRequest, EvictRequest,
    GetTermRequest, GetTermResponse, LeaveRequest, ProclaimRequest, PromoteRequest, TransferRequest,
    WatchElectionRequest, election_response::Standing, elections_client::ElectionsClient, promote_request,
};
use std::time::Duration;
use tonic::{Response, Status, transport::Channel};

pub(super) const ELECTIONS: usize = 2;
const CANDIDATES: usize = 9;

fn name(me: &mut Actor) -> String {
    format!("q{}", me.draw(ELECTIONS))
}

fn term(term: &api::Term) -> Term {
    let candidate = |one: &api::Candidate| Candidate {
        id: one.id.clone(),
        session: one.session,
        priority: one.priority,
        joined: one.joined,
    };
    Term {
        id: term.id,
        seq: term.seq,
        leader: term.leader.clone(),
        candidates: term.candidates.iter().map(candidate).collect(),
        revision: term.revision,
    }
}

fn told(response: &ElectionResponse) -> QueueAnswer {
    let standing = match response.standing() {
        Standing::Absent => "absent",
        Standing::Waiting => "waiting",
        Standing::Leads => "leads",
    };
    QueueAnswer {
        revision: revision(response.header.as_ref()),
        changed: response.changed,
        standing: standing.to_owned(),
        fence: response.token.as_ref().map_or(0, |token| token.fence),
        term: response.term.as_ref().map(term),
    }
}

async fn change(
    me: &mut Actor,
    election: &str,
    what: QueueOp,
    request: impl Future<Output = Result<Response<ElectionResponse>, Status>>,
) -> Option<ElectionResponse> {
    let call = Call::Queue(QueueCall { election: election.to_owned(), what });
    let response = me.call(call, request, |response| Some(Answer::Queue(told(response)))).await.ok()?;
    me.has_seen(revision(response.header.as_ref()));
    Some(response)
}

pub(super) async fn candidate(mut me: Actor, number: usize) {
    while me.goes_on() {
        let seconds = me.spec().ttl_s + me.draw(2) as u64;
        let Some(mut session) = Session::open(&mut me, seconds).await else {
            me.pace().await;
            continue;
        };
        let election = name(&mut me);
        let id = format!("c{number}");
        for _ in 0..3 + me.draw(6) {
            if !me.goes_on() || !session.lives() {
                break;
            }
            if me.chance(10) {
                impersonate(&mut me, &session, &election).await;
            } else {
                stand(&mut me, &session, &election, &id).await;
            }
            me.pace().await;
        }
        if me.chance(30) {
            session.outlast(&me).await;
        } else {
            session.close(&mut me).await;
        }
    }
}

/// Becomes a candidate, and does what a leader does if it leads.
async fn stand(me: &mut Actor, session: &Session, election: &str, id: &str) {
    // Left out it is the same one.
    let instance = if me.chance(50) { format!("{:x}", session.lease) } else { String::new() };
    let enter = EnterRequest {
        caller: Some(caller(session.lease)),
        election: Some(called(election)),
        candidate: id.to_owned(),
        instance: instance.clone(),
        priority: me.draw(3) as i64,
        value: bytes(id),
        takeover: me.chance(30),
        ..Default::default()
    };
    let won = if me.chance(60) {
        let what = QueueOp::Enter {
            candidate: id.to_owned(),
            session: session.lease,
            instance,
            priority: enter.priority,
            try_only: false,
            takeover: enter.takeover,
            preempt: false,
        };
        let mut client = ElectionsClient::new(me.link.channel());
        change(me, election, what, client.enter(enter)).await
    } else {
        let number = me.number();
        let won = wait(me, session, election, id, enter).await;
        if won.is_none() && me.number() != number && me.chance(30) {
            me.linger().await;
        }
        won
    };
    let Some(response) = won else { return };
    let Some(token) = response.token.filter(|token| token.fence > 0) else {
        let pause = me.millis(20, 400);
        me.sleep(pause).await;
        return;
    };
    let proof = Proof { name: election.to_owned(), fence: token.fence, guards: token.guards };
    guarded(me, &proof).await;
    lead(me, session, election, id, response.term.as_ref().map_or(0, |term| term.id)).await;
    guarded(me, &proof).await;
}

/// Enters under some id, perhaps one that another session has, without an instance. Where nobody
/// has it, it leaves again.
async fn impersonate(me: &mut Actor, session: &Session, election: &str) {
    let id = format!("c{}", me.draw(CANDIDATES));
    let enter = EnterRequest {
        caller: Some(caller(session.lease)),
        election: Some(called(election)),
        candidate: id.clone(),
        ..Default::default()
    };
    let what = QueueOp::Enter {
        candidate: id.clone(),
        session: session.lease,
        instance: String::new(),
        priority: 0,
        try_only: false,
        takeover: false,
        preempt: false,
    };
    let mut client = ElectionsClient::new(me.link.channel());
    let Some(entered) = change(me, election, what, client.enter(enter)).await else { return };
    if let Some(token) = entered.token.filter(|token| token.fence > 0) {
        guarded(me, &Proof { name: election.to_owned(), fence: token.fence, guards: token.guards }).await;
    }
    let request = LeaveRequest {
        caller: Some(caller(session.lease)),
        election: Some(called(election)),
        candidate: id.clone(),
        instance: None,
    };
    change(me, election, QueueOp::Leave { candidate: id }, client.leave(request)).await;
}

/// What a leader does with its term.
async fn lead(me: &mut Actor, session: &Session, election: &str, id: &str, term_id: i64) {
    let by = || Some(caller(session.lease));
    let mut client = ElectionsClient::new(me.link.channel());
    match me.draw(4) {
        0 => {
            let value = me.unique_text();
            let request =
                ProclaimRequest { caller: by(), election: Some(called(election)), term_id, value: bytes(&value) };
            change(me, election, QueueOp::Proclaim { term: term_id, value }, client.proclaim(request)).await;
        }
        1 => {
            let to = format!("c{}", me.draw(CANDIDATES));
            let leave = me.chance(30);
            let request =
                TransferRequest { caller: by(), election: Some(called(election)), term_id, to: to.clone(), leave };
            change(me, election, QueueOp::Transfer { term: term_id, to, leave }, client.transfer(request)).await;
        }
        2 => {
            let candidate = id.to_owned();
            let request = LeaveRequest {
                caller: by(),
                election: Some(called(election)),
                candidate: candidate.clone(),
                instance: None,
            };
            change(me, election, QueueOp::Leave { candidate }, client.leave(request)).await;
        }
        _ => {
            let hold = me.millis(5, 200);
            me.sleep(hold).await;
        }
    }
}

/// Enters, and waits for the win: as long as it takes, or until it gives up, by itself or by the
/// deadline that the server knows.
async fn wait(
    me: &mut Actor,
    session: &Session,
    election: &str,
    id: &str,
    enter: EnterRequest,
) -> Option<ElectionResponse> {
    let what = QueueOp::Campaign { candidate: id.to_owned(), session: session.lease };
    me.invoke(Call::Queue(QueueCall { election: election.to_owned(), what }));
    let timeout_ms = if me.chance(15) { me.millis(100, 2000).as_millis() as u64 } else { 0 };
    let patience = if me.chance(8) { me.millis(5, 400) } else { Duration::from_secs(12) };
    let request = campaign(me.link.channel(), enter, timeout_ms);
    let (response, received) = me.wait(patience, request).await?;
    me.has_seen(revision(response.header.as_ref()));
    me.ok_at(received, Answer::Queue(told(&response)));
    Some(response)
}

/// The win is the stream's last message.
async fn campaign(
    channel: Channel,
    enter: EnterRequest,
    timeout_ms: u64,
) -> Result<Response<ElectionResponse>, Status> {
    let request = CampaignRequest { enter: Some(enter), timeout_ms, stay: false };
    let mut stream = ElectionsClient::new(channel).campaign(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if let Some(api::campaign_response::Now::Won(won)) = message.now {
            return Ok(Response::new(won));
        }
    }
    Err(Status::unknown("the stream ended before the win"))
}

pub(super) async fn operator(mut me: Actor) {
    while me.goes_on() {
        let election = name(&mut me);
        let candidate = format!("c{}", me.draw(CANDIDATES));
        operate(&mut me, &election, candidate).await;
        let pause = me.millis(20, 150);
        me.sleep(pause).await;
    }
}

async fn operate(me: &mut Actor, election: &str, candidate: String) {
    let by = || (Some(caller(0)), Some(called(election)));
    let ((caller, named), ignore_missing) = (by(), me.chance(50));
    let mut client = ElectionsClient::new(me.link.channel());
    match me.draw(100) {
        0..45 => {
            let request = GetTermRequest { election: named, limit: 100, ..Default::default() };
            let answer = |response: &GetTermResponse| {
                let revision = revision(response.header.as_ref());
                let told = response.term.as_ref().map(term);
                Some(Answer::Queue(QueueAnswer {
                    revision,
                    changed: false,
                    standing: String::new(),
                    fence: 0,
                    term: told,
                }))
            };
            let call = Call::Queue(QueueCall { election: election.to_owned(), what: QueueOp::Term });
            // A refusal is in the history as a failure.
            let _ = me.call(call, client.get_term(request), answer).await;
        }
        45..55 => {
            let request = AnointRequest { caller, election: named, candidate: candidate.clone(), ignore_missing };
            change(me, election, QueueOp::Anoint { candidate }, client.anoint(request)).await;
        }
        55..75 => {
            let (to, meant) = match me.draw(3) {
                0 => (promote_request::To::Places(1), Promotion::Places(1)),
                1 => (promote_request::To::FrontOfQueue(true), Promotion::Front),
                _ => (promote_request::To::Lead(true), Promotion::Lead),
            };
            let request =
                PromoteRequest { caller, election: named, candidate: candidate.clone(), ignore_missing, to: Some(to) };
            change(me, election, QueueOp::Promote { candidate, to: meant }, client.promote(request)).await;
        }
        75..90 => {
            let places = me.draw(3) as u32;
            let request =
                DemoteRequest { caller, election: named, candidate: candidate.clone(), places, ignore_missing };
            change(me, election, QueueOp::Demote { candidate, places }, client.demote(request)).await;
        }
        _ => {
            let request = EvictRequest {
                caller,
                election: named,
                candidate: candidate.clone(),
                ignore_missing,
                ..Default::default()
            };
            change(me, election, QueueOp::Evict { candidate }, client.evict(request)).await;
        }
    }
}

/// Sees every change of one election, from its beginning on, over reconnections.
pub(super) async fn watcher(mut me: Actor, number: usize) {
    let election = format!("q{number}");
    let stream = format!("q{}-{}", number, me.spec().first);
    let mut next = 1;
    while me.goes_on() {
        me.invoke(Call::Queue(QueueCall {
            election: election.clone(),
            what: QueueOp::Watch { start: next, stream: stream.clone() },
        }));
        let request = WatchElectionRequest {
            election: Some(called(&election)),
            start_revision: next,
            candidates: true,
            ..Default::default()
        };
        let mut client = ElectionsClient::new(me.link.channel());
        let opened = tokio::time::timeout(Duration::from_secs(3), client.watch(request)).await;
        let late = || Err(Status::deadline_exceeded("no stream within the client's time"));
        match opened.unwrap_or_else(|_| late()) {
            Err(status) => {
                if status.code() == tonic::Code::OutOfRange {
                    // What was compacted nobody can tell any more; the rest is judged from there
                    // on.
                    next = me.newest().max(next + 1);
                }
                me.refused(&status, true);
            }
            Ok(events) => {
                let answer = QueueAnswer { revision: 0, changed: false, standing: String::new(), fence: 0, term: None };
                me.ok_at(now(), Answer::Queue(answer));
                follow(&me, events.into_inner(), &election, &stream, &mut next).await;
                me.link.next();
            }
        }
        me.sleep(Duration::from_millis(50)).await;
    }
}

async fn follow(
    me: &Actor,
    mut events: tonic::Streaming<api::ElectionEvent>,
    election: &str,
    stream: &str,
    next: &mut i64,
) {
    loop {
        let message = tokio::select! {
            message = events.message() => message,
            () = me.stopped() => return,
        };
        let Ok(Some(event)) = message else { return };
        let revision = revision(event.header.as_ref());
        let kind = match event.r#type() {
            api::election_event::Type::Snapshot => QueueEventKind::Snapshot,
            api::election_event::Type::Changed => QueueEventKind::Changed,
            api::election_event::Type::Vacant => QueueEventKind::Vacant,
            api::election_event::Type::Deleted => QueueEventKind::Deleted,
        };
        let told = QueueEvent {
            stream: stream.to_owned(),
            election: election.to_owned(),
            revision,
            kind,
            term: event.term.as_ref().map(term).unwrap_or_default(),
            cause: event.cause().as_str_name().to_lowercase(),
            subject: event.subject.clone(),
            previous: event.previous_leader.clone(),
        };
        me.event(Event::Queue(told));
        *next = (*next).max(revision + 1);
    }
}
