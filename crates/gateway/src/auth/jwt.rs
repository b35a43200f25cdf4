//! Signed tokens (JSON Web Tokens): those that members sign, and those of somebody else.
//!
//! 1. The algorithm comes from the key, never from the token: what a token says is compared with
//!    it.
//! 2. Keys are followed in their files. Files that cannot be used leave the keys before in force.
//! 3. Keys of members verify no token of an issuer, and the other way round: they are looked for
//!    claims of another kind.

use super::issuer::Issued;
use super::own::Own;
use conclave_node::config::JwtConfig;
use conclave_tls::{Contents, Followed, Reload, Reloads, TlsError};
use std::path::PathBuf;
use tonic::Status;

pub(super) struct Jwt {
    config: JwtConfig,
    keys: Followed<Keys>,
}

struct Keys {
    own: Option<Own>,
    issued: Option<Issued>,
}

/// Whom a good token names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// As of the auth revision at which it was made: any later change makes it old, and clients log
    /// in again.
    Own { user: String, revision: u64 },
    /// As a certificate does: as of now.
    Issued { user: String },
}

fn keys(config: &JwtConfig, contents: &Contents) -> Result<Keys, TlsError> {
    Ok(Keys {
        own: config.own.as_ref().map(|own| Own::new(own, contents)).transpose()?,
        issued: config.issuer.as_ref().map(|issuer| Issued::new(issuer, contents)).transpose()?,
    })
}

impl Jwt {
    /// Reads the keys.
    pub(super) fn open(config: &JwtConfig) -> Result<Jwt, TlsError> {
        let own = config.own.iter().flat_map(|own| own.pub_keys.iter().chain(&own.priv_keys));
        let paths: Vec<PathBuf> = own.chain(config.issuer.iter().map(|issuer| &issuer.jwks)).cloned().collect();
        let keys = Followed::open(paths, |contents| keys(config, contents))?;
        Ok(Jwt { config: config.clone(), keys })
    }

    pub(super) fn changed(&self) -> bool {
        self.keys.changed()
    }

    /// Takes the files as they are now, if they have changed and are valid.
    pub(super) fn reload(&self) {
        match self.keys.reload(|contents, _| keys(&self.config, contents)) {
            Reload::Unchanged => {}
            Reload::Replaced(_) => tracing::info!("changed keys for tokens (--auth-token) are in force"),
            Reload::Rejected(error) => {
                tracing::error!(%error, "the keys for tokens (--auth-token) cannot be used; those before stay in force");
            }
        }
    }

    pub(super) fn figures(&self) -> Reloads {
        self.keys.figures()
    }

    /// Whether this is to be a signed token. Beside an issuer's, logins may get letters.
    pub(super) fn may_be(&self, token: &str) -> bool {
        self.config.own.is_some() || token.split('.').count() == 3
    }

    /// `None`: members sign no tokens.
    pub(super) fn issue(&self, user: &str, revision: u64) -> Option<Result<String, Status>> {
        self.keys.current().own.as_ref().map(|own| own.issue(user, revision))
    }

    /// Whom a token names, if it is good.
    pub(super) fn user(&self, token: &str) -> Option<Verified> {
        let Keys { own, issued } = &*self.keys.current();
        let made_here = own.as_ref().and_then(|own| own.user(token));
        made_here
            .map(|(user, revision)| Verified::Own { user, revision })
            .or_else(|| Some(Verified::Issued { user: issued.as_ref()?.user(token)? }))
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
