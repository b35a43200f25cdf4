//! Files of bbolt, the database in which etcd keeps its state and which its snapshots are.
//!
//! A file is a sequence of pages of one size. Pages 0 and 1 are *meta pages*, of which the one with
//! the higher transaction id counts; it names the page of the root bucket. A *bucket* is a B+ tree
//! of key-value pairs: leaf pages hold pairs, branch pages hold the first key and the page of each
//! child. The pairs of the root bucket are names of buckets and their root pages. A page that is
//! too small for its contents is continued in the pages behind it (`overflow`).
//!
//! [`Writer`] writes such a file from pairs in order, front to back and within bounded memory. The
//! meta pages come first and name what comes last, so the contents are written twice: once to
//! measure ([`Writer::measure`]), once for good.
//!
//! [`Reader`] reads such a file, which may come from anywhere: its work is bounded by the size of
//! the file and its memory by a constant and a bit for each page, whatever the file says.
//!
//! Numbers are little-endian. Neither side supports nested buckets, which etcd does not use.

#[cfg(test)]
mod fuzz;
mod page;
mod read;
mod source;
mod write;

pub use page::PAGE_SIZE;
pub use read::{Bucket, ReadError, Reader, Visit, VisitAll};
pub use source::Source;
pub use write::{Plan, WriteError, Writer};
