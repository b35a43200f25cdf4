//! A member's pages: `/status`, how far its state has come, and its digest; `/metrics`, `/version`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Long enough for any member that is not held still.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub applied_index: u64,
    pub revision: i64,
    pub digest: String,
    /// What it was right after round indexes.
    pub digests: BTreeMap<u64, String>,
}

/// Asks one member.
///
/// # Errors
/// It does not answer with that, or takes longer than `patience`.
pub fn standing(url: &str, patience: Duration) -> Result<Standing> {
    read(&serde_json::from_str(&page(url, "/status", patience)?)?)
}

/// The cluster's version of Conclave, as one member shows it.
///
/// # Errors
/// It does not answer with that, or takes longer than `patience`.
pub fn cluster_version(url: &str, patience: Duration) -> Result<String> {
    let version: Value = serde_json::from_str(&page(url, "/version", patience)?)?;
    Ok(version["conclavecluster"].as_str().with_context(|| format!("no version in {version}"))?.to_owned())
}

/// Whether the members have decided on a version. Until then `/version` shows the first one.
///
/// # Errors
/// It does not answer, or takes longer than `patience`.
pub fn version_is_decided(url: &str, patience: Duration) -> Result<bool> {
    let status: Value = serde_json::from_str(&page(url, "/status", patience)?)?;
    Ok(status["cluster_version"].is_string())
}

/// One number of a member's metrics.
///
/// # Errors
/// It does not answer with that, or takes longer than `patience`.
pub fn metric(url: &str, name: &str, patience: Duration) -> Result<f64> {
    let page = page(url, "/metrics", patience)?;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

fn read(status: &Value) -> Result<Standing> {
    let number = |name: &str| status[name].as_u64().with_context(|| format!("no {name} in {status}"));
    let pairs = status["digests"].as_array().into_iter().flatten();
    Ok(Standing {
        applied_index: number("applied_index")?,
        revision: number("revision")?.try_into()?,
        digest: status["digest"].as_str().context("no digest")?.to_owned(),
        digests: pairs.filter_map(|pair| Some((pair[0].as_u64()?, pair[1].as_str()?.to_owned()))).collect(),
    })
}

/// Gets a page, in the few words of HTTP that it takes.
fn page(url: &str, path: &str, patience: Duration) -> Result<String> {
    let address = url.strip_prefix("http://").context("an address without http")?;
    let address: SocketAddr = address.trim_end_matches('/').parse()?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_standing_is_read_from_the_page() {
        let page = json!({"applied_index": 70, "revision": 9, "digest": "0b", "digests": [[64, "0a"]]});
        let digests = BTreeMap::from([(64, "0a".to_owned())]);
        assert_eq!(read(&page).unwrap(), Standing { applied_index: 70, revision: 9, digest: "0b".into(), digests });
        assert!(read(&json!({"applied_index": 70})).is_err());
    }
}
