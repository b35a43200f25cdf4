//! Nothing acknowledged is missing: no key is older than the newest write of it that a client was told of.
//!
//! Coarser than `linearizable`, and independent of it: it believes only in final reads.

use crate::{
    client::text,
    history::{Call, History, Outcome},
};
use anyhow::{Result, bail, ensure};
use conclave_client::api::mvccpb::KeyValue;
use std::collections::BTreeMap;

/// Compares the newest acknowledged write of each key with what the store holds at the end.
///
/// # Errors
/// A write is missing or differs.
pub fn acknowledged(history: &History, keys: &[KeyValue]) -> Result<()> {
    let mut newest: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
    for operation in &history.0 {
        let (Call::Put { key, value } | Call::Swap { key, value, .. }) = &operation.call else { continue };
        let Outcome::Written { revision } = operation.outcome else { continue };
        let entry = newest.entry(key).or_insert((revision, value));
        if entry.0 < revision {
            *entry = (revision, value);
        }
    }
    let stored: BTreeMap<String, &KeyValue> = keys.iter().map(|kv| (text(&kv.key), kv)).collect();
    for (key, (revision, value)) in newest {
        let Some(kv) = stored.get(key) else { bail!("{key} is gone; {value} was acknowledged at revision {revision}") };
        ensure!(
            kv.mod_revision >= revision,
            "{key} is at revision {}; {value} was acknowledged at revision {revision}",
            kv.mod_revision
        );
        ensure!(
            kv.mod_revision > revision || text(&kv.value) == value,
            "{key} holds {} at revision {revision}, where {value} was acknowledged",
            text(&kv.value)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::bytes, history::Operation};
    use std::time::Duration;

    fn written(key: &str, value: &str, revision: i64) -> Operation {
        Operation {
            client: 0,
            call: Call::Put { key: key.into(), value: value.into() },
            outcome: Outcome::Written { revision },
            invoked: Duration::ZERO,
            returned: Duration::ZERO,
        }
    }

    fn stored(key: &str, value: &str, revision: i64) -> KeyValue {
        KeyValue { key: bytes(key), value: bytes(value), mod_revision: revision, ..Default::default() }
    }

    #[test]
    fn the_newest_write_counts() {
        let history = History(vec![written("a", "2", 3), written("a", "1", 2)]);
        acknowledged(&history, &[stored("a", "2", 3)]).expect("the newest is there");
        acknowledged(&history, &[stored("a", "unknown", 4)]).expect("a newer write of unknown outcome");
    }

    #[test]
    fn a_lost_or_changed_write_is_found() {
        let history = History(vec![written("a", "1", 2), written("a", "2", 3)]);
        acknowledged(&history, &[stored("a", "1", 2)]).expect_err("the second write is lost");
        acknowledged(&history, &[stored("a", "1", 3)]).expect_err("another value");
        acknowledged(&history, &[]).expect_err("the key is gone");
    }
}
