//! One endpoint: a connection to it, and whether a member answers there.

use crate::{
    failure::{Effect, Failure},
    outside::{self, Seen},
    settings::Settings,
};
use conclave_client::{
    Channel,
    api::etcdserverpb::{StatusRequest, StatusResponse, maintenance_client::MaintenanceClient},
};
use std::fmt;
use tokio::time::timeout;
use tonic::{Response, Status};

/// A member that has answered.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its place among the endpoints.
    pub(crate) index: usize,
    /// As it was given.
    pub(crate) endpoint: String,
    pub(crate) channel: Channel,
    /// What it said of itself; `None` if it may not say.
    pub(crate) status: Option<StatusResponse>,
}

/// Connects to one endpoint and asks it about itself.
///
/// # Errors
/// It cannot be used.
pub(crate) async fn dial(endpoint: &str, index: usize, settings: &Settings) -> Result<Node, Unusable> {
    let bound = settings.dial_timeout;
    let connecting = async {
        let target = settings.dialer.endpoint(endpoint).map_err(|error| error.message().to_owned())?;
        let target = target
            .connect_timeout(bound)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(settings.keepalive_time)
            .keep_alive_timeout(settings.keepalive_timeout);
        let channel = settings.dialer.connect(&target).await.map_err(|error| unconnected(&error))?;
        // A login is decided by a majority of the members: without one this member answers other questions still.
        let said = match timeout(bound / 4 * 3, settings.login.ensure(channel.clone())).await {
            Ok(Ok(())) => None,
            Ok(Err(status)) => match Unusable::refusal(&status) {
                Some(refusal) => return Err(refusal),
                None => Some(status.message().to_owned()),
            },
            Err(_) => Some("no answer in time".to_owned()),
        };
        if let Some(said) = said {
            return Err(Unusable::NoLogin { said, seen: outside::look(&channel).await });
        }
        let status = match ask(channel.clone()).await {
            Ok(response) => Some(response.into_inner()),
            Err(status) => {
                judge(&status)?;
                None
            }
        };
        Ok(Node { index, endpoint: endpoint.to_owned(), channel, status })
    };
    timeout(bound, connecting).await.unwrap_or_else(|_| Err(format!("no answer within {bound:?}").into()))
}

/// Connects to one endpoint and looks at what its member says without a login.
///
/// # Errors
/// Why nothing is to be seen.
pub(crate) async fn look(endpoint: &str, settings: &Settings) -> Result<Seen, String> {
    let bound = settings.dial_timeout;
    let looking = async {
        let target = settings.dialer.endpoint(endpoint).map_err(|error| error.message().to_owned())?;
        let channel = settings.dialer.connect(&target.connect_timeout(bound).tcp_nodelay(true)).await;
        let seen = outside::look(&channel.map_err(|error| unconnected(&error))?).await;
        seen.ok_or_else(|| "no answer to what needs no login".to_owned())
    };
    timeout(bound, looking).await.unwrap_or_else(|_| Err(format!("no answer within {bound:?}")))
}

/// Why an endpoint cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It does not answer as a member does.
    Endpoint(String),
    /// It is a member, and the cluster decides no login.
    NoLogin {
        /// The answer to the login.
        said: String,
        /// What the member says without one.
        seen: Option<Seen>,
    },
    /// It is a member, and does not let the user in.
    Login(Failure),
}

impl Unusable {
    /// The user is not let in, whichever member is asked.
    fn refusal(status: &Status) -> Option<Self> {
        use tonic::Code;
        let refused = matches!(
            status.code(),
            Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated
        );
        refused.then(|| Self::Login(Failure::of(status, Effect::Reads)))
    }
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self::Endpoint(reason)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(reason) => f.write_str(reason),
            Self::NoLogin { said, seen: None } => write!(f, "it is there, but does not log anybody in ({said})"),
            Self::NoLogin { said, seen: Some(seen) } => {
                write!(f, "{}, but does not log anybody in ({said})", seen.words())
            }
            Self::Login(refusal) => f.write_str(refusal.message()),
        }
    }
}

/// Asks a member about itself.
pub(crate) async fn ask(channel: Channel) -> Result<Response<StatusResponse>, Status> {
    MaintenanceClient::new(channel).status(StatusRequest {}).await
}

/// Whether a failed question was at least answered by a member.
fn judge(status: &Status) -> Result<(), String> {
    use tonic::Code;
    match status.code() {
        // A member that refuses, or has other worries, is a member.
        Code::PermissionDenied | Code::Unauthenticated => Ok(()),
        // It wants to know who asks.
        Code::InvalidArgument if status.message().starts_with("etcdserver:") => Ok(()),
        Code::Unavailable if status.message().starts_with("etcdserver:") => Ok(()),
        Code::Unimplemented => Err("answers, but not as a member does for clients; is it the peer port?".into()),
        _ if refused(status) => Err(format!("TLS is refused: {}", innermost(status).unwrap_or_default())),
        _ if lost(status) => Err("the connection was closed while it was asked".into()),
        _ => {
            let innermost = innermost(status).unwrap_or_else(|| status.message().to_owned());
            Err(format!("something answers there, but not a member of a cluster ({innermost})"))
        }
    }
}

/// Whether the member ended the connection because of the certificate it was shown, or not shown:
/// with TLS 1.3 that comes after the handshake.
fn refused(status: &Status) -> bool {
    innermost(status).is_some_and(|text| text.contains("fatal alert"))
}

/// Whether the connection went away, as it does when a member dies.
fn lost(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Why there is no connection.
fn unconnected(error: &tonic::transport::Error) -> String {
    innermost(error).unwrap_or_else(|| error.to_string())
}

/// The words of the first cause.
fn innermost(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number tells nobody anything.
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string());
    Some(first.unwrap_or_default() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_wrong_password_is_a_refusal_and_no_unusable_endpoint() {
        let wrong = Status::invalid_argument("etcdserver: authentication failed, invalid user ID or password");
        let Some(Unusable::Login(refusal)) = Unusable::refusal(&wrong) else { panic!("{wrong}") };
        assert_eq!(refusal.exit, Exit::Failed);
        let words = refusal.to_string();
        assert!(words.contains("invalid user ID or password") && words.contains("--password"), "{words}");
        let gone = Status::unavailable("etcdserver: no leader");
        assert!(Unusable::refusal(&gone).is_none(), "another member may answer");
    }
}
