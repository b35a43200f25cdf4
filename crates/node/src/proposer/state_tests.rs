use super::*;
use conclave_state::{Outcome, Response};

const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

fn state() -> ProposerState {
    ProposerState::new(7, 1 << 10, TIMEOUT)
}

fn put(len: usize) -> Command {
    Command::Put(conclave_state::Put {
        key: Bytes::from_static(b"k"),
        value: vec![0; len].into(),
        ..Default::default()
    })
}

fn answer(seq: u64, outcomes: usize) -> Answer {
    let outcome = Outcome { revision: 2, repeats: None, result: Ok(Response::Put { prev: None }) };
    Answer { seq, outcomes: vec![outcome; outcomes], index: 5, term: 1 }
}

#[tokio::test]
async fn commands_of_one_segment_are_answered_together() {
    let (mut state, now) = (state(), Instant::now());
    let (a, wake) = state.push(&put(1), now, Whose::Clients);
    let (b, again) = state.push(&put(1), now, Whose::Clients);
    assert!(wake && !again, "only the first command finds it idle");
    let batch = state.take(1, now);
    assert_eq!((batch.seqs.as_slice(), batch.local.len()), ([1].as_slice(), 1));
    assert!(state.is_idle());
    state.observe(vec![answer(1, 2)], 1);
    assert_eq!(a.await.unwrap().unwrap().index, 5);
    assert_eq!(b.await.unwrap().unwrap().index, 5);
    assert_eq!((state.waiting_bytes(), state.waiting_commands()), (0, 0));
}

/// What the node asks itself shares no segment with clients, and is answered without their runtime.
#[tokio::test]
async fn own_commands_are_answered_apart() {
    let (mut state, now) = (state(), Instant::now());
    let (client, _) = state.push(&put(1), now, Whose::Clients);
    let (own, _) = state.push(&put(1), now, Whose::Node);
    let (mut other, _) = state.push(&put(1), now, Whose::Clients);
    assert_eq!(state.take(1, now).seqs, [1, 2, 3]);
    let mut answers = vec![answer(1, 1), answer(2, 1), answer(3, 1)];
    state.observe_own(&mut answers);
    assert_eq!(own.await.unwrap().unwrap().index, 5);
    assert_eq!(answers.iter().map(|answer| answer.seq).collect::<Vec<_>>(), [1, 3]);
    assert!(other.try_recv().is_err());
    let (mut lost, _) = state.push(&put(1), now, Whose::Node);
    state.take(1, now);
    state.fail_own_in_flight();
    assert_eq!(lost.try_recv().unwrap(), Err(ProposeError::LeaderFailed));
    state.observe(answers, 1);
    assert!(client.await.unwrap().is_ok() && other.await.unwrap().is_ok());
    assert_eq!((state.waiting_bytes(), state.waiting_commands(), state.own), (0, 0, 0));
}

/// A forged segment under the name of one of ours, with another number of commands.
#[tokio::test]
async fn outcomes_that_do_not_pair_answer_nobody() {
    let (mut state, now) = (state(), Instant::now());
    let (mut rx, _) = state.push(&put(1), now, Whose::Clients);
    state.take(1, now);
    for outcomes in [0, 2] {
        state.observe(vec![answer(1, outcomes)], 1);
        assert!(rx.try_recv().is_err());
    }
    state.observe(vec![answer(1, 1)], 1);
    assert_eq!(rx.await.unwrap().unwrap().index, 5);
}

#[tokio::test]
async fn packs_hold_a_bounded_number_of_commands() {
    let (mut state, now) = (ProposerState::new(7, 1 << 30, TIMEOUT), Instant::now());
    let small = Command::LeaseRevoke { id: 1 };
    let _waiting: Vec<_> = (0..2 * MAX_COMMANDS).map(|_| state.push(&small, now, Whose::Clients).0).collect();
    let batch = state.take(1, now);
    assert!(batch.commands > 0 && batch.commands <= MAX_COMMANDS);
    assert!(!state.is_idle(), "the rest is for the next one");
}

#[tokio::test]
async fn a_later_term_proves_that_a_segment_was_lost() {
    let (mut state, now) = (state(), Instant::now());
    let (rx, _) = state.push(&put(1), now, Whose::Clients);
    state.take(3, now);
    assert!(!state.observe(vec![], 3), "its local term proves nothing");
    assert!(state.is_idle());
    assert!(state.observe(vec![], 4));
    assert_eq!(state.take(4, now).seqs, [1]);
    // The same entry in one batch with the later term: applied, not lost.
    assert!(!state.observe(vec![answer(1, 1)], 5));
    assert!(rx.await.unwrap().is_ok());
    assert!(state.is_idle());
}

#[tokio::test]
async fn what_timed_out_says_whether_it_was_sent() {
    let (mut state, now) = (state(), Instant::now());
    let (sent, _) = state.push(&put(1), now, Whose::Clients);
    state.take(1, now);
    let (unsent, _) = state.push(&put(1), now, Whose::Clients);
    state.expire(now + TIMEOUT / 2, TIMEOUT / 4);
    state.expire(now + TIMEOUT, TIMEOUT / 4);
    assert_eq!(sent.await.unwrap(), Err(ProposeError::TimedOut));
    assert_eq!(unsent.await.unwrap(), Err(ProposeError::NoLeader));
    assert!(state.take(1, now).seqs.is_empty(), "what failed is not sent afterwards");
}

#[tokio::test]
async fn at_the_deadline_a_refusal_still_counts() {
    let (mut state, now) = (state(), Instant::now());
    let (rx, _) = state.push(&put(1), now, Whose::Clients);
    let late = now + TIMEOUT - PAUSE;
    assert_eq!(state.take(1, late).seqs, [1]);
    state.expire(now + TIMEOUT, 2 * PAUSE);
    state.requeue(&[1], 1, now + TIMEOUT, PAUSE);
    assert_eq!(rx.await.unwrap(), Err(ProposeError::NoLeader));
    assert!(state.is_idle());
}

#[tokio::test]
async fn a_snapshot_makes_what_was_sent_unknown_and_leaves_the_rest() {
    let (mut state, now) = (state(), Instant::now());
    let (sent, _) = state.push(&put(1), now, Whose::Clients);
    state.take(1, now);
    let (_unsent, _) = state.push(&put(1), now, Whose::Clients);
    state.fail_in_flight();
    assert_eq!(sent.await.unwrap(), Err(ProposeError::LeaderFailed));
    assert_eq!(state.take(2, now).seqs, [2]);
}

#[tokio::test]
async fn packs_are_bounded_and_a_large_command_goes_alone() {
    let (mut state, now) = (state(), Instant::now());
    let _receivers = [
        state.push(&put(600), now, Whose::Clients),
        state.push(&put(600), now, Whose::Clients),
        state.push(&put(5_000), now, Whose::Clients),
    ];
    assert_eq!(state.take(1, now).seqs, [1], "closed when it had enough");
    assert_eq!(state.take(1, now).seqs, [2]);
    assert_eq!(state.take(1, now).seqs, [] as [u64; 0]);
}

#[tokio::test]
async fn given_back_only_if_sent_for_that_term() {
    let (mut state, now) = (state(), Instant::now());
    let _rx = state.push(&put(1), now, Whose::Clients);
    state.take(1, now);
    state.observe(vec![], 2);
    state.take(2, now);
    state.requeue(&[1], 1, now, PAUSE);
    assert!(state.is_idle(), "a late refusal from the first leader");
    state.requeue(&[1], 2, now, PAUSE);
    assert!(!state.is_idle() && state.pause() == Some(now + PAUSE));
}

#[tokio::test]
async fn forwarded_batches_of_another_term_are_refused() {
    let mut state = state();
    let forwarded = |term| {
        let (reply, rx) = oneshot::channel();
        (ForwardedBatch { term, segments: vec![Bytes::from_static(b"x")], commands: 1, reply }, rx)
    };
    let (first, _rx1) = forwarded(1);
    let (second, _rx2) = forwarded(2);
    assert!(state.push_forwarded(first, 100).is_ok_and(|idle| idle));
    assert!(state.push_forwarded(second, 100).is_ok());
    let batch = state.take_entry(2, Instant::now());
    assert_eq!((batch.forwarded.len(), batch.refused.len()), (1, 1));
    assert!(state.is_idle());
}

/// Number of local segments and forwarded batches in the next entry of term 1.
fn next_entry(state: &mut ProposerState, now: Instant) -> (usize, usize) {
    let batch = state.take_entry(1, now);
    (batch.seqs.len(), batch.forwarded.len())
}

#[tokio::test]
async fn neither_own_commands_nor_forwarded_ones_keep_the_others_waiting() {
    let (mut state, now) = (state(), Instant::now());
    let batch = || {
        let (reply, _) = oneshot::channel();
        ForwardedBatch { term: 1, segments: vec![vec![0; 700].into()], commands: 1, reply }
    };
    let (mut local, mut forwarded) = (0, 0);
    for _ in 0..20 {
        // There is always more of both kinds than one entry takes.
        let _receivers = [state.push(&put(700), now, Whose::Clients), state.push(&put(700), now, Whose::Clients)];
        assert!((0..2).all(|_| state.push_forwarded(batch(), 1 << 20).is_ok()));
        let (mine, theirs) = next_entry(&mut state, now);
        assert!(mine + theirs > 0);
        (local, forwarded) = (local + mine, forwarded + theirs);
    }
    assert_eq!((local, forwarded), (10, 10));
}

#[tokio::test]
async fn who_has_the_turn_leaves_the_room_that_is_left() {
    let (mut state, now) = (state(), Instant::now());
    for _ in 0..4 {
        let _receiver = state.push(&put(100), now, Whose::Clients);
        let (reply, _) = oneshot::channel();
        let forwarded = ForwardedBatch { term: 1, segments: vec![vec![0; 100].into()], commands: 1, reply };
        assert!(state.push_forwarded(forwarded, 1 << 20).is_ok());
        assert_eq!(next_entry(&mut state, now), (1, 1));
        assert!(state.is_idle());
    }
}
