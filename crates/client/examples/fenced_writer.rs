//! A service whose own storage refuses late writers: the fence goes along with every write.
//!
//! A lock alone does not protect what lies outside of the cluster: its holder may be delayed, for
//! as long as it takes the cluster to give the lock to somebody else, and then go on writing. The
//! storage below remembers the greatest fence it has seen and refuses smaller ones.
//!
//! ```console
//! $ cargo run --example fenced_writer -- 127.0.0.1:2379
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use conclave_client::{Client, Error, Held, Locks, Session, locks::Want};
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Some storage of one's own: a disk, a printer, another database.
#[derive(Default)]
struct Storage(Mutex<(i64, BTreeMap<String, String>)>);

impl Storage {
    /// Writes, unless somebody with a greater fence was here before.
    fn write(&self, fence: i64, key: &str, value: &str) -> Result<(), String> {
        let mut storage = self.0.lock().expect("nobody panics while holding it");
        let (newest, values) = &mut *storage;
        if fence < *newest {
            return Err(format!("fence {fence} is older than {newest}"));
        }
        *newest = fence;
        values.insert(key.into(), value.into());
        Ok(())
    }

    fn read(&self, key: &str) -> Option<String> {
        self.0.lock().expect("nobody panics while holding it").1.get(key).cloned()
    }
}

/// Two writers, of which the first is overtaken without noticing. Returns what the storage said,
/// and what is in it.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn run(client: &Client) -> Result<Vec<String>, Error> {
    let (storage, locks) = (Storage::default(), Locks::new(client));
    let (first, second) =
        (Session::open(client, Duration::from_secs(10)).await?, Session::open(client, Duration::from_secs(10)).await?);
    let mut said = Vec::new();

    let early = locks.acquire(&first, Want::exclusive("ledger").owner("first")).await?;
    let fence = early.fence();
    said.push(format!("first: {:?}", storage.write(fence, "balance", "100")));

    // The first writer is paused here, and an operator takes the lock away meanwhile.
    locks.evict(fence, Duration::ZERO).await?;
    let mut late = locks.acquire(&second, Want::exclusive("ledger").owner("second")).await?;
    said.push(format!("second: {:?}", storage.write(late.fence(), "balance", "250")));

    // The first goes on with what it wanted to write before it looks up.
    let refused = storage.write(fence, "balance", "90").is_err();
    said.push(format!("first, late: refused {refused}, and its guard says {:?}", early.lost().await));
    said.push(format!("balance {}", storage.read("balance").unwrap_or_default()));
    late.unlock().await?;
    Ok(said)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests call `run` on their own cluster")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    for line in run(&Client::new(endpoints)?).await? {
        println!("{line}");
    }
    Ok(())
}
