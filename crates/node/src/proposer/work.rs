//! The proposer's book: what waits, what is under way, what came back. No I/O and no tasks; the times are given.

use super::gather::{Gather, Waiting, When};
use super::{Applied, ProposeError};
use bytes::Bytes;
use conclave_state::Command;
use conclave_storage::Answer;
use conclave_storage::proposal::{MAX_COMMANDS, SegmentWriter};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

type Waiter = oneshot::Sender<Result<Applied, ProposeError>>;

/// What a follower forwarded here: proposed in `term` or not at all.
pub(super) struct Inbound {
    pub(super) term: u64,
    pub(super) segments: Vec<Bytes>,
    pub(super) commands: usize,
    pub(super) reply: oneshot::Sender<crate::peer::Forwarded>,
}

impl Inbound {
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }
}

/// What is sent at once.
#[derive(Default)]
pub(super) struct Taken {
    /// Own segments, by number and by content.
    pub(super) seqs: Vec<u64>,
    pub(super) own: Vec<Bytes>,
    pub(super) inbound: Vec<Inbound>,
    /// Not part of it: forwarded for another term.
    pub(super) refused: Vec<Inbound>,
    bytes: usize,
    commands: usize,
}

impl Taken {
    fn fits(&self, bytes: usize, commands: usize, limit: usize) -> bool {
        self.bytes == 0 || (self.bytes + bytes <= limit && self.commands + commands <= MAX_COMMANDS)
    }

    fn add(&mut self, bytes: usize, commands: usize) {
        self.bytes += bytes;
        self.commands += commands;
    }
}

/// The segment that is being filled.
struct Filling {
    writer: SegmentWriter,
    waiters: Vec<Waiter>,
    bytes: usize,
    since: Instant,
}

/// A closed segment, until all of it is answered.
struct Segment {
    bytes: Bytes,
    waiters: Vec<Waiter>,
    deadline: Instant,
    /// While it may be applied for having been sent.
    sent: Option<Sent>,
}

#[derive(Clone, Copy)]
struct Sent {
    term: u64,
    at: Instant,
}

pub(super) struct Work {
    origin: u64,
    pack_bytes: usize,
    timeout: Duration,
    closed: bool,
    next_seq: u64,
    filling: Option<Filling>,
    /// By sequence number, which is also the order of deadlines.
    segments: BTreeMap<u64, Segment>,
    /// Segments that may be sent now, in order. May name some that are answered meanwhile.
    ready: VecDeque<u64>,
    inbound: VecDeque<Inbound>,
    inbound_bytes: usize,
    inbound_commands: usize,
    gather: Gather,
    waiting_bytes: usize,
    waiting_commands: usize,
    applied_term: u64,
    /// Whether own segments come first in the next entry; each time it is the others' turn.
    own_first: bool,
    /// Nothing is sent before this: the leader just said no.
    pause: Option<Instant>,
}

impl Work {
    pub(super) fn new(origin: u64, pack_bytes: usize, timeout: Duration) -> Work {
        Work {
            origin,
            pack_bytes,
            timeout,
            closed: false,
            next_seq: 1,
            filling: None,
            segments: BTreeMap::new(),
            ready: VecDeque::new(),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            inbound_commands: 0,
            gather: Gather::default(),
            waiting_bytes: 0,
            waiting_commands: 0,
            applied_term: 0,
            own_first: true,
            pause: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn waiting_commands(&self) -> usize {
        self.waiting_commands
    }

    /// Adds a command; the flag says that the sender is to look: there was nothing to send before, or now there is enough.
    pub(super) fn push(
        &mut self,
        command: &Command,
        now: Instant,
    ) -> (oneshot::Receiver<Result<Applied, ProposeError>>, bool) {
        let (tx, rx) = oneshot::channel();
        let before = self.to_send();
        let new = || Filling { writer: SegmentWriter::default(), waiters: vec![], bytes: 0, since: now };
        let filling = self.filling.get_or_insert_with(new);
        let bytes = filling.writer.push(command);
        filling.bytes += bytes;
        filling.waiters.push(tx);
        self.waiting_bytes += bytes;
        self.waiting_commands += 1;
        if filling.bytes >= self.pack_bytes || filling.waiters.len() >= MAX_COMMANDS / 8 {
            self.close_filling();
        }
        (rx, self.is_news(before))
    }

    pub(super) fn push_inbound(&mut self, inbound: Inbound, limit: usize) -> Result<bool, Inbound> {
        let bytes = inbound.len();
        if self.closed || (self.inbound_bytes > 0 && self.inbound_bytes + bytes > limit) {
            return Err(inbound);
        }
        let before = self.to_send();
        self.inbound_bytes += bytes;
        self.inbound_commands += inbound.commands;
        self.inbound.push_back(inbound);
        Ok(self.is_news(before))
    }

    /// About what waits to be sent. A closed segment counts as one command of a whole pack.
    fn to_send(&self) -> Waiting {
        let (commands, bytes) = self.filling.as_ref().map_or((0, 0), |filling| (filling.waiters.len(), filling.bytes));
        Waiting {
            commands: commands + self.ready.len() + self.inbound_commands,
            bytes: bytes + self.ready.len() * self.pack_bytes + self.inbound_bytes,
        }
    }

    /// Whether what came since `before` is a reason to look.
    fn is_news(&self, before: Waiting) -> bool {
        before.commands == 0 || (!self.gather.is_enough(before) && self.gather.is_enough(self.to_send()))
    }

    /// When what waits should be sent.
    pub(super) fn when(&self, now: Instant) -> When {
        self.gather.when(self.to_send(), now)
    }

    /// What was sent last is decided.
    pub(super) fn batch_done(&mut self, now: Instant) {
        self.gather.done(now);
    }

    /// Nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.filling.is_none() && self.ready.is_empty() && self.inbound.is_empty()
    }

    pub(super) fn pause(&self) -> Option<Instant> {
        self.pause
    }

    pub(super) fn end_pause(&mut self, pause: Instant) {
        if self.pause == Some(pause) {
            self.pause = None;
        }
    }

    fn close_filling(&mut self) {
        let Some(filling) = self.filling.take() else { return };
        let seq = self.next_seq;
        self.next_seq += 1;
        let deadline = filling.since + self.timeout;
        let bytes = filling.writer.finish(self.origin, seq);
        // Both sides of the account in encoded bytes, so that it comes out even.
        self.waiting_bytes = self.waiting_bytes - filling.bytes + bytes.len();
        self.segments.insert(seq, Segment { bytes, waiters: filling.waiters, deadline, sent: None });
        self.ready.push_back(seq);
    }

    /// What goes into the next entry of `term`: at most about a pack, at least something if there is anything. Own segments and forwarded
    /// ones come first by turns, and the others have the room that is left: however much there is of one kind, the other gets its half.
    pub(super) fn take_entry(&mut self, term: u64, now: Instant) -> Taken {
        let mut taken = Taken::default();
        if self.own_first {
            self.take_own(term, &mut taken, now);
            self.take_inbound(term, &mut taken);
        } else {
            self.take_inbound(term, &mut taken);
            self.take_own(term, &mut taken, now);
        }
        self.own_first = !self.own_first;
        self.sent(&taken);
        taken
    }

    /// The next own segments, for the leader of `term`.
    pub(super) fn take(&mut self, term: u64, now: Instant) -> Taken {
        let mut taken = Taken::default();
        self.take_own(term, &mut taken, now);
        self.sent(&taken);
        taken
    }

    fn sent(&mut self, taken: &Taken) {
        if !taken.seqs.is_empty() || !taken.inbound.is_empty() {
            self.gather.sent(taken.commands);
        }
    }

    fn take_own(&mut self, term: u64, taken: &mut Taken, now: Instant) {
        self.close_filling();
        self.pause = None;
        while let Some(seq) = self.ready.front() {
            let Some(segment) = self.segments.get_mut(seq) else {
                self.ready.pop_front();
                continue;
            };
            if !taken.fits(segment.bytes.len(), segment.waiters.len(), self.pack_bytes) {
                break;
            }
            taken.add(segment.bytes.len(), segment.waiters.len());
            segment.sent = Some(Sent { term, at: now });
            taken.seqs.push(*seq);
            taken.own.push(segment.bytes.clone());
            self.ready.pop_front();
        }
    }

    /// The next forwarded batches of `term`; those of another term are to be refused.
    fn take_inbound(&mut self, term: u64, taken: &mut Taken) {
        while let Some(next) = self.inbound.front() {
            let (bytes, right) = (next.len(), next.term == term);
            if right && !taken.fits(bytes, next.commands, self.pack_bytes) {
                break;
            }
            let Some(next) = self.pop_inbound() else { break };
            if right {
                taken.add(bytes, next.commands);
                taken.inbound.push(next);
            } else {
                taken.refused.push(next);
            }
        }
    }

    fn pop_inbound(&mut self) -> Option<Inbound> {
        let next = self.inbound.pop_front()?;
        self.inbound_bytes -= next.len();
        self.inbound_commands -= next.commands;
        Some(next)
    }

    /// Every forwarded batch, to be refused: this node does not lead.
    pub(super) fn refuse_inbound(&mut self) -> Vec<Inbound> {
        std::iter::from_fn(|| self.pop_inbound()).collect()
    }

    /// These were surely not proposed in `term`: they may be sent again, after a moment, unless their time is up.
    pub(super) fn give_back(&mut self, seqs: &[u64], term: u64, now: Instant, pause: Duration) {
        for seq in seqs {
            let Some(segment) = self.segments.get_mut(seq) else { continue };
            if segment.sent.is_none_or(|sent| sent.term != term) {
                continue;
            }
            segment.sent = None;
            if segment.deadline > now {
                self.ready.push_back(*seq);
                self.pause = Some(now + pause);
            } else if let Some(segment) = self.remove(*seq) {
                fail(segment.waiters, ProposeError::NoLeader);
            }
        }
    }

    /// Answers what was applied; returns whether there is something to send (again).
    pub(super) fn observe(&mut self, answers: Vec<Answer>, last_term: u64) -> bool {
        for answer in answers {
            // A peer that knows this origin could have made a segment of this name. It answers nothing that was asked here.
            let asked = self.segments.get(&answer.seq).map(|segment| segment.waiters.len());
            if asked != Some(answer.outcomes.len()) {
                continue;
            }
            let Some(segment) = self.remove(answer.seq) else { continue };
            for (waiter, outcome) in segment.waiters.into_iter().zip(answer.outcomes) {
                // Nobody may be waiting any more.
                let _ = waiter.send(Ok(Applied { outcome, index: answer.index, term: answer.term }));
            }
        }
        if last_term <= self.applied_term {
            return false;
        }
        self.applied_term = last_term;
        // Invariant 1 of the module: what an earlier leader was given and is not in the log by now never will be.
        let before = self.ready.len();
        for (seq, segment) in &mut self.segments {
            if segment.sent.is_some_and(|sent| sent.term < last_term) {
                segment.sent = None;
                self.ready.push_back(*seq);
            }
        }
        self.ready.len() > before
    }

    /// Fails what is past its deadline, and closes a segment that has been filling for longer than `patience`, so that it has one.
    ///
    /// What was sent within the last `patience` is left alone: most likely the leader is about to say that it is none.
    pub(super) fn expire(&mut self, now: Instant, patience: Duration) {
        if self.filling.as_ref().is_some_and(|f| f.since + patience <= now) {
            self.close_filling();
        }
        let overdue = self.segments.iter().take_while(|(_, segment)| segment.deadline <= now);
        let settled = overdue.filter(|(_, segment)| segment.sent.is_none_or(|sent| sent.at + patience <= now));
        for seq in settled.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            let Some(segment) = self.remove(seq) else { continue };
            let error = if segment.sent.is_some() { ProposeError::TimedOut } else { ProposeError::NoLeader };
            fail(segment.waiters, error);
        }
    }

    /// Whatever was sent cannot be followed any more.
    pub(super) fn lose_sight(&mut self) {
        let sent: Vec<u64> = self.segments.iter().filter(|(_, s)| s.sent.is_some()).map(|(seq, _)| *seq).collect();
        for seq in sent {
            if let Some(segment) = self.remove(seq) {
                fail(segment.waiters, ProposeError::LeaderFailed);
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.close_filling();
        self.lose_sight();
        for segment in std::mem::take(&mut self.segments).into_values() {
            fail(segment.waiters, ProposeError::Stopped);
        }
        self.ready.clear();
        self.waiting_bytes = 0;
        self.waiting_commands = 0;
        for inbound in self.inbound.drain(..) {
            let _ = inbound.reply.send(crate::peer::Forwarded::NotLeader);
        }
        self.inbound_bytes = 0;
        self.inbound_commands = 0;
    }

    fn remove(&mut self, seq: u64) -> Option<Segment> {
        let segment = self.segments.remove(&seq)?;
        self.waiting_bytes -= segment.bytes.len();
        self.waiting_commands -= segment.waiters.len();
        Some(segment)
    }
}

fn fail(waiters: Vec<Waiter>, error: ProposeError) {
    for waiter in waiters {
        let _ = waiter.send(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::{Outcome, Response};

    const TIMEOUT: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(5);

    fn work() -> Work {
        Work::new(7, 1 << 10, TIMEOUT)
    }

    fn put(len: usize) -> Command {
        Command::Put(conclave_state::Put {
            key: Bytes::from_static(b"k"),
            value: vec![0; len].into(),
            ..Default::default()
        })
    }

    fn answer(seq: u64, outcomes: usize) -> Answer {
        let outcome = Outcome { revision: 2, result: Ok(Response::Put { prev: None }) };
        Answer { seq, outcomes: vec![outcome; outcomes], index: 5, term: 1 }
    }

    #[tokio::test]
    async fn commands_of_one_segment_are_answered_together() {
        let (mut work, now) = (work(), Instant::now());
        let (a, wake) = work.push(&put(1), now);
        let (b, again) = work.push(&put(1), now);
        assert!(wake && !again, "only the first command finds it idle");
        let taken = work.take(1, now);
        assert_eq!((taken.seqs.as_slice(), taken.own.len()), ([1].as_slice(), 1));
        assert!(work.is_idle());
        work.observe(vec![answer(1, 2)], 1);
        assert_eq!(a.await.unwrap().unwrap().index, 5);
        assert_eq!(b.await.unwrap().unwrap().index, 5);
        assert_eq!((work.waiting_bytes(), work.waiting_commands()), (0, 0));
    }

    /// A forged segment under the name of one of ours, with another number of commands.
    #[tokio::test]
    async fn outcomes_that_do_not_pair_answer_nobody() {
        let (mut work, now) = (work(), Instant::now());
        let (mut rx, _) = work.push(&put(1), now);
        work.take(1, now);
        for outcomes in [0, 2] {
            work.observe(vec![answer(1, outcomes)], 1);
            assert!(rx.try_recv().is_err());
        }
        work.observe(vec![answer(1, 1)], 1);
        assert_eq!(rx.await.unwrap().unwrap().index, 5);
    }

    #[tokio::test]
    async fn packs_hold_a_bounded_number_of_commands() {
        let (mut work, now) = (Work::new(7, 1 << 30, TIMEOUT), Instant::now());
        let small = Command::LeaseRevoke { id: 1 };
        let _waiting: Vec<_> = (0..2 * MAX_COMMANDS).map(|_| work.push(&small, now).0).collect();
        let taken = work.take(1, now);
        assert!(taken.commands > 0 && taken.commands <= MAX_COMMANDS);
        assert!(!work.is_idle(), "the rest is for the next one");
    }

    #[tokio::test]
    async fn a_later_term_proves_that_a_segment_was_lost() {
        let (mut work, now) = (work(), Instant::now());
        let (rx, _) = work.push(&put(1), now);
        work.take(3, now);
        assert!(!work.observe(vec![], 3), "its own term proves nothing");
        assert!(work.is_idle());
        assert!(work.observe(vec![], 4));
        assert_eq!(work.take(4, now).seqs, [1]);
        // The same entry in one batch with the later term: applied, not lost.
        assert!(!work.observe(vec![answer(1, 1)], 5));
        assert!(rx.await.unwrap().is_ok());
        assert!(work.is_idle());
    }

    #[tokio::test]
    async fn what_timed_out_says_whether_it_was_sent() {
        let (mut work, now) = (work(), Instant::now());
        let (sent, _) = work.push(&put(1), now);
        work.take(1, now);
        let (unsent, _) = work.push(&put(1), now);
        work.expire(now + TIMEOUT / 2, TIMEOUT / 4);
        work.expire(now + TIMEOUT, TIMEOUT / 4);
        assert_eq!(sent.await.unwrap(), Err(ProposeError::TimedOut));
        assert_eq!(unsent.await.unwrap(), Err(ProposeError::NoLeader));
        assert!(work.take(1, now).seqs.is_empty(), "what failed is not sent afterwards");
    }

    #[tokio::test]
    async fn at_the_deadline_a_refusal_still_counts() {
        let (mut work, now) = (work(), Instant::now());
        let (rx, _) = work.push(&put(1), now);
        let late = now + TIMEOUT - PAUSE;
        assert_eq!(work.take(1, late).seqs, [1]);
        work.expire(now + TIMEOUT, 2 * PAUSE);
        work.give_back(&[1], 1, now + TIMEOUT, PAUSE);
        assert_eq!(rx.await.unwrap(), Err(ProposeError::NoLeader));
        assert!(work.is_idle());
    }

    #[tokio::test]
    async fn a_snapshot_makes_what_was_sent_unknown_and_leaves_the_rest() {
        let (mut work, now) = (work(), Instant::now());
        let (sent, _) = work.push(&put(1), now);
        work.take(1, now);
        let (_unsent, _) = work.push(&put(1), now);
        work.lose_sight();
        assert_eq!(sent.await.unwrap(), Err(ProposeError::LeaderFailed));
        assert_eq!(work.take(2, now).seqs, [2]);
    }

    #[tokio::test]
    async fn packs_are_bounded_and_a_large_command_goes_alone() {
        let (mut work, now) = (work(), Instant::now());
        let _receivers = [work.push(&put(600), now), work.push(&put(600), now), work.push(&put(5_000), now)];
        assert_eq!(work.take(1, now).seqs, [1], "closed when it had enough");
        assert_eq!(work.take(1, now).seqs, [2]);
        assert_eq!(work.take(1, now).seqs, [] as [u64; 0]);
    }

    #[tokio::test]
    async fn given_back_only_if_sent_for_that_term() {
        let (mut work, now) = (work(), Instant::now());
        let _rx = work.push(&put(1), now);
        work.take(1, now);
        work.observe(vec![], 2);
        work.take(2, now);
        work.give_back(&[1], 1, now, PAUSE);
        assert!(work.is_idle(), "a late refusal from the first leader");
        work.give_back(&[1], 2, now, PAUSE);
        assert!(!work.is_idle() && work.pause() == Some(now + PAUSE));
    }

    #[tokio::test]
    async fn forwarded_batches_of_another_term_are_refused() {
        let mut work = work();
        let inbound = |term| {
            let (reply, rx) = oneshot::channel();
            (Inbound { term, segments: vec![Bytes::from_static(b"x")], commands: 1, reply }, rx)
        };
        let (first, _rx1) = inbound(1);
        let (second, _rx2) = inbound(2);
        assert!(work.push_inbound(first, 100).is_ok_and(|idle| idle));
        assert!(work.push_inbound(second, 100).is_ok());
        let taken = work.take_entry(2, Instant::now());
        assert_eq!((taken.inbound.len(), taken.refused.len()), (1, 1));
        assert!(work.is_idle());
    }

    /// What goes into the next entry in term 1: how many own segments, and how many forwarded batches.
    fn next_entry(work: &mut Work, now: Instant) -> (usize, usize) {
        let taken = work.take_entry(1, now);
        (taken.seqs.len(), taken.inbound.len())
    }

    #[tokio::test]
    async fn neither_own_commands_nor_forwarded_ones_keep_the_others_waiting() {
        let (mut work, now) = (work(), Instant::now());
        let forwarded = || {
            let (reply, _) = oneshot::channel();
            Inbound { term: 1, segments: vec![vec![0; 700].into()], commands: 1, reply }
        };
        let (mut own, mut inbound) = (0, 0);
        for _ in 0..20 {
            // Always more of both than one entry takes.
            let _receivers = [work.push(&put(700), now), work.push(&put(700), now)];
            assert!((0..2).all(|_| work.push_inbound(forwarded(), 1 << 20).is_ok()));
            let (mine, theirs) = next_entry(&mut work, now);
            assert!(mine + theirs > 0);
            (own, inbound) = (own + mine, inbound + theirs);
        }
        assert_eq!((own, inbound), (10, 10));
    }

    #[tokio::test]
    async fn who_has_the_turn_leaves_the_room_that_is_left() {
        let (mut work, now) = (work(), Instant::now());
        for _ in 0..4 {
            let _receiver = work.push(&put(100), now);
            let (reply, _) = oneshot::channel();
            let inbound = Inbound { term: 1, segments: vec![vec![0; 100].into()], commands: 1, reply };
            assert!(work.push_inbound(inbound, 1 << 20).is_ok());
            assert_eq!(next_entry(&mut work, now), (1, 1));
            assert!(work.is_idle());
        }
    }
}
