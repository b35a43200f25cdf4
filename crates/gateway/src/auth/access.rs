//! Finds out who asks, and keeps what that takes.

use super::jwt::{Jwt, Verified};
use super::methods::{Need, need};
use super::password::{self, Hashing};
use super::scope::{Identity, WHO, Who};
use super::tokens::{Fresh, Tokens, fingerprint, split};
use crate::audit;
use crate::status::{limited, rejected, text};
use conclave_node::config::{AuthToken, Config};
use conclave_node::sink::ApplyObserver;
use conclave_state::auth::{Auth, AuthRefusal, Login};
use conclave_state::{Caller, Rejection};
use conclave_storage::{AppliedBatch, StateHandle};
use conclave_tls::{Reloads, follow};
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tonic::Status;

/// With this field the JSON gateway asks: a certificate of the connection is no user then.
pub(crate) const ON_BEHALF_OF_JSON: &str = "grpcgateway-accept";

/// How far behind the entry of its token a member may be for a call to wait for it.
const NEAR: u64 = 1_000_000;

#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    state: StateHandle,
    tokens: Tokens,
    jwt: Option<Jwt>,
    hashing: Hashing,
    /// Certificates are users.
    certificates: bool,
    patience: Duration,
    /// Counts changes of users, roles and tokens.
    changed: watch::Sender<u64>,
    /// The last entry whose tokens are known here. The state may be ahead of it.
    seen: AtomicU64,
    saw: Notify,
}

impl Access {
    /// # Errors
    /// The keys of signed tokens cannot be used.
    pub(crate) fn new(state: StateHandle, config: &Config) -> Result<Access, String> {
        let jwt = match &config.auth_token {
            AuthToken::Simple => None,
            AuthToken::Jwt(jwt) => Some(Jwt::open(jwt).map_err(|error| error.to_string())?),
        };
        Ok(Access(Arc::new(Inner {
            seen: AtomicU64::new(state.applied_index()),
            saw: Notify::new(),
            state,
            tokens: Tokens::new(config.auth_token_ttl),
            jwt,
            hashing: Hashing::new(config.bcrypt_cost),
            certificates: config.client_cert_auth,
            patience: config.request_timeout(),
            changed: watch::Sender::new(0),
        })))
    }

    /// Whether checks are on.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.state.checks_users()
    }

    /// The users and roles as of what is applied here.
    pub(crate) fn auth(&self) -> Arc<Auth> {
        self.0.state.auth()
    }

    /// Comes true after the next change of users, roles or tokens.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Runs a call of a method in the name of who makes it, if that may be.
    pub(crate) async fn run<T>(
        &self,
        path: &str,
        headers: &HeaderMap,
        certificate: Option<&str>,
        call: impl Future<Output = T>,
    ) -> Result<T, Status> {
        let need = need(path);
        // Who logs in again may still send the token that is good no more.
        if need == Need::Nothing {
            return Ok(call.await);
        }
        let identity = self.identity(headers, certificate).await?;
        let auth = self.auth();
        let who = match identity {
            None => None,
            Some(identity) => {
                let caller = self.caller(&identity, &auth)?;
                audit::identified(&caller).map_err(limited)?;
                Some(Who { identity: Arc::new(identity), caller })
            }
        };
        let caller = who.as_ref().map(|who| &who.caller);
        match need {
            Need::Nothing | Need::Inside => Ok(()),
            Need::Login => auth.check_login(caller),
            Need::Admin => auth.check_admin(caller),
        }
        .map_err(refused)?;
        Ok(match who {
            Some(who) => WHO.scope(who, call).await,
            None => call.await,
        })
    }

    /// Runs a call that needs a login in the name of a user whose password was checked.
    pub(crate) async fn run_as<T>(&self, login: Arc<Login>, call: impl Future<Output = T>) -> Result<T, Status> {
        let caller = Caller::User(login.clone());
        audit::identified(&caller).map_err(limited)?;
        self.auth().check_login(Some(&caller)).map_err(refused)?;
        let who = Who { identity: Arc::new(Identity::Known(login)), caller };
        Ok(WHO.scope(who, call).await)
    }

    /// `None`: the caller says nothing about itself.
    async fn identity(&self, headers: &HeaderMap, certificate: Option<&str>) -> Result<Option<Identity>, Status> {
        let Some(token) = headers.get("token").or_else(|| headers.get("authorization")) else {
            let name = certificate.filter(|_| self.0.certificates && !headers.contains_key(ON_BEHALF_OF_JSON));
            return Ok(name.map(|name| Identity::Certificate(name.to_owned())));
        };
        let token = token.to_str().map_err(|_| text::INVALID_AUTH_TOKEN)?;
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        if let Some(jwt) = self.0.jwt.as_ref().filter(|jwt| jwt.may_be(token)) {
            return Ok(Some(match jwt.user(token).ok_or(text::INVALID_AUTH_TOKEN)? {
                Verified::Own { user, revision } => Identity::Known(Arc::new(Login { user, revision })),
                Verified::Issued { user } => Identity::Issued(user),
            }));
        }
        let (letters, index) = split(token).ok_or(text::INVALID_AUTH_TOKEN)?;
        self.until_seen(index).await;
        Ok(Some(Identity::Token { fingerprint: fingerprint(letters) }))
    }

    /// A token that another member made may be ahead of what is applied here.
    async fn until_seen(&self, index: u64) {
        let seen = self.0.seen.load(Ordering::Acquire);
        if index <= seen || index - seen > NEAR {
            return;
        }
        let reached = async {
            loop {
                // Registered before the look, so that no wake-up is missed.
                let mut saw = std::pin::pin!(self.0.saw.notified());
                saw.as_mut().enable();
                if index <= self.0.seen.load(Ordering::Acquire) {
                    return;
                }
                saw.await;
            }
        };
        let _ = tokio::time::timeout(self.0.patience, reached).await;
    }

    fn has_seen(&self, index: u64) {
        self.0.seen.fetch_max(index, Ordering::AcqRel);
        self.0.saw.notify_waiters();
    }

    /// The caller that an identity is at present.
    pub(super) fn caller(&self, identity: &Identity, auth: &Auth) -> Result<Caller, Status> {
        Ok(Caller::User(match identity {
            Identity::Token { fingerprint } => {
                let user = self.0.tokens.user(fingerprint).ok_or(text::INVALID_AUTH_TOKEN)?;
                Arc::new(Login { user: user.to_string(), revision: auth.revision() })
            }
            Identity::Known(login) => login.clone(),
            Identity::Issued(name) | Identity::Certificate(name) => {
                Arc::new(Login { user: name.clone(), revision: auth.revision() })
            }
        }))
    }

    /// The hash of a new password, or the one that the client made.
    pub(crate) async fn hash(&self, password: String, hashed: &str) -> Result<String, Status> {
        if hashed.is_empty() { self.0.hashing.hash(password).await } else { password::given(hashed) }
    }

    /// The auth revision at which the password is that of the user.
    pub(crate) async fn check_password(&self, auth: &Auth, user: &str, password: String) -> Result<u64, Status> {
        let known = auth.user(user);
        if known.is_some_and(|known| known.no_password) {
            return Err(text::NO_PASSWORD.into());
        }
        let hash = known.map(|known| known.hash.clone());
        if self.0.hashing.is_right(password, hash).await? {
            return Ok(auth.revision());
        }
        Err(text::AUTH_FAILED.into())
    }

    /// A signed token, if tokens are signed here; else one is to be made by a command.
    pub(crate) fn signed(&self, user: &str, revision: u64) -> Option<Result<String, Status>> {
        self.0.jwt.as_ref()?.issue(user, revision)
    }

    /// Follows the files of keys, for ever.
    pub(crate) async fn follow_keys(self) {
        let reload = |access: &Access| access.0.jwt.iter().for_each(Jwt::reload);
        follow(self, |access| access.0.jwt.as_ref().is_some_and(Jwt::changed), reload).await;
    }

    /// What became of changed files of keys, if there are any.
    pub(crate) fn key_files(&self) -> Option<Reloads> {
        self.0.jwt.as_ref().map(Jwt::figures)
    }

    pub(crate) fn fresh() -> Fresh {
        Fresh::draw()
    }
}

#[cold]
pub(super) fn refused(refusal: AuthRefusal) -> Status {
    rejected(Rejection::Auth(refusal))
}

impl ApplyObserver for Access {
    fn applied(&self, batch: &mut AppliedBatch) {
        if !batch.changes.auth.is_empty() {
            for event in &batch.changes.auth {
                self.0.tokens.follow(event);
            }
            self.0.changed.send_modify(|count| *count += 1);
        }
        self.has_seen(batch.last.index);
    }

    fn reset(&self) {
        self.0.tokens.clear();
        self.0.changed.send_modify(|count| *count += 1);
        self.has_seen(self.0.state.applied_index());
    }
}
