//! The proposer's state: queued, in-flight and answered segments. No I/O and no tasks; the caller
//! passes the time.

use super::batching::{BatchPolicy, Queued, When};
use super::{Applied, ProposeError};
use bytes::Bytes;
use conclave_state::{Command, Version};
use conclave_storage::proposal::{MAX_COMMANDS, SegmentWriter};
use conclave_storage::{Answer, versions};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

type Waiter = oneshot::Sender<Result<Applied, ProposeError>>;

/// A batch that a follower forwarded; it is proposed in `term` or not at all.
pub(super) struct ForwardedBatch {
    pub(super) term: u64,
    pub(super) segments: Vec<Bytes>,
    pub(super) commands: usize,
    pub(super) reply: oneshot::Sender<crate::peer::Forwarded>,
}

impl ForwardedBatch {
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }
}

/// Segments that are sent together.
#[derive(Default)]
pub(super) struct Batch {
    /// Local segments: sequence numbers and encoded bytes.
    pub(super) seqs: Vec<u64>,
    pub(super) local: Vec<Bytes>,
    pub(super) forwarded: Vec<ForwardedBatch>,
    /// Not sent: forwarded for another term.
    pub(super) refused: Vec<ForwardedBatch>,
    bytes: usize,
    commands: usize,
}

impl Batch {
    fn fits(&self, bytes: usize, commands: usize, limit: usize) -> bool {
        self.bytes == 0 || (self.bytes + bytes <= limit && self.commands + commands <= MAX_COMMANDS)
    }

    fn add(&mut self, bytes: usize, commands: usize) {
        self.bytes += bytes;
        self.commands += commands;
    }
}

/// Who waits for the outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A client. It is told on the clients' runtime.
    Clients,
    /// The node itself. It is told where the command is applied, and shares no segment with
    /// clients.
    Node,
}

/// The segment that is being filled.
struct Filling {
    writer: SegmentWriter,
    waiters: Vec<Waiter>,
    bytes: usize,
    since: Instant,
    whose: Whose,
}

/// A closed segment that is not answered yet.
struct Segment {
    bytes: Bytes,
    waiters: Vec<Waiter>,
    deadline: Instant,
    whose: Whose,
    /// Set while the segment is in flight.
    sent: Option<Sent>,
}

#[derive(Clone, Copy)]
struct Sent {
    term: u64,
    at: Instant,
}

pub(super) struct ProposerState {
    origin: u64,
    pack_bytes: usize,
    timeout: Duration,
    closed: bool,
    next_seq: u64,
    filling: Option<Filling>,
    /// By sequence number, which is also the order of deadlines.
    segments: BTreeMap<u64, Segment>,
    /// Segments that may be sent now, in order. Some may have been answered meanwhile.
    ready: VecDeque<u64>,
    forwarded: VecDeque<ForwardedBatch>,
    forwarded_bytes: usize,
    forwarded_commands: usize,
    /// Segments of the node itself that are not answered yet.
    own: usize,
    batching: BatchPolicy,
    waiting_bytes: usize,
    waiting_commands: usize,
    applied_term: u64,
    /// Whether local segments come first in the next entry; alternates.
    local_first: bool,
    /// The form in which commands are written.
    form: u8,
    /// No sending before this time, because the leader just refused.
    pause: Option<Instant>,
}

impl ProposerState {
    pub(super) fn new(origin: u64, pack_bytes: usize, timeout: Duration) -> ProposerState {
        ProposerState {
            origin,
            pack_bytes,
            timeout,
            closed: false,
            next_seq: 1,
            filling: None,
            segments: BTreeMap::new(),
            ready: VecDeque::new(),
            forwarded: VecDeque::new(),
            forwarded_bytes: 0,
            forwarded_commands: 0,
            own: 0,
            batching: BatchPolicy::default(),
            waiting_bytes: 0,
            waiting_commands: 0,
            applied_term: 0,
            local_first: true,
            form: versions::command_form(Version::FIRST),
            pause: None,
        }
    }

    /// From now on commands are written in this form.
    pub(super) fn write_as(&mut self, form: u8) {
        self.form = form;
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

    /// Adds a command. The flag says whether to wake the sender: the queue was empty before, or now
    /// there is enough for a batch.
    pub(super) fn push(
        &mut self,
        command: &Command,
        now: Instant,
        whose: Whose,
    ) -> (oneshot::Receiver<Result<Applied, ProposeError>>, bool) {
        let (tx, rx) = oneshot::channel();
        let before = self.to_send();
        if self.filling.as_ref().is_some_and(|filling| filling.whose != whose) {
            self.close_filling();
        }
        let form = self.form;
        let new = || Filling { writer: SegmentWriter::of_form(form), waiters: vec![], bytes: 0, since: now, whose };
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

    pub(super) fn push_forwarded(&mut self, forwarded: ForwardedBatch, limit: usize) -> Result<bool, ForwardedBatch> {
        let bytes = forwarded.len();
        if self.closed || (self.forwarded_bytes > 0 && self.forwarded_bytes + bytes > limit) {
            return Err(forwarded);
        }
        let before = self.to_send();
        self.forwarded_bytes += bytes;
        self.forwarded_commands += forwarded.commands;
        self.forwarded.push_back(forwarded);
        Ok(self.is_news(before))
    }

    /// Approximate amount to send. A closed segment counts as one command of a whole pack.
    fn to_send(&self) -> Queued {
        let (commands, bytes) = self.filling.as_ref().map_or((0, 0), |filling| (filling.waiters.len(), filling.bytes));
        Queued {
            commands: commands + self.ready.len() + self.forwarded_commands,
            bytes: bytes + self.ready.len() * self.pack_bytes + self.forwarded_bytes,
        }
    }

    /// Whether the sender should wake, given the amount `before`.
    fn is_news(&self, before: Queued) -> bool {
        before.commands == 0 || (!self.batching.is_enough(before) && self.batching.is_enough(self.to_send()))
    }

    /// When to send the next batch.
    pub(super) fn when(&self, now: Instant) -> When {
        self.batching.when(self.to_send(), now)
    }

    /// A batch in flight is decided.
    pub(super) fn batch_done(&mut self, now: Instant) {
        self.batching.done(now);
    }

    /// Whether there is nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.filling.is_none() && self.ready.is_empty() && self.forwarded.is_empty()
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
        let Filling { writer, waiters, bytes: pushed, whose, .. } = filling;
        let bytes = writer.finish(self.origin, seq);
        // Count the encoded bytes, which are also subtracted later.
        self.waiting_bytes = self.waiting_bytes - pushed + bytes.len();
        self.own += usize::from(whose == Whose::Node);
        self.segments.insert(seq, Segment { bytes, waiters, deadline, whose, sent: None });
        self.ready.push_back(seq);
    }

    /// Takes the segments of the next entry of `term`: at most about one pack, and at least one
    /// segment if there is any. Local and forwarded segments alternate in coming first; the other
    /// kind gets the remaining space. So each kind gets at least half over time.
    pub(super) fn take_entry(&mut self, term: u64, now: Instant) -> Batch {
        let mut batch = Batch::default();
        if self.local_first {
            self.take_local(term, &mut batch, now);
            self.take_forwarded(term, &mut batch);
        } else {
            self.take_forwarded(term, &mut batch);
            self.take_local(term, &mut batch, now);
        }
        self.local_first = !self.local_first;
        self.sent(&batch);
        batch
    }

    /// Takes the next local segments, for the leader of `term`.
    pub(super) fn take(&mut self, term: u64, now: Instant) -> Batch {
        let mut batch = Batch::default();
        self.take_local(term, &mut batch, now);
        self.sent(&batch);
        batch
    }

    fn sent(&mut self, batch: &Batch) {
        if !batch.seqs.is_empty() || !batch.forwarded.is_empty() {
            self.batching.sent(batch.commands);
        }
    }

    fn take_local(&mut self, term: u64, batch: &mut Batch, now: Instant) {
        self.close_filling();
        self.pause = None;
        while let Some(seq) = self.ready.front() {
            let Some(segment) = self.segments.get_mut(seq) else {
                self.ready.pop_front();
                continue;
            };
            if !batch.fits(segment.bytes.len(), segment.waiters.len(), self.pack_bytes) {
                break;
            }
            batch.add(segment.bytes.len(), segment.waiters.len());
            segment.sent = Some(Sent { term, at: now });
            batch.seqs.push(*seq);
            batch.local.push(segment.bytes.clone());
            self.ready.pop_front();
        }
    }

    /// Takes the next forwarded batches of `term`; those of another term go to `refused`.
    fn take_forwarded(&mut self, term: u64, batch: &mut Batch) {
        while let Some(next) = self.forwarded.front() {
            let (bytes, right) = (next.len(), next.term == term);
            if right && !batch.fits(bytes, next.commands, self.pack_bytes) {
                break;
            }
            let Some(next) = self.pop_forwarded() else { break };
            if right {
                batch.add(bytes, next.commands);
                batch.forwarded.push(next);
            } else {
                batch.refused.push(next);
            }
        }
    }

    fn pop_forwarded(&mut self) -> Option<ForwardedBatch> {
        let next = self.forwarded.pop_front()?;
        self.forwarded_bytes -= next.len();
        self.forwarded_commands -= next.commands;
        Some(next)
    }

    /// Removes every forwarded batch, to be refused because this node does not lead.
    pub(super) fn refuse_forwarded(&mut self) -> Vec<ForwardedBatch> {
        std::iter::from_fn(|| self.pop_forwarded()).collect()
    }

    /// Queues segments again that were certainly not proposed in `term`, after a pause. Those past
    /// their deadline fail.
    pub(super) fn requeue(&mut self, seqs: &[u64], term: u64, now: Instant, pause: Duration) {
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

    /// Answers the segments of the node itself, and takes them out of `answers`.
    pub(super) fn observe_own(&mut self, answers: &mut Vec<Answer>) {
        if self.own == 0 {
            return;
        }
        let own = |answer: &mut Answer| self.segments.get(&answer.seq).is_some_and(|of| of.whose == Whose::Node);
        let own: Vec<Answer> = answers.extract_if(.., own).collect();
        own.into_iter().for_each(|answer| self.answer(answer));
    }

    fn answer(&mut self, answer: Answer) {
        // A peer that knows this origin could forge a segment with this number. A wrong number
        // of outcomes is ignored.
        let asked = self.segments.get(&answer.seq).map(|segment| segment.waiters.len());
        if asked != Some(answer.outcomes.len()) {
            return;
        }
        let Some(segment) = self.remove(answer.seq) else { return };
        for (waiter, outcome) in segment.waiters.into_iter().zip(answer.outcomes) {
            // The caller may be gone.
            let _ = waiter.send(Ok(Applied { outcome, index: answer.index, term: answer.term }));
        }
    }

    /// Answers applied segments; returns whether there are segments to send again.
    pub(super) fn observe(&mut self, answers: Vec<Answer>, last_term: u64) -> bool {
        answers.into_iter().for_each(|answer| self.answer(answer));
        if last_term <= self.applied_term {
            return false;
        }
        self.applied_term = last_term;
        // Invariant 1 of the module: a segment sent in an earlier term that is not in the log by
        // now never will be.
        let before = self.ready.len();
        for (seq, segment) in &mut self.segments {
            if segment.sent.is_some_and(|sent| sent.term < last_term) {
                segment.sent = None;
                self.ready.push_back(*seq);
            }
        }
        self.ready.len() > before
    }

    /// Fails segments past their deadline, and closes a segment that has been open for longer than
    /// `grace`, so that it gets a deadline.
    ///
    /// A segment sent within the last `grace` is spared: most likely the leader is about to refuse
    /// it.
    pub(super) fn expire(&mut self, now: Instant, grace: Duration) {
        if self.filling.as_ref().is_some_and(|f| f.since + grace <= now) {
            self.close_filling();
        }
        let overdue = self.segments.iter().take_while(|(_, segment)| segment.deadline <= now);
        let settled = overdue.filter(|(_, segment)| segment.sent.is_none_or(|sent| sent.at + grace <= now));
        for seq in settled.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            let Some(segment) = self.remove(seq) else { continue };
            let error = if segment.sent.is_some() { ProposeError::TimedOut } else { ProposeError::NoLeader };
            fail(segment.waiters, error);
        }
    }

    /// Fails every in-flight segment with an unknown outcome: a snapshot replaced the log that they
    /// were matched against.
    pub(super) fn fail_in_flight(&mut self) {
        self.fail_sent(|_| true);
    }

    /// The same for those of the node itself.
    pub(super) fn fail_own_in_flight(&mut self) {
        self.fail_sent(|whose| whose == Whose::Node);
    }

    fn fail_sent(&mut self, of: impl Fn(Whose) -> bool) {
        let sent = self.segments.iter().filter(|(_, segment)| segment.sent.is_some() && of(segment.whose));
        for seq in sent.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            if let Some(segment) = self.remove(seq) {
                fail(segment.waiters, ProposeError::LeaderFailed);
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.close_filling();
        self.fail_in_flight();
        for segment in std::mem::take(&mut self.segments).into_values() {
            fail(segment.waiters, ProposeError::Stopped);
        }
        self.ready.clear();
        self.waiting_bytes = 0;
        self.waiting_commands = 0;
        self.own = 0;
        for forwarded in self.forwarded.drain(..) {
            let _ = forwarded.reply.send(crate::peer::Forwarded::NotLeader);
        }
        self.forwarded_bytes = 0;
        self.forwarded_commands = 0;
    }

    fn remove(&mut self, seq: u64) -> Option<Segment> {
        let segment = self.segments.remove(&seq)?;
        self.own -= usize::from(segment.whose == Whose::Node);
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
#[path = "state_tests.rs"]
mod tests;
