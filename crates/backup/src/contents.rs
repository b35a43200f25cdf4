//! The pairs of a snapshot, in the order of buckets and keys.
//!
//! They are read in steps, and the caller can yield its thread between two of them. Each walk over
//! the same view gives the same pairs.

use crate::error::MakeError;
use crate::schema::{self, Lease, Revision, Version};
use crate::sort::{Entries, Sorted};
use crate::users;
use bytes::Bytes;
use conclave_bolt::Writer;
use conclave_state::View;
use conclave_state::export::{self, Cursor, Past};
use conclave_state::read;
use prost::Message;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

/// Pairs of one step, for what is small.
const PAIRS: usize = 1_000;
/// Versions of keys in one step: each is looked up.
const VERSIONS: usize = 200;
/// After so many bytes of them the step ends.
const BYTES: usize = 256 << 10;

/// What a snapshot says beside the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The last entry of the log that is in the view, and its term.
    pub index: u64,
    pub term: u64,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    pub id: u64,
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    pub name: String,
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
}

#[derive(Serialize)]
struct ConfState {
    voters: Vec<u64>,
    learners: Vec<u64>,
    auto_leave: bool,
}

/// Revision, sub-revision and key.
type Change = (i64, u32, Bytes);

/// A walk over the pairs, as far as it has come.
pub(crate) struct Contents {
    facts: Arc<Facts>,
    kept: Arc<Sorted>,
    stage: Stage,
}

/// What comes next.
enum Stage {
    Start,
    Roles(Cursor),
    Users(Cursor),
    Coordination(Cursor),
    LeaseTtls(Cursor),
    Locks(Cursor, u64),
    /// Versions from before the compacted revision; with the revision and sub-revision of the last
    /// one.
    Kept(Entries, i64, i64),
    /// Changes that are to be looked up, and where further ones are.
    Changes(VecDeque<Change>, Option<Cursor>),
    Leases(Cursor),
    End,
}

impl Contents {
    pub(crate) fn new(facts: Arc<Facts>, kept: Arc<Sorted>) -> Contents {
        Contents { facts, kept, stage: Stage::Start }
    }

    /// Writes some pairs; true when there are no more.
    pub(crate) fn step<V: View, W: Write>(&mut self, view: &V, to: &mut Writer<W>) -> Result<bool, MakeError> {
        let stage = std::mem::replace(&mut self.stage, Stage::End);
        self.stage = match stage {
            Stage::Start => {
                start(view, to)?;
                Stage::Roles(Cursor::new())
            }
            Stage::Roles(from) => match roles(view, &from, to)? {
                Some(next) => Stage::Roles(next),
                None => {
                    to.bucket(schema::AUTH_USERS)?;
                    Stage::Users(Cursor::new())
                }
            },
            Stage::Users(from) => match users(view, &from, to)? {
                Some(next) => Stage::Users(next),
                None => {
                    to.bucket(schema::CLUSTER)?;
                    to.bucket(schema::CONCLAVE)?;
                    Stage::Coordination(Cursor::new())
                }
            },
            Stage::Coordination(from) => match coordination(view, &from, to)? {
                Some(next) => Stage::Coordination(next),
                None => {
                    to.pair(schema::FORMAT, schema::FORMAT_NOW)?;
                    Stage::LeaseTtls(Cursor::new())
                }
            },
            Stage::LeaseTtls(from) => {
                let next = leases(view, &from, |id, ttl_ms| {
                    let key = schema::numbered(schema::LEASE_MS, id.cast_unsigned());
                    Ok(to.pair(&key, &ttl_ms.to_be_bytes())?)
                })?;
                next.map_or(Stage::Locks(Cursor::new(), 0), Stage::LeaseTtls)
            }
            Stage::Locks(from, number) => match locks(view, &from, number, to)? {
                (Some(next), number) => Stage::Locks(next, number),
                (None, _) => {
                    if let Some(policy) = export::placement(view)? {
                        to.pair(schema::PLACEMENT, &policy)?;
                    }
                    to.pair(schema::STORE, &read::meta(view)?.digest.to_be_bytes())?;
                    to.bucket(schema::KEY)?;
                    Stage::Kept(self.kept.entries()?, 0, 0)
                }
            },
            Stage::Kept(entries, revision, sub) => kept(view, entries, revision, sub, to)?,
            Stage::Changes(found, next) => changes(view, found, next, to)?,
            Stage::Leases(from) => {
                let next = leases(view, &from, |id, ttl_ms| {
                    Ok(to.pair(&id.to_be_bytes(), &Lease::new(id, ttl_ms).encode_to_vec())?)
                })?;
                match next {
                    Some(next) => Stage::Leases(next),
                    None => {
                        self.end(view, to)?;
                        Stage::End
                    }
                }
            }
            Stage::End => Stage::End,
        };
        Ok(matches!(self.stage, Stage::End))
    }

    /// The buckets behind those of keys and leases.
    fn end<V: View, W: Write>(&self, view: &V, to: &mut Writer<W>) -> Result<(), MakeError> {
        let Facts { index, term, members } = &*self.facts;
        to.bucket(schema::MEMBERS)?;
        let mut rows: Vec<(String, &Member)> =
            members.iter().map(|member| (format!("{:x}", member.id), member)).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        for (id, member) in rows {
            to.pair(id.as_bytes(), &json(member)?)?;
        }
        to.bucket(schema::MEMBERS_REMOVED)?;
        to.bucket(schema::META)?;
        let with = |learner: bool| members.iter().filter(move |member| member.is_learner == learner);
        let ids = |learner: bool| with(learner).map(|member| member.id).collect::<Vec<_>>();
        let conf_state = ConfState { voters: ids(false), learners: ids(true), auto_leave: false };
        to.pair(schema::CONF_STATE, &json(&conf_state)?)?;
        to.pair(schema::CONSISTENT_INDEX, &index.to_be_bytes())?;
        let compacted = read::meta(view)?.compacted;
        let revision = Revision { main: compacted, sub: 0, deleted: false }.encode();
        if compacted >= 0 {
            to.pair(schema::FINISHED_COMPACTION, &revision)?;
            to.pair(schema::SCHEDULED_COMPACTION, &revision)?;
        }
        to.pair(schema::STORAGE, schema::STORAGE_VERSION.as_bytes())?;
        to.pair(schema::TERM, &term.to_be_bytes())?;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, MakeError> {
    serde_json::to_vec(value).map_err(|e| MakeError::Io(e.into()))
}

/// The buckets before those of roles, which it begins.
fn start<V: View, W: Write>(view: &V, to: &mut Writer<W>) -> Result<(), MakeError> {
    to.bucket(schema::ALARM)?;
    let mut alarms: Vec<Vec<u8>> = read::alarms(view)?.into_iter().map(schema::alarm).collect();
    alarms.sort();
    for alarm in alarms {
        to.pair(&alarm, b"")?;
    }
    let (enabled, revision) = export::auth(view)?;
    to.bucket(schema::AUTH)?;
    to.pair(schema::AUTH_ENABLED, &users::encode_enabled(enabled))?;
    to.pair(schema::AUTH_REVISION, &revision.to_be_bytes())?;
    to.bucket(schema::AUTH_ROLES)?;
    Ok(())
}

/// Runs a step of the state's, whose visits fail in their own way.
fn visiting<T>(
    step: impl FnOnce(&mut dyn FnMut(Result<(), MakeError>)) -> Result<T, conclave_state::Fault>,
) -> Result<T, MakeError> {
    let mut failed = None;
    let done = step(&mut |result| {
        if let Err(e) = result {
            failed.get_or_insert(e);
        }
    })?;
    failed.map_or(Ok(done), Err)
}

fn roles<V: View, W: Write>(view: &V, from: &Cursor, to: &mut Writer<W>) -> Result<Option<Cursor>, MakeError> {
    visiting(|note| {
        export::roles(view, from, PAIRS, |name, role| {
            note(to.pair(name.as_bytes(), &users::encode_role(name, &role)).map_err(MakeError::from));
            Ok(())
        })
    })
}

fn users<V: View, W: Write>(view: &V, from: &Cursor, to: &mut Writer<W>) -> Result<Option<Cursor>, MakeError> {
    visiting(|note| {
        export::users(view, from, PAIRS, |name, user| {
            note(to.pair(name.as_bytes(), &users::encode_user(name, &user)).map_err(MakeError::from));
            Ok(())
        })
    })
}

fn coordination<V: View, W: Write>(view: &V, from: &Cursor, to: &mut Writer<W>) -> Result<Option<Cursor>, MakeError> {
    visiting(|note| {
        export::coordination(view, from, PAIRS, |row, value| {
            note(to.pair(&[schema::COORD_ROW, row].concat(), value).map_err(MakeError::from));
            Ok(())
        })
    })
}

fn leases<V: View>(
    view: &V,
    from: &Cursor,
    mut write: impl FnMut(i64, u64) -> Result<(), MakeError>,
) -> Result<Option<Cursor>, MakeError> {
    visiting(|note| {
        export::leases(view, from, PAIRS, |id, ttl_ms| {
            note(write(id, ttl_ms));
            Ok(())
        })
    })
}

fn locks<V: View, W: Write>(
    view: &V,
    from: &Cursor,
    mut number: u64,
    to: &mut Writer<W>,
) -> Result<(Option<Cursor>, u64), MakeError> {
    let next = visiting(|note| {
        export::locks(view, from, PAIRS, |key| {
            note(to.pair(&schema::numbered(schema::LOCK_KEY, number), &key).map_err(MakeError::from));
            number += 1;
            Ok(())
        })
    })?;
    Ok((next, number))
}

/// The sub-revision is not known any more. It orders what changed in one revision, of which no
/// watch can ask; so the order is that of the keys.
fn kept<V: View, W: Write>(
    view: &V,
    mut entries: Entries,
    mut revision: i64,
    mut sub: i64,
    to: &mut Writer<W>,
) -> Result<Stage, MakeError> {
    let (mut count, mut bytes) = (0, 0);
    while count < VERSIONS && bytes < BYTES {
        let Some((main, key)) = entries.next()? else {
            return Ok(Stage::Changes(VecDeque::new(), Some(Cursor::new())));
        };
        sub = if main == revision { sub + 1 } else { 0 };
        revision = main;
        bytes += version(view, &key, main, sub, to)?;
        count += 1;
    }
    Ok(Stage::Kept(entries, revision, sub))
}

fn changes<V: View, W: Write>(
    view: &V,
    mut found: VecDeque<Change>,
    mut next: Option<Cursor>,
    to: &mut Writer<W>,
) -> Result<Stage, MakeError> {
    if found.is_empty() {
        let Some(from) = &next else {
            to.bucket(schema::LEASE)?;
            return Ok(Stage::Leases(Cursor::new()));
        };
        next = export::changes(view, read::meta(view)?.compacted, from, VERSIONS, |main, sub, key| {
            found.push_back((main, sub, Bytes::copy_from_slice(key)));
            Ok(())
        })?;
    }
    let mut bytes = 0;
    while bytes < BYTES {
        let Some((main, sub, key)) = found.pop_front() else { break };
        bytes += version(view, &key, main, i64::from(sub), to)?;
    }
    Ok(Stage::Changes(found, next))
}

/// Writes a version; gives its size.
fn version<V: View, W: Write>(
    view: &V,
    key: &Bytes,
    main: i64,
    sub: i64,
    to: &mut Writer<W>,
) -> Result<usize, MakeError> {
    let Past { kv, deleted } = export::version(view, key, main)?;
    let value = if deleted { Version::deletion(key.clone()) } else { Version::put(kv) };
    let value = value.encode_to_vec();
    to.pair(&Revision { main, sub, deleted }.encode(), &value)?;
    Ok(value.len())
}
