//! Who a client is: user and password, and the token that stands for them.
//!
//! A token is asked for before the first call, and again when a member does not know it any more:
//! members forget tokens that nobody used for a time, when they restart, and when the password
//! changes.

use crate::{
    Error,
    api::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient},
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport,
};

/// A connection whose calls carry the client's token, if it has one.
pub type Channel = InterceptedService<transport::Channel, LoginToken>;

/// The token of a client: shared by its connections, empty until it logs in.
///
/// # Examples
/// ```
/// use conclave_client::LoginToken;
///
/// assert!(!LoginToken::default().is_set());
/// ```
#[derive(Clone, Default)]
pub struct LoginToken(Arc<RwLock<Option<MetadataValue<Ascii>>>>);

/// Never the token itself.
impl fmt::Debug for LoginToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginToken(set: {})", self.is_set())
    }
}

/// What it does is in the [example](LoginToken#examples).
impl LoginToken {
    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn set(&self, token: Option<MetadataValue<Ascii>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl Interceptor for LoginToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A user with its password.
///
/// # Examples
/// ```
/// use conclave_client::Credentials;
///
/// let credentials = Credentials::new("alice", "secret");
/// assert!(!format!("{credentials:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

/// As in the [example](Credentials#examples).
impl Credentials {
    /// A user with its password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

/// Never the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The credentials of a client and the token that they got.
#[derive(Clone, Debug, Default)]
pub struct Login {
    credentials: Option<Credentials>,
    token: LoginToken,
}

/// As [`Credentials`] in its example.
impl Login {
    /// With credentials that are used when a member first has to know who asks.
    #[must_use]
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, token: LoginToken::default() }
    }

    pub(crate) fn token(&self) -> &LoginToken {
        &self.token
    }

    /// Logs in at a member, if there are credentials and no token. A cluster without users needs
    /// none.
    ///
    /// # Errors
    /// The member refuses them, or does not answer.
    pub async fn ensure(&self, channel: Channel) -> Result<(), Status> {
        let Some(Credentials { user, password }) = &self.credentials else { return Ok(()) };
        if self.token.is_set() {
            return Ok(());
        }
        let request = AuthenticateRequest { name: user.clone(), password: password.clone() };
        match AuthClient::new(channel).authenticate(request).await {
            Ok(answer) => {
                let token = answer.into_inner().token.parse();
                self.token.set(Some(token.map_err(|_| Status::internal("the member's token is no text"))?));
                Ok(())
            }
            Err(status) if status.message() == NOT_ENABLED => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Forgets the token if the member does not take it any more. A next attempt gets another one.
    pub(crate) fn outdated(&self, error: &Error) -> bool {
        let outdated = self.credentials.is_some()
            && self.token.is_set()
            && (error.code() == Code::Unauthenticated || OUTDATED.contains(&error.message()));
        if outdated {
            self.token.set(None);
        }
        outdated
    }

    /// Whether a call without a token was refused that has credentials: users were switched on
    /// meanwhile.
    pub(crate) fn missing(&self, error: &Error) -> bool {
        self.credentials.is_some() && error.message() == NO_USER
    }
}

const NOT_ENABLED: &str = "etcdserver: authentication is not enabled";
const NO_USER: &str = "etcdserver: user name is empty";
const OUTDATED: [&str; 2] = ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"];
