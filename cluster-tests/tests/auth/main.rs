//! Users and roles from outside: etcd's answers line by line, stock etcdctl and conclavectl, tokens
//! across members and failures.

mod observed;
mod programs;
mod signed;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

/// A request as JSON, with its status and its answer.
async fn post(endpoint: &str, path: &str, body: &str, token: Option<&str>) -> Result<(u16, Value)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--data-binary", body]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: {token}")]);
    }
    let output = command.arg(format!("{endpoint}{path}")).kill_on_drop(true).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let (answer, status) = text.rsplit_once('\n').context("an answer and a status")?;
    let answer = serde_json::from_str(answer.lines().next().unwrap_or_default());
    Ok((status.parse()?, answer.with_context(|| format!("{path}: {text}"))?))
}
