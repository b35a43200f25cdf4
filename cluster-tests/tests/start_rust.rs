//! docs/start/rust.md shows a program for the stock client that compiles and does what the page
//! says.

use anyhow::{Result, ensure};
use cluster_tests::{client::get, cluster::Cluster, wait::LONG, wait::within};

// A program of its own; only its `main` is not used here.
#[path = "../../docs/start/rust.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "it is a program, here part of a test")]
mod program;

const PAGE: &str = include_str!("../../docs/start/rust.md");
const PROGRAM: &str = include_str!("../../docs/start/rust.rs");

#[tokio::test]
async fn the_program_writes_while_it_leads_and_not_afterwards() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    within("the program", LONG, program::run(&cluster.endpoints())).await??;
    let written = get(&cluster.client(0)?, "start/rust-state").await?;
    ensure!(written.is_some_and(|kv| kv.value == "running"), "another value was written");
    Ok(())
}

#[test]
fn the_page_shows_the_program() {
    assert!(
        PAGE.contains(&format!("```rust\n{PROGRAM}```\n")),
        "docs/start/rust.md shows another program than rust.rs"
    );
}

#[test]
fn the_page_names_the_version_that_is_tested() {
    let lock = include_str!("../../Cargo.lock");
    let version = lock.split("name = \"etcd-client\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let version = version.expect("etcd-client is a dependency of the tests");
    assert!(PAGE.contains(&format!("cargo add etcd-client@{version} ")), "the tests use etcd-client {version}");
}
