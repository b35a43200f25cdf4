//! The keys below a prefix as a tree: what a `/` divides is a folder.
//!
//! Only the table of living keys is read, which has no values, and each folder costs one seek,
//! however many keys are in it.

use crate::keys;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

/// A key directly below a prefix, or all keys that go on alike up to a `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    Key(Bytes),
    /// The prefix of the keys in it, which ends with a `/`.
    Folder(Bytes),
}

/// The first `limit` children of a prefix, in the order of their bytes, behind the child `after`.
pub fn children<V: View>(view: &V, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Child>, Fault> {
    let Some((mut from, below)) = keys::range_rows(&keys::prefix_range(prefix)) else { return Ok(Vec::new()) };
    if let Some(after) = after.filter(|after| after.starts_with(prefix)) {
        match folder(prefix, after) {
            Some(folder) => match behind(folder) {
                Some(behind) => from = from.max(behind),
                None => return Ok(Vec::new()),
            },
            None => from = from.max(keys::past_key(keys::KeyRows::of(after).prefix())),
        }
    }
    let mut found = Vec::new();
    view.scan(Table::Live, &from, &below, &mut |row, _| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        let key = keys::user_key(row)?;
        let Some(folder) = folder(prefix, &key) else {
            found.push(Child::Key(key));
            return Ok(Step::Next);
        };
        let next = behind(folder).map_or(Step::Stop, Step::Seek);
        found.push(Child::Folder(Bytes::copy_from_slice(folder)));
        Ok(next)
    })?;
    Ok(found)
}

/// The folder that a key is in, if it is in one below the prefix.
fn folder<'a>(prefix: &[u8], key: &'a [u8]) -> Option<&'a [u8]> {
    let rest = key.get(prefix.len()..)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    key.get(..=prefix.len() + end)
}

/// The first row behind all keys of a folder.
fn behind(folder: &[u8]) -> Option<Vec<u8>> {
    keys::range_rows(&keys::prefix_range(folder)).map(|(_, below)| below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::TestStore;
    use crate::{Command, Put};

    fn all(prefix: &str, limit: usize) -> Vec<String> {
        let mut store = TestStore::new();
        for key in ["a", "a/", "a/b", "a/b/c", "a/b/d", "a/c", "a\0/x", "b//x", "b/x"] {
            store.apply(&Command::Put(Put { key: key.into(), ..Put::default() }));
        }
        let view = store.view;
        let (mut names, mut after): (Vec<String>, Option<Bytes>) = (Vec::new(), None);
        loop {
            let page = children(&view, prefix.as_bytes(), after.as_deref(), limit).unwrap();
            let last = page.last().cloned();
            names.extend(page.iter().map(|child| match child {
                Child::Key(key) => format!("key {}", String::from_utf8_lossy(key)),
                Child::Folder(folder) => format!("folder {}", String::from_utf8_lossy(folder)),
            }));
            match last {
                Some(Child::Key(last) | Child::Folder(last)) => after = Some(last),
                None => return names,
            }
        }
    }

    #[test]
    fn a_level_at_a_time_whatever_the_pages_are() {
        for limit in [1, 2, 3, 100] {
            assert_eq!(all("", limit), ["key a", "folder a\0/", "folder a/", "folder b/"]);
            assert_eq!(all("a/", limit), ["key a/", "key a/b", "folder a/b/", "key a/c"]);
            assert_eq!(all("b/", limit), ["folder b//", "key b/x"]);
            assert_eq!(all("a/b", limit), ["key a/b", "folder a/b/"]);
            assert!(all("c", limit).is_empty());
        }
    }
}
