//! Locks and their lines: what they are made of, and how they are shown.
//!
//! A lock of etcd's wire is a line of keys `NAME/<lease>`, the oldest holds it. An election of etcd's
//! wire is the same: locks may have values, and elections none. Only what was put again is surely an
//! election, whose leader proclaimed another value. They are found by that look alone, so a key that
//! merely looks so is taken for one.

use super::names;
use crate::{
    exit::Exit,
    failure::Failure,
    output::{Json, Show, Table, Text, header_json, human, quote},
};
use conclave_client::api::{
    conclave::v1::{LockRequestState, lock_part::Mode},
    etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader},
    mvccpb::KeyValue,
};
use std::collections::BTreeMap;

/// A place in a line.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Empty for Conclave's own locks.
    pub(super) key: Vec<u8>,
    pub(super) holds: bool,
    /// How it is asked for.
    pub(super) mode: String,
    pub(super) lease: i64,
    pub(super) fence: i64,
    pub(super) value: Vec<u8>,
    /// Its key was put again after it was made.
    pub(super) put_again: bool,
}

/// How places of etcd's wire are asked for, in what programs get.
const ETCD: &str = "etcd";
/// The same for people, if nothing tells which it is.
pub(super) const EITHER: &str = "etcd lock or election";
const ELECTION: &str = "etcd election";

/// A lock and its line, the holder first.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) places: Vec<Place>,
    /// A key below the name that is none of these and older: nobody holds the lock while it is
    /// there.
    pub(super) blocked_by: Option<Place>,
}

/// What `lock show` shows: one name may stand for several locks.
pub(super) struct Shown(pub(super) Vec<Line>);

/// What `lock ls` shows.
pub(super) struct Lines {
    pub(super) header: Option<ResponseHeader>,
    pub(super) all: Vec<Line>,
}

/// The place that a key is, if it looks like one.
fn place(kv: KeyValue) -> Option<(String, Place)> {
    let text = std::str::from_utf8(&kv.key).ok()?;
    let (name, suffix) = text.rsplit_once('/')?;
    // As Go prints a negative number in hex.
    let sign = if kv.lease < 0 { "-" } else { "" };
    let same = kv.lease != 0 && suffix == format!("{sign}{:x}", kv.lease.unsigned_abs()) && !name.is_empty();
    let name = name.to_owned();
    let place = Place {
        key: kv.key.to_vec(),
        lease: kv.lease,
        fence: kv.create_revision,
        value: kv.value.to_vec(),
        holds: false,
        mode: ETCD.into(),
        put_again: kv.version > 1,
    };
    same.then_some((name, place))
}

/// A key below the lock's name that is not of its line, and is older than all that are. Everybody
/// waits for its deletion, as with etcd.
pub(super) fn blocked(name: &str, key: &Place) -> Failure {
    let shown = quote::readable(&key.key);
    let failure = match key.lease {
        // It ends with somebody's lease: another lock's place, as a rule.
        1.. | ..0 => Failure::new(Exit::Busy, format!("the key {shown:?} of another lock stands before {name:?}")),
        0 => Failure::new(Exit::Otherwise, format!("the key {shown:?} stands before {name:?}, and ends with no lease")),
    };
    failure.hint("all keys below NAME/ are in the line of etcd's lock NAME: delete that key, or use another name")
}

/// The lines of these keys, in the order of their names.
pub(super) fn lines(keys: Vec<KeyValue>) -> Vec<Line> {
    let mut lines: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (name, place) in keys.into_iter().filter_map(place) {
        lines.entry(name).or_default().push(place);
    }
    let sorted = |(name, mut places): (String, Vec<Place>)| {
        places.sort_by_key(|place| place.fence);
        places.iter_mut().take(1).for_each(|place| place.holds = true);
        Line { name, namespace: String::new(), places, blocked_by: None }
    };
    lines.into_iter().map(sorted).collect()
}

/// A request for one of Conclave's own locks.
pub(super) fn own_place(request: &LockRequestState, holds: bool) -> Place {
    let mode = match request.parts.first().and_then(|part| part.mode) {
        Some(Mode::Shared(_)) => "shared".to_owned(),
        Some(Mode::Permits(permits)) => format!("{} of {} permits", permits.weight, permits.capacity),
        _ => "exclusive".to_owned(),
    };
    let value = names::owner(request).into_bytes();
    let (lease, fence) = (request.session, request.fence);
    Place { key: Vec::new(), lease, fence, value, holds, mode, put_again: false }
}

impl Place {
    fn json(&self) -> Json {
        // Who asked for one of Conclave's own is a text; what stands under a key is bytes.
        let own = self.key.is_empty();
        let owner = Json::from(String::from_utf8_lossy(&self.value).into_owned());
        Json::object()
            .with("fence", self.fence)
            .with("lease", human::lease(self.lease))
            .with("mode", &self.mode)
            .some("key", String::from_utf8_lossy(&self.key).into_owned())
            .some(if own { "owner" } else { "value" }, if own { owner } else { Json::bytes(&self.value) })
            .done()
    }

    /// Its value or owner, for a cell.
    pub(super) fn value(&self) -> String {
        if self.value.is_empty() { "-".to_owned() } else { quote::readable(&self.value) }
    }
}

impl Line {
    /// `oldest`: of all keys below the name. The line's own places wait if it is none of them.
    pub(super) fn stand_behind(&mut self, oldest: Option<KeyValue>) {
        let Some(oldest) = oldest.filter(|key| self.places.iter().all(|place| place.key != key.key[..])) else {
            return;
        };
        self.places.iter_mut().for_each(|place| place.holds = false);
        self.blocked_by = Some(Place {
            key: oldest.key.to_vec(),
            holds: false,
            mode: "key".into(),
            lease: oldest.lease,
            fence: oldest.create_revision,
            value: Vec::new(),
            put_again: false,
        });
    }

    /// Reads the holder's value, which the search leaves out; without it the line is still one.
    pub(super) async fn learn_value<E, F>(&mut self, read: impl FnOnce(RangeRequest) -> F)
    where
        F: Future<Output = Result<RangeResponse, E>>,
    {
        let Some(holder) = self.places.first_mut() else { return };
        let request = RangeRequest { key: holder.key.clone().into(), ..RangeRequest::default() };
        if let Ok(answer) = read(request).await {
            let same = answer.kvs.into_iter().find(|kv| kv.create_revision == holder.fence);
            holder.value = same.map(|kv| kv.value.to_vec()).unwrap_or_default();
        }
    }

    /// How a place is asked for, in words.
    fn mode<'a>(&self, place: &'a Place) -> &'a str {
        match place.mode.as_str() {
            ETCD if self.places.iter().any(|place| place.put_again) => ELECTION,
            ETCD => EITHER,
            own => own,
        }
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.holds)
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| !place.holds)
    }

    fn json(&self) -> Json {
        Json::object()
            .with("name", &self.name)
            .some("namespace", &self.namespace)
            .with("holders", Json::list(self.holders(), Place::json))
            .with("waiting", Json::list(self.waiting(), Place::json))
            .some("blocked_by", self.blocked_by.as_ref().map(|place| quote::readable(&place.key)).unwrap_or_default())
            .done()
    }
}

impl Show for Shown {
    fn simple(&self, text: &mut Text) {
        if let Some(table) = self.table() {
            text.table(&table);
        }
    }

    fn json(&self) -> Json {
        Json::object().with("locks", Json::list(&self.0, Line::json)).done()
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["PLACE", "MODE", "FENCE", "LEASE", "OWNER OR VALUE"]);
        for line in &self.0 {
            if let Some(Place { mode, fence, lease, key, .. }) = &line.blocked_by {
                let key = quote::readable(key);
                table.row(["before".into(), mode.clone(), fence.to_string(), human::lease(*lease), key]);
            }
            let standing =
                |i: usize, place: &Place| if place.holds { "holds".into() } else { format!("waits ({})", i + 1) };
            let places = line.holders().enumerate().chain(line.waiting().enumerate());
            for (i, place) in places {
                let (mode, fence) = (line.mode(place).to_owned(), place.fence.to_string());
                table.row([standing(i, place), mode, fence, human::lease(place.lease), place.value()]);
            }
        }
        Some(table)
    }
}

impl Show for Lines {
    fn simple(&self, text: &mut Text) {
        match self.table().filter(|table| !table.is_empty()) {
            Some(table) => text.table(&table),
            None => text.line("no locks"),
        }
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.header.as_ref()))
            .with("locks", Json::list(&self.all, Line::json))
            .done()
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["NAME", "MODE", "FENCE", "HOLDERS", "WAITING", "LEASE", "OWNER OR VALUE"]);
        for line in &self.all {
            let Some(first) = line.places.first() else { continue };
            table.row([
                if line.namespace.is_empty() {
                    line.name.clone()
                } else {
                    format!("{} (in {})", line.name, line.namespace)
                },
                line.mode(first).to_owned(),
                first.fence.to_string(),
                line.holders().count().to_string(),
                line.waiting().count().to_string(),
                human::lease(first.lease),
                first.value(),
            ]);
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, lease: i64, created: i64) -> KeyValue {
        KeyValue { key: key.to_owned().into(), lease, create_revision: created, ..KeyValue::default() }
    }

    #[test]
    fn nobody_holds_a_lock_behind_a_key_that_is_not_of_its_line() {
        let places = || lines(vec![kv("job/1f", 0x1f, 9), kv("job/2e", 0x2e, 5)]).remove(0);
        let mut free = places();
        free.stand_behind(Some(kv("job/2e", 0x2e, 5)));
        assert!(free.blocked_by.is_none() && free.holders().count() == 1);
        let mut behind = places();
        behind.stand_behind(Some(kv("job/config", 0, 3)));
        assert_eq!((behind.holders().count(), behind.waiting().count()), (0, 2));
        let json = serde_json::to_value(behind.json()).expect("json");
        assert_eq!(json["blocked_by"], "job/config");
    }

    #[test]
    fn a_place_of_etcds_wire_is_called_an_election_only_if_it_surely_is_one() {
        let table = |version, value: &str| {
            let value = value.to_owned().into();
            let line = lines(vec![KeyValue { version, value, ..kv("job/1f", 0x1f, 9) }]);
            let mut text = Text::new(false, false);
            Lines { header: None, all: line }.simple(&mut text);
            String::from_utf8(text.into_bytes()).expect("text")
        };
        // A lock of conclavectl's has a value, and an election's may be empty.
        assert!(table(1, "al@host/7").contains(EITHER) && table(1, "").contains(EITHER));
        assert!(table(2, "b").contains(ELECTION), "{}", table(2, "b"));
    }

    #[test]
    fn lines_are_found_by_their_look() {
        let keys = vec![
            kv("job/1f", 0x1f, 9),
            kv("job/2e", 0x2e, 5),
            kv("job/zz", 0x2e, 3),
            kv("job/1f", 0, 1),
            kv("deep/er/1f", 0x1f, 12),
            kv("/1f", 0x1f, 2),
        ];
        let lines = lines(keys);
        let seen: Vec<(&str, Vec<i64>)> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.places.iter().map(|place| place.fence).collect()))
            .collect();
        assert_eq!(seen, [("deep/er", vec![12]), ("job", vec![5, 9])]);
        let header = Some(ResponseHeader { revision: 12, ..ResponseHeader::default() });
        let json = serde_json::to_value(Lines { header, all: lines }.json()).expect("json");
        assert_eq!((&json["header"]["revision"], &json["locks"][0]["name"]), (&12.into(), &"deep/er".into()));
    }
}
