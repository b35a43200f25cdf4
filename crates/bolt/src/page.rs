//! The layout of pages.
//!
//! | Page | Contents |
//! |---|---|
//! | every | header: id (8 bytes), flags (2), count of elements (2), overflow (4) |
//! | meta | magic (4), version (4), page size (4), flags (4), root bucket (16), page of the free list (8), number of pages (8), transaction id (8), FNV-1a of all that (8) |
//! | leaf | elements: flags (4), position of the key relative to the element (4), sizes of key and value (4 each); then keys and values |
//! | branch | elements: position of the key (4), its size (4), page of the child (8); then keys |
//! | free list | ids of free pages (8 each); here always empty |
//!
//! The value of a bucket in the root bucket: its root page (8) and a sequence number (8). With a
//! root page of 0 the bucket is *inline*: its only page, a leaf, follows in the value.

/// What bbolt takes on most machines, and what this crate writes.
pub const PAGE_SIZE: usize = 4096;

pub(crate) const HEADER: usize = 16;
pub(crate) const ELEMENT: usize = 16;
/// Of a meta page, behind the header.
pub(crate) const META: usize = 64;
/// Of a bucket's value, before an inline page.
pub(crate) const BUCKET: usize = 16;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META_PAGE: u16 = 0x04;
pub(crate) const FREE_LIST: u16 = 0x10;

/// The flag of a leaf's element that is a bucket.
pub(crate) const IS_BUCKET: u32 = 1;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// The head of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// How many pages continue this one.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.flags.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Header {
        let count = u16::from_le_bytes([bytes[10], bytes[11]]);
        Header {
            id: u64_at(bytes, 0),
            flags: u16::from_le_bytes([bytes[8], bytes[9]]),
            count,
            overflow: u32_at(bytes, 12),
        }
    }
}

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) free_list: u64,
    /// How many pages there are.
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> [u8; META] {
        let mut bytes = [0; META];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.root.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.free_list.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.pages.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.transaction.to_le_bytes());
        let sum = fnv(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` if these bytes are no meta page, or a damaged one.
    pub(crate) fn decode(bytes: &[u8; META]) -> Option<Meta> {
        let sound = u32_at(bytes, 0) == MAGIC && u32_at(bytes, 4) == VERSION && u64_at(bytes, 56) == fnv(&bytes[..56]);
        sound.then(|| Meta {
            page_size: u32_at(bytes, 8),
            root: u64_at(bytes, 16),
            free_list: u64_at(bytes, 32),
            pages: u64_at(bytes, 40),
            transaction: u64_at(bytes, 48),
        })
    }
}

/// FNV-1a with 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The caller has checked that four bytes are there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of four bytes"))
}

/// The caller has checked that eight bytes are there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_meta_pages_read_back() {
        let header = Header { id: 7, flags: LEAF, count: 300, overflow: 70_000 };
        assert_eq!(Header::decode(&header.encode()), header);
        let meta = Meta { page_size: 4096, root: 9, free_list: 2, pages: 10, transaction: 1 };
        assert_eq!(Meta::decode(&meta.encode()), Some(meta));
        for at in 0..META {
            let mut bytes = meta.encode();
            bytes[at] ^= 1;
            assert_eq!(Meta::decode(&bytes), None, "byte {at}");
        }
    }
}
