//! `KV.RangeStream`: a range in pieces, so that neither side ever holds all of it.
//!
//! 1. All pieces show one revision, chosen with the first. No view is held between pieces, so a
//!    slow client delays no cleaning: if compaction passes the revision meanwhile, the stream ends
//!    with that error.
//! 2. Only the last piece carries the header, `more` and `count`. The header has the store's
//!    revision of the *first* piece: a client that goes on with a watch from the next revision
//!    misses nothing that was written while the pieces were on their way.

use crate::auth::Reading;
use crate::convert::etcd as convert;
use crate::gateway::Gateway;
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

/// Only what can be answered while reading: no order but that of the keys, no filters. A query
/// without an order has none, whatever it would sort by.
pub(super) fn plain(query: RangeQuery) -> Result<RangeQuery, Text> {
    let filtered =
        [query.min_mod_revision, query.max_mod_revision, query.min_create_revision, query.max_create_revision];
    let sorted = match query.order {
        Order::None => false,
        Order::Ascend => query.sort_by != SortBy::Key,
        Order::Descend => true,
    };
    if sorted || filtered.iter().any(|bound| *bound != 0) {
        return Err(text::STREAM_IS_PLAIN);
    }
    Ok(RangeQuery { sort_by: SortBy::Key, ..query })
}

/// `piece_bytes`: keys and values of one piece together, at least one pair whatever its size.
pub(super) fn open(gateway: Arc<Gateway>, query: RangeQuery, piece_bytes: usize, reading: Reading) -> RangeStream {
    let (range, reading) = (query.range.clone(), Arc::new(reading));
    let cursor = Cursor::new(query, piece_bytes);
    Box::pin(try_unfold(Some(cursor), move |cursor| {
        let (gateway, reading, range) = (gateway.clone(), reading.clone(), range.clone());
        async move {
            let Some(cursor) = cursor else { return Ok(None) };
            reading.check(&range)?;
            let reader = gateway.node.reader.clone();
            // The view is taken when the turn has come, and converted beside the event loop too.
            let (response, cursor) = reader.long(move || next(&gateway, cursor)).await.map_err(internal)??;
            Ok(Some((RangeStreamResponse { range_response: Some(response) }, cursor)))
        }
    }))
}

/// The next piece, and the cursor if there is more.
fn next(gateway: &Gateway, mut cursor: Cursor) -> Result<(RangeResponse, Option<Cursor>), Status> {
    let view = gateway.node.state.view();
    let piece = cursor.read(&view, view.bounds()).map_err(fault)?.map_err(rejected)?;
    Ok(match piece {
        Piece::Part(kvs) => (convert::part(kvs), Some(cursor)),
        Piece::Last(revision, result) => (convert::range_response(gateway.header(revision), result), None),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Part(Vec<KeyValue>),
    /// With the store's revision when the first piece was read.
    Last(i64, RangeResult),
}

/// Where the stream stands: `query.range.key` is the next key, `query.revision` the revision of all
/// pieces once the first is read.
struct Cursor {
    query: RangeQuery,
    /// The store's revision when the first piece was read; 0 before. The query may ask for an older
    /// one.
    store: i64,
    left: Option<usize>,
    sent: usize,
    piece_bytes: usize,
}

impl Cursor {
    fn new(query: RangeQuery, piece_bytes: usize) -> Cursor {
        Cursor { left: usize::try_from(query.limit).ok().filter(|n| *n > 0), query, store: 0, sent: 0, piece_bytes }
    }

    fn read<V: View>(&mut self, view: &V, bounds: Bounds) -> Result<Result<Piece, Rejection>, Fault> {
        if self.query.count_only || self.query.range.end.is_empty() {
            return Ok(whole(view, &self.query, bounds)?.map(|result| Piece::Last(bounds.current, result)));
        }
        if self.store == 0 {
            self.store = bounds.current;
        }
        if self.query.revision <= 0 {
            self.query.revision = self.store;
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
        Ok(Ok(Piece::Last(self.store, RangeResult { kvs, more, count })))
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

    struct Store {
        view: MemoryView,
        machine: Machine,
        index: u64,
    }

    impl Store {
        fn apply(&mut self, command: &Command) {
            self.index += 1;
            let mut batch = self.machine.begin(&self.view);
            let at = Position { index: self.index, term: 1 };
            batch.apply(at, command, true).expect("memory does not fail").result.expect("accepted");
            let changes = batch.finish();
            self.view.write(&changes.writes);
        }

        fn put(&mut self, key: &str, value: usize) {
            let key = key.to_owned().into();
            self.apply(&Command::Put(Put { key, value: vec![b'v'; value].into(), ..Default::default() }));
        }

        fn read(&self, cursor: &mut Cursor) -> Result<Piece, Rejection> {
            cursor.read(&self.view, read::meta(&self.view).expect("memory").bounds()).expect("memory does not fail")
        }
    }

    /// The keys `k000` and so on, the first of them written at revision 2.
    fn store(keys: usize, value: usize) -> Store {
        let view = MemoryView::default();
        let machine = Machine::load(&view).expect("an empty view");
        let mut store = Store { view, machine, index: 0 };
        (0..keys).for_each(|i| store.put(&format!("k{i:03}"), value));
        store
    }

    fn query(limit: i64) -> RangeQuery {
        let range = KeyRange { key: "k".into(), end: "l".into() };
        RangeQuery { range, limit, ..Default::default() }
    }

    /// The sizes of the pieces, all of them together, and the revision of the header. `between`
    /// runs after each piece.
    fn collect_while(
        store: &mut Store,
        query: RangeQuery,
        piece_bytes: usize,
        mut between: impl FnMut(&mut Store),
    ) -> Result<(Vec<usize>, RangeResult, i64), Rejection> {
        let mut cursor = Cursor::new(query, piece_bytes);
        let (mut sizes, mut all) = (vec![], vec![]);
        loop {
            match store.read(&mut cursor)? {
                Piece::Part(kvs) => {
                    sizes.push(kvs.len());
                    all.extend(kvs);
                }
                Piece::Last(revision, last) => {
                    sizes.push(last.kvs.len());
                    all.extend(last.kvs);
                    return Ok((sizes, RangeResult { kvs: all, ..last }, revision));
                }
            }
            between(store);
        }
    }

    fn collect(store: &mut Store, limit: i64, piece_bytes: usize) -> (Vec<usize>, RangeResult) {
        let (sizes, all, _) = collect_while(store, query(limit), piece_bytes, |_| ()).expect("not rejected");
        (sizes, all)
    }

    /// What was written between two pieces is neither in the pieces nor covered by the header,
    /// wherever it falls in the range.
    #[test]
    fn the_header_has_the_revision_of_the_contents() {
        for limit in [0, 15, 50] {
            let mut store = store(100, 96);
            let bounds = read::meta(&store.view).expect("memory").bounds();
            let expected = whole(&store.view, &query(limit), bounds).expect("memory").expect("not rejected");
            let write =
                |store: &mut Store| ["k000", "k050", "k099", "kz"].into_iter().for_each(|key| store.put(key, 7));
            let (sizes, all, revision) = collect_while(&mut store, query(limit), 1000, write).expect("not rejected");
            assert!(sizes.len() > 1);
            assert_eq!((all, revision), (expected, 101), "limit {limit}");
        }
    }

    /// A range at an older revision tells how new the store was at the first piece, as `Range`
    /// does.
    #[test]
    fn the_header_of_an_older_revision() {
        let mut store = store(100, 96);
        let old = RangeQuery { revision: 51, ..query(0) };
        let (_, all, revision) =
            collect_while(&mut store, old, 1000, |store| store.put("k000", 7)).expect("not rejected");
        assert_eq!((all.count, revision), (50, 101));
    }

    #[test]
    fn a_compaction_between_two_pieces_ends_the_stream_with_its_error() {
        for limit in [0, 15] {
            let mut store = store(100, 96);
            let compact = |store: &mut Store| {
                store.put("k099", 7);
                store.apply(&Command::Compact { revision: store.machine.revision() });
            };
            let ended = collect_while(&mut store, query(limit), 1000, compact);
            assert_eq!(ended.map(|_| ()), Err(Rejection::Compacted { compacted: 102 }), "limit {limit}");
        }
    }

    #[test]
    fn pieces_make_up_the_range() {
        let mut store = store(100, 96);
        for limit in [0, 1, 9, 10, 11, 99, 100, 101] {
            let bounds = read::meta(&store.view).expect("memory").bounds();
            let expected = whole(&store.view, &query(limit), bounds).expect("memory").expect("not rejected");
            for piece_bytes in [1, 1000, 1 << 20] {
                assert_eq!(
                    collect(&mut store, limit, piece_bytes).1,
                    expected,
                    "limit {limit}, pieces of {piece_bytes}"
                );
            }
        }
    }

    #[test]
    fn pieces_keep_to_their_sizes() {
        let mut store = store(100, 96);
        assert_eq!(collect(&mut store, 0, 1 << 20).0, [10, 90]);
        assert_eq!(collect(&mut store, 0, 3000).0, [10, 30, 30, 30]);
        assert_eq!(collect(&mut store, 5, 3000).0, [5]);
    }

    #[test]
    fn sorting_and_filters_are_not_streamed() {
        let plain_query = RangeQuery { limit: 3, keys_only: true, ..Default::default() };
        assert_eq!(plain(plain_query.clone()), Ok(plain_query.clone()));
        let unordered = RangeQuery { sort_by: SortBy::Version, ..plain_query.clone() };
        assert_eq!(plain(unordered), Ok(plain_query));
        for query in [
            RangeQuery { sort_by: SortBy::Version, order: Order::Ascend, ..Default::default() },
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
