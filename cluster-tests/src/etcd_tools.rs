//! etcd 3.7 and its tools, where Go is installed.

use crate::report;
use anyhow::{Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where etcd 3.7 and its tools are; `None` without Go, which is reported.
///
/// # Errors
/// They cannot be built.
pub fn tools() -> Result<Option<PathBuf>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/etcd-tools");
    let built = Command::new(script).output()?;
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    match built.status.code() {
        Some(0) => Ok(Some(PathBuf::from(String::from_utf8(built.stdout)?.trim_end()))),
        Some(3) => {
            report(&format!("NOT TESTED: {said}"));
            Ok(None)
        }
        _ => Err(anyhow::anyhow!("scripts/etcd-tools: {said}")),
    }
}

/// What a tool printed.
///
/// # Errors
/// It fails.
pub fn run(tool: &Path, args: &[&str]) -> Result<String> {
    let ran = Command::new(tool).args(args).output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{} {args:?}: {said}", tool.display());
    Ok(String::from_utf8(ran.stdout)?.trim_end().to_owned())
}

/// Commands that give a server the users root (password `r`), al (`a`, with read and write below
/// `/a/`) and cert (without a password), and have it check them from now on.
pub const USERS: [&str; 9] = [
    "user add root:r",
    "user grant-role root root",
    "role add rw",
    "role grant-permission rw readwrite /a/ /a0",
    "role add empty",
    "user add al:a",
    "user grant-role al rw",
    "user add cert --no-password",
    "auth enable",
];

/// Runs [`USERS`].
///
/// # Errors
/// A command fails.
pub fn enable_users(tools: &Path, endpoints: &[String]) -> Result<()> {
    let endpoints = endpoints.join(",");
    for command in USERS {
        let command: Vec<&str> = command.split(' ').collect();
        run(&tools.join("etcdctl"), &[&["--endpoints", &endpoints], &command[..]].concat())?;
    }
    Ok(())
}

/// The users of [`enable_users`] are checked: passwords, roles and permissions.
///
/// # Errors
/// One may do more or less.
pub fn users_are_checked(tools: &Path, endpoint: &str) -> Result<()> {
    let ctl = |user: &str, command: &str| {
        let user = format!("--user={user}");
        let mut args = vec!["--endpoints", endpoint];
        args.extend((user != "--user=").then_some(&user[..]));
        args.extend(command.split(' '));
        run(&tools.join("etcdctl"), &args)
    };
    ctl("al:a", "put /a/1 x")?;
    ctl("root:r", "get /b")?;
    for (user, command, text) in [
        ("", "get /a/1", "user name is empty"),
        ("al:b", "get /a/1", "invalid user ID or password"),
        ("root:a", "get /a/1", "invalid user ID or password"),
        ("al:a", "get /b", "permission denied"),
        ("cert:x", "get /a/1", "no password user"),
    ] {
        let refused = ctl(user, command).map_or_else(|error| error.to_string(), |said| format!("accepted: {said}"));
        ensure!(refused.contains(text), "{user} {command}: {refused}");
    }
    let list = |command| ctl("root:r", command).map(|said| said.split('\n').map(str::to_owned).collect::<Vec<_>>());
    ensure!(list("user list")? == ["al", "cert", "root"] && list("role list")? == ["empty", "rw"]);
    Ok(())
}
