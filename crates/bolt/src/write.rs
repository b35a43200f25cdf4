//! Writes a file from buckets and pairs in order, front to back.
//!
//! Each tree is built from below: pairs fill a leaf page, which is written when it is full and
//! becomes an entry of the branch page above it, and so on. So what is in memory is one unfinished
//! page for each level.
//!
//! 1. The same contents give the same bytes: what a first pass measures is true of the second.
//! 2. A branch page has at least two children. It is written without its last entry, which begins
//!    the next page.
//! 3. Every page is the root, or an entry of exactly one branch page; there are no free pages.

use crate::page::{BRANCH, BUCKET, ELEMENT, FREE_LIST, HEADER, Header, IS_BUCKET, LEAF, META_PAGE, Meta};
use std::io::{self, Sink, Write};
use thiserror::Error;

/// The first pages: two meta pages and the free list.
const FREE_LIST_AT: u64 = 2;

/// bbolt's limits.
const LONGEST_KEY: usize = 32_768;
const LONGEST_VALUE: usize = (1 << 31) - 2;

#[derive(Debug, Error)]
pub enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the keys of a bucket, and the names of buckets, have to rise")]
    Order,
    #[error("a pair without a bucket")]
    NoBucket,
    #[error("a key of {0} bytes; bbolt takes 1 to {LONGEST_KEY}")]
    Key(usize),
    #[error("a value of {0} bytes; bbolt takes at most {LONGEST_VALUE}")]
    Value(usize),
    #[error("the contents are not those that were measured")]
    Changed,
}

/// What the meta pages say of contents that were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    root: u64,
    pages: u64,
    page_size: usize,
}

impl Plan {
    /// Of the file, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.pages * self.page_size as u64
    }
}

/// A file being written. The file is unusable if this is dropped before [`Writer::finish`].
pub struct Writer<W> {
    out: W,
    page_size: usize,
    /// What the meta pages said; nothing if this is the pass that measures.
    plan: Option<Plan>,
    /// The number of pages written.
    pages: u64,
    root: Tree,
    bucket: Option<(Vec<u8>, Tree)>,
}

impl Writer<Sink> {
    /// For the first pass.
    #[must_use]
    pub fn measure(page_size: usize) -> Writer<Sink> {
        Writer { out: io::sink(), page_size, plan: None, pages: FREE_LIST_AT + 1, root: Tree::new(), bucket: None }
    }
}

impl<W: Write> Writer<W> {
    /// For the second pass.
    pub fn new(out: W, plan: Plan) -> Result<Writer<W>, WriteError> {
        let page_size = plan.page_size;
        let mut writer = Writer { out, page_size, plan: Some(plan), pages: 0, root: Tree::new(), bucket: None };
        for transaction in 0..FREE_LIST_AT {
            let Plan { root, pages, .. } = plan;
            let page_size = u32::try_from(page_size).unwrap_or(u32::MAX);
            let meta = Meta { page_size, root, free_list: FREE_LIST_AT, pages, transaction };
            writer.page(META_PAGE, 0, &[&meta.encode()])?;
        }
        writer.page(FREE_LIST, 0, &[])?;
        Ok(writer)
    }

    /// What was written to, for who collects the bytes piece by piece.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Begins a bucket. Names have to rise.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError> {
        self.end_bucket()?;
        check(name, b"")?;
        self.bucket = Some((name.to_vec(), Tree::new()));
        Ok(())
    }

    /// Adds a pair to the bucket. Keys have to rise.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        check(key, value)?;
        let (name, mut tree) = self.bucket.take().ok_or(WriteError::NoBucket)?;
        tree.pair(self, 0, key, value)?;
        self.bucket = Some((name, tree));
        Ok(())
    }

    /// Ends the file and gives its plan: for the second pass, or the same again.
    pub fn finish(mut self) -> Result<(Plan, W), WriteError> {
        self.end_bucket()?;
        let root = std::mem::replace(&mut self.root, Tree::new()).finish(&mut self)?;
        let plan = Plan { root, pages: self.pages, page_size: self.page_size };
        match self.plan {
            Some(promised) if promised != plan => Err(WriteError::Changed),
            _ => Ok((plan, self.out)),
        }
    }

    fn end_bucket(&mut self) -> Result<(), WriteError> {
        let Some((name, tree)) = self.bucket.take() else { return Ok(()) };
        let mut value = [0; BUCKET];
        value[..8].copy_from_slice(&tree.finish(self)?.to_le_bytes());
        let mut root = std::mem::replace(&mut self.root, Tree::new());
        root.pair(self, IS_BUCKET, &name, &value)?;
        self.root = root;
        Ok(())
    }

    /// Writes a page, and those that continue it; gives its id.
    fn page(&mut self, flags: u16, count: usize, contents: &[&[u8]]) -> Result<u64, WriteError> {
        let size = HEADER + contents.iter().map(|part| part.len()).sum::<usize>();
        let pages = size.div_ceil(self.page_size);
        let overflow = u32::try_from(pages - 1).map_err(|_| WriteError::Value(size))?;
        let count = u16::try_from(count).expect("a page is ended before it has so many elements");
        let id = self.pages;
        self.out.write_all(&Header { id, flags, count, overflow }.encode())?;
        for part in contents {
            self.out.write_all(part)?;
        }
        let zeros = [0; 512];
        let mut left = pages * self.page_size - size;
        while left > 0 {
            let some = left.min(zeros.len());
            self.out.write_all(&zeros[..some])?;
            left -= some;
        }
        self.pages += pages as u64;
        Ok(id)
    }
}

fn check(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(WriteError::Key(key.len()));
    }
    if value.len() > LONGEST_VALUE {
        return Err(WriteError::Value(value.len()));
    }
    Ok(())
}

/// A tree being built.
struct Tree {
    leaf: Filling,
    /// From below.
    branches: Vec<Filling>,
    last: Vec<u8>,
}

impl Tree {
    fn new() -> Tree {
        Tree { leaf: Filling::default(), branches: Vec::new(), last: Vec::new() }
    }

    fn pair<W: Write>(&mut self, to: &mut Writer<W>, flags: u32, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if key <= &self.last[..] {
            return Err(WriteError::Order);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        if !self.leaf.is_empty() && !self.leaf.has_room(to.page_size, key.len() + value.len()) {
            let full = std::mem::take(&mut self.leaf);
            let (first, id) = full.write_leaf(to)?;
            self.child(to, 0, &first, id)?;
        }
        self.leaf.push(u64::from(flags), key, value);
        Ok(())
    }

    /// Adds a page to the branches that are so many levels above the leaves.
    fn child<W: Write>(&mut self, to: &mut Writer<W>, level: usize, first: &[u8], id: u64) -> Result<(), WriteError> {
        if self.branches.len() == level {
            self.branches.push(Filling::default());
        }
        let branch = &mut self.branches[level];
        if branch.count() > 2 && !branch.has_room(to.page_size, first.len()) {
            let next = branch.split_last();
            let full = std::mem::replace(branch, next);
            branch.has_siblings = true;
            let (first, id) = full.write_branch(to)?;
            self.child(to, level + 1, &first, id)?;
        }
        self.branches[level].push(id, first, b"");
        Ok(())
    }

    /// Writes what is unfinished, from below; gives the root page.
    fn finish<W: Write>(mut self, to: &mut Writer<W>) -> Result<u64, WriteError> {
        let leaf = std::mem::take(&mut self.leaf);
        let (first, mut id) = leaf.write_leaf(to)?;
        if self.branches.is_empty() {
            return Ok(id);
        }
        self.child(to, 0, &first, id)?;
        let mut level = 0;
        while level < self.branches.len() {
            let branch = std::mem::take(&mut self.branches[level]);
            let has_siblings = branch.has_siblings;
            let first;
            (first, id) = branch.write_branch(to)?;
            if has_siblings {
                self.child(to, level + 1, &first, id)?;
            }
            level += 1;
        }
        Ok(id)
    }
}

/// A page being filled.
#[derive(Default)]
struct Filling {
    elements: Vec<Element>,
    /// Keys and values, as they follow the elements.
    data: Vec<u8>,
    /// A page of the same level was written.
    has_siblings: bool,
}

struct Element {
    /// The flags of a pair, or the page of a child.
    number: u64,
    key: usize,
    value: usize,
}

impl Filling {
    fn count(&self) -> usize {
        self.elements.len()
    }

    fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    fn has_room(&self, page_size: usize, bytes: usize) -> bool {
        HEADER + (self.count() + 1) * ELEMENT + self.data.len() + bytes <= page_size
            && self.count() < usize::from(u16::MAX) - 1
    }

    fn push(&mut self, number: u64, key: &[u8], value: &[u8]) {
        self.elements.push(Element { number, key: key.len(), value: value.len() });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    /// Takes the last element off, into a page of its own.
    fn split_last(&mut self) -> Filling {
        let mut next = Filling::default();
        if let Some(last) = self.elements.pop() {
            let key = self.data.split_off(self.data.len() - last.key);
            next.push(last.number, &key, b"");
        }
        next
    }

    fn first_key(&self) -> Vec<u8> {
        self.elements.first().map_or_else(Vec::new, |first| self.data[..first.key].to_vec())
    }

    fn write_leaf<W: Write>(self, to: &mut Writer<W>) -> Result<(Vec<u8>, u64), WriteError> {
        self.write(to, LEAF, |out, element, position| {
            out.extend_from_slice(&(element.number as u32).to_le_bytes());
            out.extend_from_slice(&position.to_le_bytes());
            out.extend_from_slice(&(element.key as u32).to_le_bytes());
            out.extend_from_slice(&(element.value as u32).to_le_bytes());
        })
    }

    fn write_branch<W: Write>(self, to: &mut Writer<W>) -> Result<(Vec<u8>, u64), WriteError> {
        self.write(to, BRANCH, |out, element, position| {
            out.extend_from_slice(&position.to_le_bytes());
            out.extend_from_slice(&(element.key as u32).to_le_bytes());
            out.extend_from_slice(&element.number.to_le_bytes());
        })
    }

    /// Gives the first key and the id of the page.
    fn write<W: Write>(
        self,
        to: &mut Writer<W>,
        flags: u16,
        encode: impl Fn(&mut Vec<u8>, &Element, u32),
    ) -> Result<(Vec<u8>, u64), WriteError> {
        let mut elements = Vec::with_capacity(self.count() * ELEMENT);
        let mut at = self.count() * ELEMENT;
        for element in &self.elements {
            let position = u32::try_from(at - elements.len()).map_err(|_| WriteError::Value(element.value))?;
            encode(&mut elements, element, position);
            at += element.key + element.value;
        }
        let id = to.page(flags, self.count(), &[&elements, &self.data])?;
        Ok((self.first_key(), id))
    }
}
