//! The commands, a file each or a directory.

mod audit;
mod auth;
mod claim;
mod cluster;
mod del;
mod demo;
mod downgrade;
mod drain;
mod elect;
mod election;
mod follow;
mod get;
mod in_line;
mod known;
mod lease;
mod lock;
mod lock_admin;
mod lock_lines;
mod lock_modes;
mod lock_pages;
mod lock_wait;
mod make_mirror;
mod member;
mod members;
mod migrate;
mod names;
mod pages;
mod placement;
mod put;
mod replace;
mod session;
mod shell;
mod snapshot;
mod status;
mod txn;
mod watch;
mod watch_interactive;
pub(crate) mod wire;

use crate::{
    exit::Exit,
    failure::Result,
    link::Link,
    output::{Format, Output},
};
use clap::Subcommand;

pub(crate) use known::{Kind, known};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) link: Link,
    pub(crate) out: Output,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Put(put::PutArgs),
    Get(get::GetArgs),
    Del(del::DelArgs),
    Txn(txn::TxnArgs),
    Watch(watch::WatchArgs),
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    Compaction(cluster::CompactionArgs),

    Status(status::StatusArgs),
    Demo(demo::DemoArgs),
    Lock(lock::LockArgs),
    Elect(elect::ElectArgs),
    #[command(subcommand)]
    Election(election::ElectionCommand),
    #[command(subcommand)]
    Claim(claim::ClaimCommand),
    #[command(subcommand)]
    Session(session::SessionCommand),

    #[command(subcommand)]
    Member(member::MemberCommand),
    #[command(subcommand)]
    Endpoint(cluster::EndpointCommand),
    #[command(subcommand)]
    Alarm(cluster::AlarmCommand),
    #[command(subcommand)]
    Downgrade(downgrade::DowngradeCommand),
    MoveLeader(cluster::MoveLeaderArgs),
    #[command(subcommand)]
    Placement(placement::PlacementCommand),
    Drain(drain::DrainArgs),
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    #[command(subcommand)]
    User(auth::UserCommand),
    #[command(subcommand)]
    Role(auth::RoleCommand),
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    Audit(audit::AuditArgs),
    MakeMirror(make_mirror::MakeMirrorArgs),
    Migrate(migrate::MigrateArgs),

    Completion(shell::CompletionArgs),
    Man(shell::ManArgs),
    Version(shell::VersionArgs),
}

impl Command {
    /// What needs no cluster; `None` if it was something else. `line` is the command line as a
    /// whole.
    pub(crate) fn run_alone(
        &self,
        line: impl FnOnce() -> clap::Command,
        format: impl FnOnce() -> Result<Format>,
    ) -> Option<Result<Exit>> {
        match self {
            Self::Completion(args) => Some(args.run(line())),
            Self::Man(args) => Some(args.run(&line())),
            Self::Version(_) => Some(format().and_then(shell::version)),
            Self::Audit(args) => Some(format().and_then(|format| args.run(format))),
            Self::Snapshot(command) => command.run_alone(format),
            _ => None,
        }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let done = match self {
            Self::Watch(args) if args.interactive => return watch_interactive::run(context).await,
            Self::Watch(args) => return args.run(context).await,
            Self::Status(args) => return args.run(context).await,
            Self::Lock(args) => return args.run(context).await,
            Self::Election(command) => return command.run(context).await,
            Self::Claim(command) => return command.run(context).await,
            Self::Elect(args) => return args.run(context).await,
            Self::Snapshot(command) => return command.run(context).await,
            Self::Demo(args) => args.run(context).await,
            Self::Put(args) => args.run(context).await,
            Self::Get(args) => args.run(context).await,
            Self::Del(args) => args.run(context).await,
            Self::Txn(args) => args.run(context).await,
            Self::Lease(command) => command.run(context).await,
            Self::Compaction(args) => args.run(context).await,
            Self::Session(command) => command.run(context).await,
            Self::Member(command) => command.run(context).await,
            Self::Endpoint(command) => command.run(context).await,
            Self::Alarm(command) => command.run(context).await,
            Self::Downgrade(command) => command.run(context).await,
            Self::MoveLeader(args) => args.run(context).await,
            Self::Placement(command) => command.run(context).await,
            Self::Drain(args) => args.run(context).await,
            Self::Auth(command) => command.run(context).await,
            Self::User(command) => command.run(context).await,
            Self::Role(command) => command.run(context).await,
            Self::MakeMirror(args) => args.run(context).await,
            Self::Migrate(args) => args.run(context).await,
            // Run before there was a context.
            Self::Audit(_) | Self::Completion(_) | Self::Man(_) | Self::Version(_) => Ok(()),
        };
        done.map(|()| Exit::Done)
    }
}
