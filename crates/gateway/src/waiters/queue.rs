//! One queue as this node watches it: who waits in it here, who observes its leader, and who is first.
//!
//! Kept is the first place alone. When that goes, the next one is looked up; what a batch of events ended meanwhile is found in the
//! history of its keys. So a queue takes as much memory as there are waiters and observers here, however many stand in it.

use super::source::{Look, OneLook};
use super::{Granted, Leading, Lost};
use bytes::Bytes;
use conclave_state::view::Fault;
use conclave_state::{Event, EventKind};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::{mpsc, oneshot};

/// Changes of leader that an observer may be behind before it is made to jump to the present.
pub(super) const OBSERVER_BACKLOG: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    name: Bytes,
    waiting: HashMap<Bytes, Vec<Waiting>>,
    observers: BTreeMap<u64, mpsc::Sender<Leading>>,
    head: Option<Head>,
    /// The revision up to which this queue knows events; older ones are not news.
    as_of: i64,
    /// Keys of waiters whose places ended or were created anew in the batch being observed.
    disturbed: Vec<Bytes>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    create_revision: i64,
    done: oneshot::Sender<Result<Granted, Lost>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    key: Bytes,
    create_revision: i64,
    /// When it became the first.
    since: i64,
    /// Its newest version that observers know.
    mod_revision: i64,
}

/// Places that end in the rest of a batch, by create revision and key: when they end.
type Ending = BTreeMap<(i64, Bytes), i64>;

impl Queue {
    /// A queue as `look` shows it, where no place was created before `front`.
    pub(super) fn open(name: Bytes, front: i64, look: &dyn Look) -> Result<Queue, Fault> {
        let mut queue = Queue { name, as_of: look.revision(), ..Queue::default() };
        queue.head = queue.read_head(front, look)?.map(|(head, _)| head);
        Ok(queue)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.observers.is_empty()
    }

    /// No place of the queue was created before this revision.
    pub(super) fn front(&self) -> i64 {
        self.head.as_ref().map_or(self.as_of, |head| head.create_revision)
    }

    pub(super) fn wait(
        &mut self,
        id: u64,
        key: &Bytes,
        create_revision: i64,
        done: oneshot::Sender<Result<Granted, Lost>>,
    ) {
        self.waiting.entry(key.clone()).or_default().push(Waiting { id, create_revision, done });
    }

    pub(super) fn leave(&mut self, id: u64, key: &Bytes) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.retain(|waiting| waiting.id != id);
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
    }

    /// Where a place stands now, if that is the end of waiting.
    pub(super) fn verdict(
        &self,
        key: &Bytes,
        create_revision: i64,
        look: &dyn Look,
    ) -> Result<Option<Result<Granted, Lost>>, Fault> {
        let now = look.version_at(key, i64::MAX)?;
        if now.is_none_or(|kv| kv.create_revision != create_revision) {
            return Ok(Some(Err(Lost::Gone)));
        }
        let head = self.head.as_ref().filter(|head| head.key == *key && head.create_revision == create_revision);
        Ok(head.map(|head| Ok(Granted { revision: head.since })))
    }

    /// Adds an observer and returns what it must be told first. `seen` is what it knew before.
    pub(super) fn observe(
        &mut self,
        id: u64,
        sender: mpsc::Sender<Leading>,
        seen: Option<(Bytes, i64)>,
        look: &dyn Look,
    ) -> Result<Option<Leading>, Fault> {
        let first = match &self.head {
            Some(head)
                if seen.as_ref().is_some_and(|(key, revision)| *key == head.key && *revision == head.mod_revision) =>
            {
                None
            }
            Some(head) => leading(&head.key, head.create_revision, head.since.max(head.mod_revision), look)?,
            None => None,
        };
        if let (Some(head), Some(first)) = (&mut self.head, &first) {
            head.mod_revision = first.kv.mod_revision;
        }
        self.observers.insert(id, sender);
        Ok(first)
    }

    pub(super) fn stop_observing(&mut self, id: u64) {
        self.observers.remove(&id);
    }

    /// Takes in a batch that ends at `revision`: of its events those of keys that are places of this queue.
    pub(super) fn batch(&mut self, events: &[&Event], revision: i64, look: &mut OneLook<'_>) -> Result<(), Fault> {
        let mut ending = None;
        for (number, event) in events.iter().enumerate() {
            if event.kv.mod_revision > self.as_of {
                self.step(event, &events[number + 1..], &mut ending, look)?;
            }
        }
        self.settle(revision, look)
    }

    fn step(
        &mut self,
        event: &Event,
        later: &[&Event],
        ending: &mut Option<Ending>,
        look: &mut OneLook<'_>,
    ) -> Result<(), Fault> {
        let (kv, revision) = (&event.kv, event.kv.mod_revision);
        let place = event.kind == EventKind::Put;
        if (!place || kv.create_revision == revision) && self.waiting.contains_key(&kv.key) {
            self.disturbed.push(kv.key.clone());
        }
        let head = self.head.as_mut().filter(|head| head.key == kv.key);
        let headed = head.is_some();
        if let Some(head) = head.filter(|head| place && head.create_revision == kv.create_revision) {
            head.mod_revision = revision;
            self.tell(&Leading { kv: kv.clone(), revision });
            return Ok(());
        }
        if place && self.head.is_none() {
            let (key, create_revision) = (kv.key.clone(), kv.create_revision);
            self.head = Some(Head { key, create_revision, since: revision, mod_revision: revision });
            self.tell(&Leading { kv: kv.clone(), revision });
        } else if headed {
            let ending = match ending {
                Some(ending) => ending,
                None => ending.insert(self.ending(later, look)?),
            };
            self.succeed(revision, ending, look.get()?)?;
        }
        Ok(())
    }

    /// The places that end in these events. They are not in the state any more when a batch is observed.
    fn ending(&self, later: &[&Event], look: &mut OneLook<'_>) -> Result<Ending, Fault> {
        let mut ending = Ending::new();
        for event in later.iter().filter(|event| event.kind == EventKind::Delete) {
            let ends = event.kv.mod_revision;
            let before = look.get()?.version_at(&event.kv.key, ends - 1)?;
            if let Some(kv) = before {
                ending.insert((kv.create_revision, kv.key), ends);
            }
        }
        Ok(ending)
    }

    /// The head has gone: who is the first at this revision. Whoever goes in the same one (an expiry takes many) never led.
    fn succeed(&mut self, revision: i64, ending: &mut Ending, look: &dyn Look) -> Result<(), Fault> {
        let gone = self.head.take().map_or(0, |head| head.create_revision);
        while ending.first_key_value().is_some_and(|(_, ends)| *ends <= revision) {
            ending.pop_first();
        }
        let lasting = look.first(&self.name, gone)?;
        let first = lasting.into_iter().chain(ending.keys().next().cloned()).min();
        // One that is created later in the batch comes with its event.
        let Some((create_revision, key)) = first.filter(|(created, _)| *created <= revision) else { return Ok(()) };
        let news = match self.observers.is_empty() {
            true => None,
            false => leading(&key, create_revision, revision, look)?,
        };
        let mod_revision = news.as_ref().map_or(0, |news| news.kv.mod_revision);
        self.head = Some(Head { key, create_revision, since: revision, mod_revision });
        if let Some(news) = news {
            self.tell(&news);
        }
        Ok(())
    }

    /// After the last event of a batch: whose waiting is over.
    fn settle(&mut self, revision: i64, look: &mut OneLook<'_>) -> Result<(), Fault> {
        self.as_of = self.as_of.max(revision);
        for key in std::mem::take(&mut self.disturbed) {
            self.settle_key(&key, look)?;
        }
        match self.head.as_ref().map(|head| head.key.clone()) {
            Some(key) => self.settle_key(&key, look),
            None => Ok(()),
        }
    }

    /// The whole state was replaced: finds out what is different, for everybody.
    pub(super) fn reopen(&mut self, look: &mut OneLook<'_>) -> Result<(), Fault> {
        self.as_of = look.get()?.revision();
        self.disturbed.clear();
        let before = self.head.take();
        if let Some((mut head, news)) = self.read_head(0, look.get()?)? {
            let same = before.as_ref().filter(|old| old.key == head.key && old.create_revision == head.create_revision);
            head.since = same.map_or(head.since, |old| old.since);
            let told = same.is_some_and(|old| old.mod_revision == head.mod_revision);
            self.head = Some(head);
            if let Some(news) = news.filter(|_| !told) {
                self.tell(&news);
            }
        }
        let keys: Vec<Bytes> = self.waiting.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.settle_key(key, look))
    }

    /// The state cannot be read: nobody can be told anything any more.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.observers.clear();
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiting.done.send(Err(Lost::Fault(fault.to_string())));
        }
    }

    fn settle_key(&mut self, key: &Bytes, look: &mut OneLook<'_>) -> Result<(), Fault> {
        let Some(waiting) = self.waiting.remove(key) else { return Ok(()) };
        let mut left = Vec::new();
        for waiting in waiting {
            match self.verdict(key, waiting.create_revision, look.get()?)? {
                // Whoever no longer listens has been taken care of by its guard.
                Some(verdict) => drop(waiting.done.send(verdict)),
                None => left.push(waiting),
            }
        }
        if !left.is_empty() {
            self.waiting.insert(key.clone(), left);
        }
        Ok(())
    }

    /// An observer that reads too slowly loses its feed, and asks anew once it has read what it was sent.
    fn tell(&mut self, news: &Leading) {
        self.observers.retain(|_, sender| sender.try_send(news.clone()).is_ok());
    }

    fn read_head(&self, front: i64, look: &dyn Look) -> Result<Option<(Head, Option<Leading>)>, Fault> {
        let Some((create_revision, key)) = look.first(&self.name, front)? else { return Ok(None) };
        let news = leading(&key, create_revision, self.as_of, look)?;
        let mod_revision = news.as_ref().map_or(0, |news| news.kv.mod_revision);
        let head = Head { key, create_revision, since: self.as_of, mod_revision };
        Ok(Some((head, news)))
    }
}

/// What an observer is told of a leader: nothing if this life of its key did not last until that revision, and does not last now.
fn leading(key: &Bytes, created: i64, revision: i64, look: &dyn Look) -> Result<Option<Leading>, Fault> {
    // A version that was compacted away since is replaced by the oldest that is left, which is newer.
    let kv = match look.version_at(key, revision)? {
        Some(kv) => Some(kv),
        None => look.version_at(key, i64::MAX)?,
    };
    Ok(kv.filter(|kv| kv.create_revision == created).map(|kv| Leading { kv, revision }))
}
