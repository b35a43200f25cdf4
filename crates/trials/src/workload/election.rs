//! etcd's elections: candidates that campaign, proclaim, resign or vanish, and those who ask who
//! leads or observe it.

use super::{
    actor::Actor,
    fenced::{Proof, guarded},
    messages::{bytes, kv, revision, text},
    session::Session,
};
use crate::history::{Answer, Call, ElectionAnswer, ElectionCall, Event, Observed, now};
use conclave_api::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse, ResignRequest,
    ResignResponse, election_client::ElectionClient,
};
use std::time::{Duration, Instant};
use tonic::Status;

const ELECTIONS: usize = 2;

fn name(me: &mut Actor) -> String {
    format!("el/n{}", me.draw(ELECTIONS))
}

pub(super) async fn candidate(me: Actor) {
    sessions(me, false).await;
}

/// An election whose leaders lead for longer than a lease lasts: of those who campaign, many lose
/// their lease meanwhile.
pub(super) async fn slow(me: Actor) {
    sessions(me, true).await;
}

async fn sessions(mut me: Actor, slow: bool) {
    while me.goes_on() {
        let seconds = me.spec().ttl_s + me.draw(2) as u64;
        let Some(mut session) = Session::open(&mut me, seconds).await else {
            me.pace().await;
            continue;
        };
        for _ in 0..2 + me.draw(8) {
            if !me.goes_on() || !session.lives() || !round(&mut me, &mut session, slow).await {
                break;
            }
            me.pace().await;
        }
        session.close(&mut me).await;
    }
}

/// Once around an election. False if the session is of no use any more.
async fn round(me: &mut Actor, session: &mut Session, slow: bool) -> bool {
    let election = if slow { "el/slow".to_owned() } else { name(me) };
    let lapses = me.chance(if slow { 50 } else { 2 });
    if lapses {
        session.abandon().await;
    }
    let number = me.number();
    let Some(leader) = campaign(me, session, &election).await else {
        if lapses {
            session.outlast(me).await;
        } else if me.number() != number && me.chance(30) {
            me.linger().await;
        }
        // A place of which nothing is known may stand in the way of the session's next one.
        return !lapses && me.number() == number;
    };
    let proof = Proof::of_key(&election, &text(&leader.key), leader.rev);
    for _ in 0..me.draw(3) {
        if session.lives() {
            proclaim(me, &election, &leader).await;
        }
    }
    if me.chance(50) {
        guarded(me, &proof).await;
    }
    let hold = if slow { me.millis(2500, 4000) } else { me.millis(1, 60) };
    me.sleep(hold).await;
    if lapses || (!slow && me.chance(2)) || !session.lives() {
        session.outlast(me).await;
        guarded(me, &proof).await;
        return false;
    }
    resign(me, &election, leader).await
}

async fn campaign(me: &mut Actor, session: &Session, election: &str) -> Option<LeaderKey> {
    let (value, lease) = (me.unique_text(), session.lease);
    let call = ElectionCall::Campaign { election: election.to_owned(), lease, value: value.clone() };
    me.invoke(Call::Election(call));
    let mut client = ElectionClient::new(me.link.channel());
    let request = client.campaign(CampaignRequest { name: bytes(election), lease, value: bytes(&value) });
    let patience = if me.chance(8) { me.millis(5, 400) } else { Duration::from_secs(12) };
    let (response, received) = me.wait(patience, request).await?;
    let revision = revision(response.header.as_ref());
    me.has_seen(revision);
    let leader = response.leader.unwrap_or_default();
    let won = ElectionAnswer::Won { revision, key: text(&leader.key), fence: leader.rev };
    me.ok_at(received, Answer::Election(won));
    Some(leader)
}

async fn proclaim(me: &mut Actor, election: &str, leader: &LeaderKey) {
    let value = me.unique_text();
    let mut client = ElectionClient::new(me.link.channel());
    let request = client.proclaim(ProclaimRequest { leader: Some(leader.clone()), value: bytes(&value) });
    let call = ElectionCall::Proclaim {
        election: election.to_owned(),
        key: text(&leader.key),
        fence: leader.rev,
        value: value.clone(),
    };
    let answer = |response: &ProclaimResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Election(ElectionAnswer::Proclaimed { revision }))
    };
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Election(call), request, answer).await;
}

/// True if the session can go on.
async fn resign(me: &mut Actor, election: &str, leader: LeaderKey) -> bool {
    let (key, fence) = (text(&leader.key), leader.rev);
    let mut client = ElectionClient::new(me.link.channel());
    let request = client.resign(ResignRequest { leader: Some(leader) });
    let answer = |response: &ResignResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Election(ElectionAnswer::Resigned { revision }))
    };
    let call = ElectionCall::Resign { election: election.to_owned(), key, fence };
    me.call(Call::Election(call), request, answer).await.is_ok()
}

/// Asks who leads, and observes for a while.
pub(super) async fn onlooker(mut me: Actor) {
    while me.goes_on() {
        let election = name(&mut me);
        if me.chance(85) {
            leader(&mut me, election).await;
            me.pace().await;
            me.pace().await;
        } else {
            observe(&mut me.sibling(), election).await;
            me.link.next();
        }
    }
}

async fn leader(me: &mut Actor, election: String) {
    let mut client = ElectionClient::new(me.link.channel());
    let request = client.leader(LeaderRequest { name: bytes(&election) });
    let answer = |response: &LeaderResponse| {
        let (revision, leader) = (revision(response.header.as_ref()), response.kv.as_ref().map(kv));
        Some(Answer::Election(ElectionAnswer::Leader { revision, leader }))
    };
    // That nobody leads is a failure in etcd's protocol.
    let _ = me.call(Call::Election(ElectionCall::Leader { election }), request, answer).await;
}

async fn observe(me: &mut Actor, election: String) {
    let mut client = ElectionClient::new(me.link.channel());
    let call = Call::Election(ElectionCall::Observe { election: election.clone() });
    me.invoke(call);
    // etcd answers nothing at all before it has a leader to tell.
    let opening =
        tokio::time::timeout(Duration::from_secs(3), client.observe(LeaderRequest { name: bytes(&election) }));
    let late = || Err(Status::deadline_exceeded("no stream within the client's time"));
    let mut stream = match opening.await.unwrap_or_else(|_| late()) {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            me.refused(&status, true);
            return;
        }
    };
    me.ok_at(now(), Answer::Election(ElectionAnswer::Observing));
    let until = Instant::now() + me.millis(500, 3000);
    while Instant::now() < until && me.goes_on() {
        match tokio::time::timeout(Duration::from_millis(300), stream.message()).await {
            Err(_) => {}
            Ok(Ok(Some(message))) => {
                let (revision, leader) = (revision(message.header.as_ref()), message.kv.as_ref().map(kv));
                me.event(Event::Observed(Observed { election: election.clone(), revision, leader }));
            }
            Ok(_) => return,
        }
    }
}
