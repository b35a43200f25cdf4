//! Makes a snapshot of a view, in steps that can be taken on any thread.
//!
//! Three passes over one view: what is older than the compacted revision is sorted by revision; the
//! contents are measured; they are written. After the second the size is known, in the third bytes
//! come. In memory are a run of the sort, unfinished pages, and the bytes of one step.

use crate::contents::{Contents, Facts};
use crate::error::MakeError;
use crate::sort::{Sorted, Sorter};
use conclave_bolt::{PAGE_SIZE, Plan, Writer};
use conclave_state::export::{self, Cursor};
use conclave_state::{View, read};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Sink};
use std::sync::Arc;

/// Keys looked at in one step of the first pass.
const KEYS: usize = 5_000;
/// A step of the third pass ends when it has so many bytes.
const PIECE: usize = 256 << 10;

/// What a step gave.
#[derive(Debug)]
pub enum Step {
    /// There is more to do before bytes come.
    Working,
    /// Bytes of the file, not empty.
    Bytes(Vec<u8>),
    /// The hash, with which the snapshot ends.
    Hash([u8; 32]),
}

pub struct Maker {
    facts: Arc<Facts>,
    pass: Pass,
}

enum Pass {
    Sort { sorter: Sorter, from: Cursor },
    Measure { kept: Arc<Sorted>, contents: Contents, writer: Writer<Sink> },
    Write { contents: Contents, writer: Writer<Vec<u8>>, plan: Plan, hash: Sha256, sent: u64 },
    Hash(Sha256),
    Ended,
}

impl Maker {
    /// `spill` is an empty file that takes what does not fit into memory, and has no other use.
    #[must_use]
    pub fn new(facts: Facts, spill: File) -> Maker {
        Maker { facts: Arc::new(facts), pass: Pass::Sort { sorter: Sorter::new(spill), from: Cursor::new() } }
    }

    /// The bytes of the file that are still to come, without the hash; `None` before the size is
    /// known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.pass {
            Pass::Write { plan, sent, .. } => Some(plan.size() - sent),
            Pass::Hash(_) | Pass::Ended => Some(0),
            Pass::Sort { .. } | Pass::Measure { .. } => None,
        }
    }

    /// The next step; always with the same view. Nothing comes after the hash or an error.
    pub fn step<V: View>(&mut self, view: &V) -> Result<Step, MakeError> {
        match std::mem::replace(&mut self.pass, Pass::Ended) {
            Pass::Sort { sorter, from } => self.sort(view, sorter, &from),
            Pass::Measure { kept, contents, writer } => self.measure(view, kept, contents, writer),
            Pass::Write { contents, writer, plan, hash, sent } => self.write(view, contents, writer, plan, hash, sent),
            Pass::Hash(hash) => Ok(Step::Hash(hash.finalize().into())),
            Pass::Ended => Err(io::Error::other("the snapshot has ended").into()),
        }
    }

    fn sort<V: View>(&mut self, view: &V, mut sorter: Sorter, from: &Cursor) -> Result<Step, MakeError> {
        let compacted = read::meta(view)?.compacted;
        let mut found = Vec::new();
        let next = export::kept(view, compacted, from, KEYS, |revision, key| {
            found.push((revision, key));
            Ok(())
        })?;
        for (revision, key) in found {
            sorter.push(revision, key)?;
        }
        self.pass = match next {
            Some(from) => Pass::Sort { sorter, from },
            None => {
                let kept = Arc::new(sorter.finish());
                let contents = Contents::new(self.facts.clone(), kept.clone());
                Pass::Measure { kept, contents, writer: Writer::measure(PAGE_SIZE) }
            }
        };
        Ok(Step::Working)
    }

    fn measure<V: View>(
        &mut self,
        view: &V,
        kept: Arc<Sorted>,
        mut contents: Contents,
        mut writer: Writer<Sink>,
    ) -> Result<Step, MakeError> {
        if !contents.step(view, &mut writer)? {
            self.pass = Pass::Measure { kept, contents, writer };
            return Ok(Step::Working);
        }
        let (plan, _) = writer.finish()?;
        let contents = Contents::new(self.facts.clone(), kept);
        let writer = Writer::new(Vec::new(), plan)?;
        self.pass = Pass::Write { contents, writer, plan, hash: Sha256::new(), sent: 0 };
        Ok(Step::Working)
    }

    fn write<V: View>(
        &mut self,
        view: &V,
        mut contents: Contents,
        mut writer: Writer<Vec<u8>>,
        plan: Plan,
        mut hash: Sha256,
        sent: u64,
    ) -> Result<Step, MakeError> {
        while writer.out().len() < PIECE {
            if contents.step(view, &mut writer)? {
                let (_, last) = writer.finish()?;
                hash.update(&last);
                self.pass = Pass::Hash(hash);
                return Ok(Step::Bytes(last));
            }
        }
        let bytes = std::mem::take(writer.out());
        hash.update(&bytes);
        let sent = sent + bytes.len() as u64;
        self.pass = Pass::Write { contents, writer, plan, hash, sent };
        Ok(Step::Bytes(bytes))
    }
}
