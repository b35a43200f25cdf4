//! Events as the bytes of a response.
//!
//! An event becomes the encoded field 11 of `WatchResponse` (tag, length, message) once; a response
//! is a head followed by any number of such fields. So the same bytes serve every watcher, alone or
//! concatenated.

use crate::convert::etcd::key_value;
use crate::follow::StateAt;
use bytes::{BufMut, Bytes, BytesMut};
use conclave_api::mvccpb;
use conclave_state::view::Fault;
use conclave_state::{Event, EventKind, KeyValue};
use prost::encoding::message;

/// `WatchResponse.events`.
const EVENTS_FIELD: u32 = 11;

fn encode(event: &Event, previous: Option<&KeyValue>) -> Bytes {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let wire = mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv.clone())),
        prev_kv: previous.cloned().map(key_value),
    };
    let mut buffer = BytesMut::with_capacity(message::encoded_len(EVENTS_FIELD, &wire));
    message::encode(EVENTS_FIELD, &wire, &mut buffer);
    buffer.freeze()
}

/// Opens the state, for previous values.
pub(crate) type Open<'a> = &'a dyn Fn() -> Result<Box<dyn StateAt>, Fault>;

/// Events of one batch or page, each encoded when it is first wanted, in either form.
pub(crate) struct Encoder<'a> {
    events: &'a [Event],
    plain: Vec<Option<Bytes>>,
    with_previous: Vec<Option<Bytes>>,
    open: Open<'a>,
    view: Option<Box<dyn StateAt>>,
    /// How many previous values were read.
    pub(crate) reads: usize,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(events: &'a [Event], open: Open<'a>) -> Self {
        Encoder { events, plain: vec![None; events.len()], with_previous: Vec::new(), open, view: None, reads: 0 }
    }

    /// The events at the positions `wanted` (ascending), as responses of about `limit` bytes: whole
    /// revisions, until they come to `room` bytes. Also, how many events these are.
    pub(crate) fn chunks(
        &mut self,
        wanted: &[usize],
        previous: bool,
        limit: usize,
        room: usize,
    ) -> Result<(Vec<Chunk>, usize), Fault> {
        let mut chunker = Chunker::new(limit);
        let (mut made, mut newest) = (0, None);
        for (taken, &at) in wanted.iter().enumerate() {
            let revision = self.events[at].kv.mod_revision;
            if made >= room && newest != Some(revision) {
                return Ok((chunker.finish(), taken));
            }
            newest = Some(revision);
            let bytes = if previous { self.with_previous(at)? } else { self.plain(at) };
            made += bytes.len();
            chunker.add(revision, bytes);
        }
        Ok((chunker.finish(), wanted.len()))
    }

    fn plain(&mut self, at: usize) -> Bytes {
        self.plain[at].get_or_insert_with(|| encode(&self.events[at], None)).clone()
    }

    /// The event with what the key held before.
    fn with_previous(&mut self, at: usize) -> Result<Bytes, Fault> {
        self.with_previous.resize(self.events.len(), None);
        if let Some(bytes) = &self.with_previous[at] {
            return Ok(bytes.clone());
        }
        let bytes = match self.previous(at)? {
            Some(previous) => encode(&self.events[at], Some(&previous)),
            None => self.plain(at),
        };
        self.with_previous[at] = Some(bytes.clone());
        Ok(bytes)
    }

    fn previous(&mut self, at: usize) -> Result<Option<KeyValue>, Fault> {
        let Event { kind, kv } = &self.events[at];
        if *kind == EventKind::Put && kv.version == 1 {
            return Ok(None);
        }
        let view = match &mut self.view {
            Some(view) => view,
            none => none.insert((self.open)()?),
        };
        self.reads += 1;
        view.value_at(&kv.key, kv.mod_revision - 1)
    }
}

/// The events of one response: whole revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) data: Bytes,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) events: usize,
    /// Where a watcher that takes fragments has it cut; empty unless it is larger than a response
    /// should be.
    pub(crate) cuts: Vec<usize>,
}

impl Chunk {
    /// The data in pieces, cut between events.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = Bytes> + '_ {
        let ends = self.cuts.iter().copied().chain([self.data.len()]);
        ends.scan(0, |from, to| Some(self.data.slice(std::mem::replace(from, to)..to)))
    }
}

/// Joins events into chunks of about `limit` bytes, never dividing a revision.
pub(crate) struct Chunker {
    limit: usize,
    parts: Vec<Bytes>,
    size: usize,
    /// Which part begins the newest revision.
    revision_at: usize,
    revisions: (i64, i64),
    /// The last revision but the newest in `parts`.
    before: i64,
    done: Vec<Chunk>,
}

impl Chunker {
    pub(crate) fn new(limit: usize) -> Self {
        Chunker { limit, parts: Vec::new(), size: 0, revision_at: 0, revisions: (0, 0), before: 0, done: Vec::new() }
    }

    /// Revisions must not fall.
    pub(crate) fn add(&mut self, revision: i64, event: Bytes) {
        if self.parts.is_empty() {
            self.revisions = (revision, revision);
            self.revision_at = 0;
        } else if revision != self.revisions.1 {
            self.before = self.revisions.1;
            self.revisions.1 = revision;
            self.revision_at = self.parts.len();
        }
        self.size += event.len();
        self.parts.push(event);
        if self.size > self.limit && self.revision_at > 0 {
            let rest = self.parts.split_off(self.revision_at);
            let newest = std::mem::replace(&mut self.revisions.1, self.before);
            self.flush();
            self.size = rest.iter().map(Bytes::len).sum();
            self.parts = rest;
            self.revisions = (newest, newest);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Chunk> {
        if !self.parts.is_empty() {
            self.flush();
        }
        self.done
    }

    fn flush(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        let cuts = self.cuts(&parts);
        let data = if let [only] = &parts[..] {
            only.clone()
        } else {
            let mut buffer = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| buffer.put_slice(part));
            buffer.freeze()
        };
        self.done.push(Chunk { data, first: self.revisions.0, last: self.revisions.1, events: parts.len(), cuts });
        self.size = 0;
        self.revision_at = 0;
    }

    fn cuts(&self, parts: &[Bytes]) -> Vec<usize> {
        let (mut cuts, mut from, mut at) = (Vec::new(), 0, 0);
        for part in parts {
            if at > from && at + part.len() - from > self.limit {
                cuts.push(at);
                from = at;
            }
            at += part.len();
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(limit: usize, events: &[(i64, usize)]) -> Vec<(i64, i64, usize, Vec<usize>)> {
        let mut chunker = Chunker::new(limit);
        for &(revision, size) in events {
            chunker.add(revision, Bytes::from(vec![0; size]));
        }
        chunker.finish().into_iter().map(|c| (c.first, c.last, c.data.len(), c.cuts)).collect()
    }

    #[test]
    fn revisions_share_a_chunk_until_it_is_full() {
        assert_eq!(chunks(100, &[(2, 40), (3, 40), (4, 40)]), vec![(2, 3, 80, vec![]), (4, 4, 40, vec![])]);
        assert_eq!(chunks(100, &[]), vec![]);
    }

    #[test]
    fn a_revision_is_never_divided() {
        let big = [(2, 40), (3, 40), (3, 40), (3, 40), (4, 10)];
        assert_eq!(chunks(100, &big), vec![(2, 2, 40, vec![]), (3, 3, 120, vec![80]), (4, 4, 10, vec![])]);
    }

    #[test]
    fn fragments_cover_the_chunk() {
        let mut chunker = Chunker::new(10);
        for byte in 0..7u8 {
            chunker.add(5, Bytes::from(vec![byte; 4]));
        }
        let [chunk] = &chunker.finish()[..] else { panic!("one revision is one chunk") };
        let fragments: Vec<Bytes> = chunk.fragments().collect();
        assert_eq!(fragments.iter().map(Bytes::len).collect::<Vec<_>>(), vec![8, 8, 8, 4]);
        assert_eq!(fragments.concat(), chunk.data);
    }
}
