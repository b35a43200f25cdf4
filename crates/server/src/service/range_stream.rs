//! `KV.RangeStream`: a range in pieces, so that neither side ever holds all of it.
//!
//! 1. All pieces show one revision, chosen with the first. No view is held between pieces, so a slow client holds up no cleaning:
//!    if compaction passes the revision meanwhile, the stream ends with that error.
//! 2. Only the last piece carries the header, `more` and `count`.

use crate::convert;
use crate::node::Node;
use crate::status::{Text, fault, internal, rejected, text};
use bytes::Bytes;
use conclave_api::etcdserverpb::{RangeResponse, RangeStreamResponse};
use conclave_state::read::{self, Bounds, ReadStop};
use conclave_state::{Fault, KeyValue, Order, RangeQuery, RangeResult, Rejection, SortBy, View};
use futures::Stream;
use futures::stream::try_unfold;
use std::pin::Pin;
use std::sync::Arc;
use tonic::Status;

pub(super) type RangeStream = Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

/// The first piece is small: it is on its way while the second is read.
const FIRST_PIECE: usize = 10;

/// Only what can be answered while reading: no order but that of the keys, no filters.
pub(super) fn plain(query: RangeQuery) -> Result<RangeQuery, Text> {
    let filtered =
        [query.min_mod_revision, query.max_mod_revision, query.min_create_revision, query.max_create_revision];
    if query.sort_by != SortBy::Key || query.order == Order::Descend || filtered.iter().any(|bound| *bound != 0) {
        return Err(text::STREAM_IS_PLAIN);
    }
    Ok(query)
}

/// `piece_bytes`: keys and values of one piece together, at least one pair whatever its size.
pub(super) fn open(node: Arc<Node>, query: RangeQuery, piece_bytes: usize) -> RangeStream {
    let cursor = Cursor { left: usize::try_from(query.limit).ok().filter(|n| *n > 0), query, sent: 0, piece_bytes };
    Box::pin(try_unfold(Some(cursor), move |cursor| {
        let node = node.clone();
        async move {
            let Some(mut cursor) = cursor else { return Ok(None) };
            let view = node.state.view();
            let read = move || cursor.read(&view, view.bounds()).map(|piece| (piece, cursor));
            let (piece, cursor) = node.reader.long(read).await.map_err(internal)?.map_err(fault)?;
            let response = match piece.map_err(rejected)? {
                Piece::Part(kvs) => (convert::part(kvs), Some(cursor)),
                Piece::Last(revision, result) => (convert::range_response(node.header(revision), result), None),
            };
            Ok(Some(wrap(response)))
        }
    }))
}

fn wrap((response, cursor): (RangeResponse, Option<Cursor>)) -> (RangeStreamResponse, Option<Cursor>) {
    (RangeStreamResponse { range_response: Some(response) }, cursor)
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Part(Vec<KeyValue>),
    /// With the store's revision.
    Last(i64, RangeResult),
}

/// Where the stream stands: `query.range.key` is the next key, `query.revision` the revision of all pieces once the first is read.
struct Cursor {
    query: RangeQuery,
    left: Option<usize>,
    sent: usize,
    piece_bytes: usize,
}

impl Cursor {
    fn read<V: View>(&mut self, view: &V, bounds: Bounds) -> Result<Result<Piece, Rejection>, Fault> {
        if self.query.count_only || self.query.range.end.is_empty() {
            return Ok(whole(view, &self.query, bounds)?.map(|result| Piece::Last(bounds.current, result)));
        }
        if self.query.revision <= 0 {
            self.query.revision = bounds.current;
        }
        let rows = if self.sent == 0 { FIRST_PIECE } else { usize::MAX }.min(self.left.unwrap_or(usize::MAX));
        let (kvs, next) = match read::page(view, &self.query, bounds, rows, self.piece_bytes)? {
            Ok(page) => page,
            Err(rejection) => return Ok(Err(rejection)),
        };
        self.sent += kvs.len();
        if let Some(left) = &mut self.left {
            *left -= kvs.len();
        }
        match next {
            Some(next) if self.left != Some(0) => {
                self.query.range.key = next;
                Ok(Ok(Piece::Part(kvs)))
            }
            next => self.last(view, bounds, kvs, next),
        }
    }

    /// The rest, which the limit cut off, is counted.
    fn last<V: View>(
        &mut self,
        view: &V,
        bounds: Bounds,
        kvs: Vec<KeyValue>,
        next: Option<Bytes>,
    ) -> Result<Result<Piece, Rejection>, Fault> {
        let mut count = self.sent as i64;
        let more = next.is_some();
        if let Some(next) = next {
            self.query.range.key = next;
            let rest = RangeQuery { count_only: true, ..self.query.clone() };
            match whole(view, &rest, bounds)? {
                Ok(rest) => count += rest.count,
                Err(rejection) => return Ok(Err(rejection)),
            }
        }
        Ok(Ok(Piece::Last(bounds.current, RangeResult { kvs, more, count })))
    }
}

fn whole<V: View>(view: &V, query: &RangeQuery, bounds: Bounds) -> Result<Result<RangeResult, Rejection>, Fault> {
    match read::range(view, query, bounds, None)? {
        Ok(result) => Ok(Ok(result)),
        Err(ReadStop::Rejected(rejection)) => Ok(Err(rejection)),
        Err(ReadStop::OverBudget) => Err(Fault::Read("a read without a budget went over it".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::{Command, KeyRange, Machine, MemoryView, Position, Put};

    fn store(keys: usize, value: usize) -> MemoryView {
        let mut view = MemoryView::default();
        let mut machine = Machine::load(&view).expect("an empty view");
        for i in 0..keys {
            let mut batch = machine.begin(&view);
            let put = Put { key: format!("k{i:03}").into(), value: vec![b'v'; value].into(), ..Default::default() };
            let at = Position { index: i as u64 + 1, term: 1 };
            batch.apply(at, &Command::Put(put), true).expect("memory does not fail").result.expect("accepted");
            let changes = batch.finish();
            view.write(&changes.writes);
        }
        view
    }

    fn collect(view: &MemoryView, limit: i64, piece_bytes: usize) -> (Vec<usize>, RangeResult) {
        let range = KeyRange { key: "k".into(), end: "l".into() };
        let query = RangeQuery { range, limit, ..Default::default() };
        let mut cursor = Cursor { left: usize::try_from(limit).ok().filter(|n| *n > 0), query, sent: 0, piece_bytes };
        let (mut sizes, mut all) = (vec![], vec![]);
        loop {
            match cursor
                .read(view, read::meta(view).expect("memory").bounds())
                .expect("memory does not fail")
                .expect("not rejected")
            {
                Piece::Part(kvs) => {
                    sizes.push(kvs.len());
                    all.extend(kvs);
                }
                Piece::Last(_, last) => {
                    sizes.push(last.kvs.len());
                    all.extend(last.kvs);
                    return (sizes, RangeResult { kvs: all, ..last });
                }
            }
        }
    }

    #[test]
    fn pieces_make_up_the_range() {
        let view = store(100, 96);
        for limit in [0, 1, 9, 10, 11, 99, 100, 101] {
            let range = KeyRange { key: "k".into(), end: "l".into() };
            let query = RangeQuery { range, limit, ..Default::default() };
            let bounds = read::meta(&view).expect("memory").bounds();
            let expected = whole(&view, &query, bounds).expect("memory").expect("not rejected");
            for piece_bytes in [1, 1000, 1 << 20] {
                assert_eq!(collect(&view, limit, piece_bytes).1, expected, "limit {limit}, pieces of {piece_bytes}");
            }
        }
    }

    #[test]
    fn pieces_keep_to_their_sizes() {
        let view = store(100, 96);
        assert_eq!(collect(&view, 0, 1 << 20).0, [10, 90]);
        assert_eq!(collect(&view, 0, 3000).0, [10, 30, 30, 30]);
        assert_eq!(collect(&view, 5, 3000).0, [5]);
    }

    #[test]
    fn sorting_and_filters_are_not_streamed() {
        let plain_query = RangeQuery { limit: 3, keys_only: true, ..Default::default() };
        assert_eq!(plain(plain_query.clone()), Ok(plain_query));
        for query in [
            RangeQuery { sort_by: SortBy::Version, ..Default::default() },
            RangeQuery { order: Order::Descend, ..Default::default() },
            RangeQuery { min_mod_revision: 1, ..Default::default() },
            RangeQuery { max_mod_revision: 1, ..Default::default() },
            RangeQuery { min_create_revision: 1, ..Default::default() },
            RangeQuery { max_create_revision: 1, ..Default::default() },
        ] {
            assert_eq!(plain(query), Err(text::STREAM_IS_PLAIN));
        }
    }
}
