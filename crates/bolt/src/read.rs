//! Reads a file that may come from anywhere.
//!
//! 1. Each page is read once in a pass, also as the continuation of another: cycles and overlaps
//!    are errors, and the work of a pass is bounded by the size of the file.
//! 2. Inside a page keys and values follow each other: no byte is shown twice.
//! 3. In memory are the pages on the way to the current leaf, at most [`DEEPEST`] of them and each
//!    within [`LARGEST`], and one bit for each page of the file.
//! 4. Keys rise over the whole of a bucket, and no separator of a branch page contradicts them.

use crate::page::{BRANCH, BUCKET, ELEMENT, HEADER, Header, IS_BUCKET, LEAF, META, META_PAGE, Meta, u32_at, u64_at};
use crate::source::Source;
use std::io;
use thiserror::Error;

/// Levels of a tree. A real one has three or four.
const DEEPEST: usize = 32;
/// Bytes of a page with those that continue it. etcd's values have 1.5 MiB unless it is configured
/// otherwise.
const LARGEST: u64 = 256 << 20;
/// etcd has ten, and another server may add some.
const MOST_BUCKETS: usize = 1024;
/// bbolt takes the size of pages of the machine. Larger ones were never seen.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 16;

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("reading failed: {0}")]
    // Not a source: the text has its words, and reports of a whole chain would repeat them.
    Io(io::Error),
    #[error("this is not a bbolt file, or both of its meta pages are damaged")]
    NotBolt,
    #[error("pages of {0} bytes are not supported")]
    PageSize(u32),
    #[error("the file is truncated: its meta page tells of {pages} pages, which is more than {size} bytes hold")]
    Truncated { pages: u64, size: u64 },
    #[error("page {page} {problem}")]
    Page { page: u64, problem: Problem },
    #[error("there are more than {MOST_BUCKETS} buckets")]
    Buckets,
    #[error("a bucket in a bucket is not supported")]
    Nested,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("is beyond the end of the file")]
    Beyond,
    #[error("is used twice")]
    Twice,
    #[error("has another number in its head")]
    Number,
    #[error("is neither a branch nor a leaf")]
    Kind,
    #[error("is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("is deeper in its tree than {DEEPEST} levels")]
    TooDeep,
    #[error("has elements beyond its end")]
    Overrun,
    #[error("has elements that overlap")]
    Overlap,
    #[error("has an element of an unknown kind")]
    Element,
    #[error("has an empty key")]
    EmptyKey,
    #[error("has keys that do not rise")]
    Order,
    #[error("is empty")]
    Empty,
    #[error("holds a bucket without a root page")]
    Bucket,
}

/// Is shown each pair of a bucket: key and value.
pub type Visit<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;

/// Is shown each pair with the name of its bucket, and once the name of a bucket without pairs.
pub type VisitAll<'a, E> = &'a mut dyn FnMut(&[u8], Option<(&[u8], &[u8])>) -> Result<(), E>;

impl Problem {
    fn of(self, page: u64) -> ReadError {
        ReadError::Page { page, problem: self }
    }
}

/// A file that was opened. Each of its methods is a pass of its own.
pub struct Reader<S> {
    source: S,
    meta: Meta,
}

/// Where the pairs of a bucket are.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: Vec<u8>,
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    Page(u64),
    /// A leaf page as it stands in the root bucket.
    Inline(Vec<u8>),
}

impl<S: Source> Reader<S> {
    pub fn open(source: S) -> Result<Reader<S>, ReadError> {
        let size = source.size()?;
        let meta = find_meta(&source, size)?;
        if !PAGE_SIZES.contains(&meta.page_size) || !meta.page_size.is_power_of_two() {
            return Err(ReadError::PageSize(meta.page_size));
        }
        if meta.pages > size / u64::from(meta.page_size) {
            return Err(ReadError::Truncated { pages: meta.pages, size });
        }
        Ok(Reader { source, meta })
    }

    /// What the file says it takes, in bytes. More may follow.
    pub fn size(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_size)
    }

    /// The buckets, in the order of their names.
    pub fn buckets(&self) -> Result<Vec<Bucket>, ReadError> {
        self.list_buckets(&mut self.unused())
    }

    /// Shows the pairs of a bucket, in order.
    pub fn pairs<E: From<ReadError>>(&self, bucket: &Bucket, visit: Visit<'_, E>) -> Result<(), E> {
        self.show(&bucket.root, &mut self.unused(), visit)
    }

    /// Shows all pairs with their buckets, in order. Finds what one bucket alone cannot show: pages
    /// that two of them use. A bucket without pairs is shown once, without a pair.
    pub fn everything<E: From<ReadError>>(&self, visit: VisitAll<'_, E>) -> Result<(), E> {
        let mut used = self.unused();
        for bucket in self.list_buckets(&mut used)? {
            visit(&bucket.name, None)?;
            self.show(&bucket.root, &mut used, &mut |key, value| visit(&bucket.name, Some((key, value))))?;
        }
        Ok(())
    }

    fn list_buckets(&self, used: &mut Used) -> Result<Vec<Bucket>, ReadError> {
        let mut buckets = Vec::new();
        self.walk(&Root::Page(self.meta.root), used, &mut |page, Pair { flags, key, value }| {
            if flags != IS_BUCKET {
                return Err(Problem::Element.of(page));
            }
            if buckets.len() == MOST_BUCKETS {
                return Err(ReadError::Buckets);
            }
            let (head, inline) = value.split_at_checked(BUCKET).ok_or_else(|| Problem::Bucket.of(page))?;
            let root = match u64_at(head, 0) {
                0 => Root::Inline(inline.to_vec()),
                root => Root::Page(root),
            };
            buckets.push(Bucket { name: key.to_vec(), root });
            Ok(())
        })?;
        Ok(buckets)
    }

    fn show<E: From<ReadError>>(&self, root: &Root, used: &mut Used, visit: Visit<'_, E>) -> Result<(), E> {
        self.walk(root, used, &mut |page, Pair { flags, key, value }| match flags {
            0 => visit(key, value),
            IS_BUCKET => Err(ReadError::Nested.into()),
            _ => Err(Problem::Element.of(page).into()),
        })
    }

    /// Shows the elements of all leaves below a root, each with its page.
    fn walk<E: From<ReadError>>(
        &self,
        root: &Root,
        used: &mut Used,
        visit: &mut dyn FnMut(u64, Pair<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = match root {
            Root::Page(id) => self.page(*id, used)?,
            Root::Inline(bytes) => inline_page(bytes)?,
        };
        let mut way = vec![(root, 0)];
        let mut keys = Rising::default();
        while let Some((page, next)) = way.last_mut() {
            if *next == page.count {
                way.pop();
                continue;
            }
            let at = *next;
            *next += 1;
            let id = page.id;
            if page.is_leaf {
                let pair = page.pair(at);
                keys.pair(pair.key).map_err(|problem| problem.of(id))?;
                visit(id, pair)?;
                continue;
            }
            let (key, child) = page.child(at);
            keys.separator(key).map_err(|problem| problem.of(id))?;
            if way.len() == DEEPEST {
                return Err(Problem::TooDeep.of(child).into());
            }
            let child = self.page(child, used)?;
            if child.count == 0 {
                return Err(Problem::Empty.of(child.id).into());
            }
            way.push((child, 0));
        }
        Ok(())
    }

    /// Reads a page with those that continue it.
    fn page(&self, id: u64, used: &mut Used) -> Result<Page, ReadError> {
        let page_size = u64::from(self.meta.page_size);
        used.take(id, 1, self.meta.pages)?;
        let mut head = [0; HEADER];
        self.source.read_at(&mut head, id * page_size)?;
        let header = Header::decode(&head);
        if header.id != id {
            return Err(Problem::Number.of(id));
        }
        let pages = 1 + u64::from(header.overflow);
        used.take(id + 1, pages - 1, self.meta.pages)?;
        if pages * page_size > LARGEST {
            return Err(Problem::TooLarge.of(id));
        }
        let size = usize::try_from(pages * page_size).map_err(|_| Problem::TooLarge.of(id))?;
        let mut bytes = vec![0; size];
        self.source.read_at(&mut bytes, id * page_size)?;
        Page::new(bytes, id, header)
    }

    /// Of a pass that begins.
    fn unused(&self) -> Used {
        let words = usize::try_from(self.meta.pages.div_ceil(64)).unwrap_or(usize::MAX);
        let mut used = Used(vec![0; words]);
        // They are not beyond the end: a file whose meta page was read has two pages.
        let _ = used.take(0, 2, self.meta.pages);
        used
    }
}

/// The meta page that counts: of those that are sound, the one with the higher transaction.
fn find_meta<S: Source>(source: &S, size: u64) -> Result<Meta, ReadError> {
    let read = |at: u64| -> Result<Option<Meta>, ReadError> {
        let mut bytes = [0; HEADER + META];
        if at + bytes.len() as u64 > size {
            return Ok(None);
        }
        source.read_at(&mut bytes, at)?;
        let (head, rest) = bytes.split_first_chunk::<HEADER>().expect("it is longer");
        let meta = rest.first_chunk::<META>().and_then(Meta::decode);
        Ok(meta.filter(|_| Header::decode(head).flags & META_PAGE != 0))
    };
    let first = read(0)?;
    let second = match &first {
        Some(first) => read(u64::from(first.page_size))?,
        // Without the first one the page size is not known.
        None => {
            let mut second = None;
            for bits in PAGE_SIZES.start().ilog2()..=PAGE_SIZES.end().ilog2() {
                let found = read(1 << bits)?.filter(|meta| meta.page_size == 1 << bits);
                second = second.or(found);
            }
            second
        }
    };
    let second = second.filter(|second| first.is_none_or(|first| first.page_size == second.page_size));
    first.into_iter().chain(second).max_by_key(|meta| meta.transaction).ok_or(ReadError::NotBolt)
}

fn inline_page(bytes: &[u8]) -> Result<Page, ReadError> {
    let head = bytes.first_chunk::<HEADER>().ok_or(Problem::Bucket.of(0))?;
    let page = Page::new(bytes.to_vec(), 0, Header::decode(head))?;
    if page.is_leaf { Ok(page) } else { Err(Problem::Kind.of(0)) }
}

/// The pages that were read in a pass.
struct Used(Vec<u64>);

impl Used {
    fn take(&mut self, from: u64, count: u64, pages: u64) -> Result<(), ReadError> {
        if from.checked_add(count).is_none_or(|end| end > pages) {
            return Err(Problem::Beyond.of(from));
        }
        for page in from..from + count {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            if self.0[word] & bit != 0 {
                return Err(Problem::Twice.of(page));
            }
            self.0[word] |= bit;
        }
        Ok(())
    }
}

/// The keys of a walk so far.
#[derive(Default)]
struct Rising {
    last: Vec<u8>,
    /// The last separator: what follows is not before it.
    floor: Vec<u8>,
}

impl Rising {
    fn pair(&mut self, key: &[u8]) -> Result<(), Problem> {
        if key <= &self.last[..] || key < &self.floor[..] {
            return Err(Problem::Order);
        }
        set(&mut self.last, key);
        Ok(())
    }

    fn separator(&mut self, key: &[u8]) -> Result<(), Problem> {
        if key <= &self.last[..] || key < &self.floor[..] {
            return Err(Problem::Order);
        }
        set(&mut self.floor, key);
        Ok(())
    }
}

fn set(key: &mut Vec<u8>, to: &[u8]) {
    key.clear();
    key.extend_from_slice(to);
}

/// An element of a leaf.
struct Pair<'a> {
    flags: u32,
    key: &'a [u8],
    value: &'a [u8],
}

/// A page whose elements lie in it, one behind the other.
struct Page {
    id: u64,
    is_leaf: bool,
    count: usize,
    bytes: Vec<u8>,
}

impl Page {
    fn new(bytes: Vec<u8>, id: u64, header: Header) -> Result<Page, ReadError> {
        let is_leaf = match header.flags {
            LEAF => true,
            BRANCH => false,
            _ => return Err(Problem::Kind.of(id)),
        };
        let page = Page { id, is_leaf, count: usize::from(header.count), bytes };
        page.check().map_err(|problem| problem.of(id))?;
        Ok(page)
    }

    fn check(&self) -> Result<(), Problem> {
        let mut free = HEADER + self.count * ELEMENT;
        if free > self.bytes.len() {
            return Err(Problem::Overrun);
        }
        if self.count == 0 && !self.is_leaf {
            return Err(Problem::Empty);
        }
        for at in 0..self.count {
            let (start, key, value) = self.place(at);
            let start = usize::try_from(start).map_err(|_| Problem::Overrun)?;
            let end = key.checked_add(value).and_then(|size| start.checked_add(size)).ok_or(Problem::Overrun)?;
            if key == 0 {
                return Err(Problem::EmptyKey);
            }
            if end > self.bytes.len() {
                return Err(Problem::Overrun);
            }
            if start < free {
                return Err(Problem::Overlap);
            }
            free = end;
        }
        Ok(())
    }

    /// Where an element's key begins, and the sizes of key and value.
    fn place(&self, at: usize) -> (u64, usize, usize) {
        let element = HEADER + at * ELEMENT;
        let number = |offset| u32_at(&self.bytes, element + offset);
        let (position, key, value) =
            if self.is_leaf { (number(4), number(8), number(12)) } else { (number(0), number(4), 0) };
        (element as u64 + u64::from(position), key as usize, value as usize)
    }

    fn pair(&self, at: usize) -> Pair<'_> {
        let (start, key, value) = self.place(at);
        let (key, value) = self.bytes[start as usize..][..key + value].split_at(key);
        Pair { flags: u32_at(&self.bytes, HEADER + at * ELEMENT), key, value }
    }

    fn child(&self, at: usize) -> (&[u8], u64) {
        let (start, key, _) = self.place(at);
        (&self.bytes[start as usize..][..key], u64_at(&self.bytes, HEADER + at * ELEMENT + 8))
    }
}
