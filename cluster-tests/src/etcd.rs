//! The server a client test runs against: Conclave, or Debian's etcd, started and broken in the
//! same way.
//!
//! A test of what both promise is written once and run on each: `on_both!` makes two tests of it.

use crate::cluster::Cluster;
use anyhow::{Result, ensure};
use conclave_client::Client;
use std::path::{Path, PathBuf};

/// Where Debian's etcd is.
const ETCD: &str = "/usr/bin/etcd";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Conclave,
    Etcd,
}

impl Server {
    /// Starts `size` members.
    ///
    /// # Errors
    /// One does not start; etcd is not installed.
    pub async fn start(self, size: usize) -> Result<Cluster> {
        match self {
            Self::Conclave => Cluster::start(size).await,
            Self::Etcd => {
                let etcd = Path::new(ETCD);
                ensure!(etcd.exists(), "etcd is missing: install the package etcd-server");
                let mut cluster = Cluster::plan(size, &[])?;
                for i in 0..size {
                    cluster.node(i).set_binary(PathBuf::from(etcd));
                }
                cluster.spawn_all()?;
                cluster.ready_all().await?;
                Ok(cluster)
            }
        }
    }
}

/// The application's client of all members.
///
/// # Errors
/// Never for these endpoints.
pub fn application(cluster: &Cluster) -> Result<Client> {
    Ok(Client::new(cluster.endpoints())?)
}

/// Makes a module for each server with one test for each of the named functions, which take a
/// [`Server`].
#[macro_export]
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod conclave {
            $(
                #[tokio::test]
                async fn $test() -> anyhow::Result<()> {
                    super::$test($crate::etcd::Server::Conclave).await
                }
            )+
        }

        mod etcd {
            $(
                #[tokio::test]
                async fn $test() -> anyhow::Result<()> {
                    super::$test($crate::etcd::Server::Etcd).await
                }
            )+
        }
    };
}
