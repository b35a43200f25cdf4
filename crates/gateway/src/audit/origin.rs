//! A call that is recorded: from where, whose, about what.

use super::log::Audit;
use super::record::{Record, Subject, short};
use crate::client::Client;
use crate::limits::{Budget, Exceeded};
use crate::status::is_denial;
use conclave_state::Caller;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tonic::Status;

tokio::task_local! {
    static ORIGIN: Arc<Origin>;
}

/// Methods that change something, or hand all data out, without a command of their own; logins too.
const RECORDED: [&str; 9] = [
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Snapshot",
];

pub(crate) struct Origin {
    audit: Audit,
    client: Arc<Client>,
    path: Box<str>,
    user: OnceLock<User>,
    about: Mutex<Subject>,
    /// A record was made of it.
    recorded: AtomicBool,
}

struct User {
    name: Arc<str>,
    /// `None`: users are not limited.
    budget: Option<Arc<Budget>>,
}

/// The call that runs here, if calls are recorded or limited.
pub(crate) fn origin() -> Option<Arc<Origin>> {
    ORIGIN.try_with(Clone::clone).ok()
}

/// The call that runs here is this user's, and one request of it.
pub(crate) fn identified(caller: &Caller) -> Result<(), Exceeded> {
    let Caller::User(login) = caller else { return Ok(()) };
    let identify = |origin: &Arc<Origin>| {
        let budget = origin.client.limits.user(&login.user);
        let user = origin.user.get_or_init(|| User { name: login.user.as_str().into(), budget });
        user.budget.as_ref().map_or(Ok(()), |budget| budget.request())
    };
    ORIGIN.try_with(identify).unwrap_or(Ok(()))
}

/// What the call that runs here is about, in case that it has no command.
pub(crate) fn about(subject: impl FnOnce() -> Subject) {
    let _ = ORIGIN.try_with(|origin| *origin.about.lock() = subject());
}

impl Origin {
    pub(crate) fn new(audit: &Audit, client: &Arc<Client>, path: &str) -> Arc<Origin> {
        Arc::new(Origin {
            audit: audit.clone(),
            client: client.clone(),
            path: path.into(),
            user: OnceLock::new(),
            about: Mutex::default(),
            recorded: AtomicBool::new(false),
        })
    }

    /// What the call may use of.
    pub(crate) fn budgets(&self) -> Vec<Arc<Budget>> {
        self.client.budget.iter().chain(self.user.get().and_then(|user| user.budget.as_ref())).cloned().collect()
    }

    /// The same work in another task.
    pub(crate) async fn scope<F: Future>(self: Arc<Origin>, work: F) -> F::Output {
        ORIGIN.scope(self, work).await
    }

    /// Runs a call, and records it if it was denied or is one of those that are always recorded.
    pub(crate) async fn run<F: Future>(
        self: Arc<Origin>,
        call: F,
        failure: impl FnOnce(&F::Output) -> Option<Status>,
    ) -> F::Output {
        let ending = Ending(Some(self.clone()));
        let answer = self.scope(call).await;
        ending.ended(failure(&answer));
        answer
    }

    /// Something was denied inside of a stream.
    #[cold]
    pub(crate) fn denied(&self, status: &Status, subject: Subject) {
        self.record(subject, Some(status), None);
    }

    fn ended(&self, status: Option<&Status>) {
        let denied = status.is_some_and(is_denial) && !self.recorded.load(Ordering::Acquire);
        if denied || RECORDED.contains(&&*self.path) {
            self.record(std::mem::take(&mut *self.about.lock()), status, None);
        }
    }

    pub(super) fn record(&self, subject: Subject, failure: Option<&Status>, revision: Option<i64>) {
        self.recorded.store(true, Ordering::Release);
        self.audit.push(|member| Record {
            user: self.user.get().map(|user| user.name.clone()),
            certificate: self.client.certificate.clone(),
            from: self.client.address.clone(),
            ..made(member, kind(&self.path), subject, failure, revision)
        });
    }
}

/// Without who it was.
pub(super) fn made(
    member: Arc<str>,
    kind: String,
    subject: Subject,
    failure: Option<&Status>,
    revision: Option<i64>,
) -> Record {
    Record {
        time: SystemTime::now(),
        member,
        user: None,
        certificate: None,
        from: None,
        kind,
        subject,
        code: failure.map_or_else(|| "OK".to_owned(), |status| format!("{:?}", status.code())),
        error: failure.map(|status| short(status.message())),
        denied: failure.is_some_and(is_denial),
        revision,
        missing: None,
    }
}

/// A call that is given up has an end too.
struct Ending(Option<Arc<Origin>>);

impl Ending {
    fn ended(mut self, status: Option<Status>) {
        if let Some(origin) = self.0.take() {
            origin.ended(status.as_ref());
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(origin) = self.0.take() {
            origin.ended(Some(&gone()));
        }
    }
}

pub(super) fn gone() -> Status {
    Status::cancelled("the client did not wait for the outcome")
}

/// `/etcdserverpb.KV/DeleteRange` → `kv.delete_range`; `/etcdserverpb.Lease/LeaseGrant` →
/// `lease.grant`.
fn kind(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (method, service) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let service = service.rsplit('.').next().unwrap_or_default();
    let is_word = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_uppercase());
    let method = method.strip_prefix(service).filter(is_word).unwrap_or(method);
    let mut kind = service.to_ascii_lowercase();
    for (i, c) in method.chars().enumerate() {
        if i == 0 || c.is_ascii_uppercase() {
            kind.push(if i == 0 { '.' } else { '_' });
        }
        kind.push(c.to_ascii_lowercase());
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_method_in_short() {
        for (path, expected) in [
            ("/etcdserverpb.KV/Put", "kv.put"),
            ("/etcdserverpb.KV/DeleteRange", "kv.delete_range"),
            ("/etcdserverpb.Lease/LeaseGrant", "lease.grant"),
            ("/etcdserverpb.Auth/AuthEnable", "auth.enable"),
            ("/etcdserverpb.Auth/UserAdd", "auth.user_add"),
            ("/etcdserverpb.Auth/Authenticate", "auth.authenticate"),
            ("/etcdserverpb.Cluster/MemberAdd", "cluster.member_add"),
            ("/v3lockpb.Lock/Lock", "lock.lock"),
            ("/conclave.v1.Elections/RequestTransfer", "elections.request_transfer"),
        ] {
            assert_eq!(kind(path), expected);
        }
        // Whatever a client sends.
        for odd in ["", "/", "x", "//", "/ü/Ü", "/a.b./"] {
            let _ = kind(odd);
        }
    }
}
