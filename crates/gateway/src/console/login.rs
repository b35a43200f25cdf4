//! Who asks, by name and password.
//!
//! A browser sends both with every request, and a page asks again every two seconds. A password
//! that was right is remembered for a time, as a hash with a key of this process, so that bcrypt
//! does not run each time. It is forgotten at once when users or roles change.
//!
//! Nothing is written for that: a token, which other clients get, would be an entry in the log.

use crate::auth::Access;
use crate::status::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conclave_state::auth::Login;
use http::HeaderValue;
use parking_lot::Mutex;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};

/// How long a password is good without being checked again.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// The most that are remembered. Beyond, the one that ends first goes.
const MOST: usize = 256;

/// Bytes of a name that are remembered with it.
const LONGEST_NAME: usize = 1_024;

type Fingerprint = [u8; 32];

pub(super) struct Logins {
    key: [u8; 32],
    known: Mutex<HashMap<Fingerprint, Known>>,
}

struct Known {
    login: Arc<Login>,
    until: Instant,
}

impl Logins {
    pub(super) fn new() -> Logins {
        Logins { key: rand::rng().random(), known: Mutex::default() }
    }

    /// The user of an `Authorization` field, whose password is right.
    ///
    /// # Errors
    /// Unauthenticated, unless it could not be checked.
    pub(super) async fn login(&self, access: &Access, field: Option<&HeaderValue>) -> Result<Arc<Login>, Status> {
        let (user, password) = field.and_then(credentials).ok_or_else(refused)?;
        let auth = access.auth();
        let fingerprint = self.fingerprint(&user, &password);
        if let Some(login) = self.recall(&fingerprint, auth.revision()) {
            return Ok(login);
        }
        let checked = access.check_password(&auth, &user, password).await;
        let revision = checked.map_err(|status| match status.code() {
            Code::ResourceExhausted | Code::Internal | Code::Unavailable => status,
            _ => refused(),
        })?;
        let login = Arc::new(Login { user, revision });
        self.remember(fingerprint, login.clone());
        Ok(login)
    }

    fn fingerprint(&self, user: &str, password: &str) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(password);
        hash.finalize().into()
    }

    fn recall(&self, fingerprint: &Fingerprint, revision: u64) -> Option<Arc<Login>> {
        let mut known = self.known.lock();
        let found = known.get(fingerprint)?;
        if found.login.revision == revision && found.until > Instant::now() {
            return Some(found.login.clone());
        }
        known.remove(fingerprint);
        None
    }

    fn remember(&self, fingerprint: Fingerprint, login: Arc<Login>) {
        if login.user.len() > LONGEST_NAME {
            return;
        }
        let mut known = self.known.lock();
        if known.len() >= MOST
            && let Some(first) = known.iter().min_by_key(|(_, known)| known.until).map(|(of, _)| *of)
        {
            known.remove(&first);
        }
        known.insert(fingerprint, Known { login, until: Instant::now() + GOOD_FOR });
    }
}

fn refused() -> Status {
    Status::unauthenticated(text::AUTH_FAILED.message)
}

/// Name and password of the scheme Basic. A name has no colon in it.
fn credentials(field: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).expect("a value")
    }

    #[test]
    fn credentials_of_the_scheme_basic() {
        let good = field(&format!("bAsIc {}", STANDARD.encode("al:se:cret")));
        assert_eq!(credentials(&good), Some(("al".into(), "se:cret".into())));
        for bad in ["Basic", "Basic !", "Bearer YTpi", "Basic YWI=", "Basic /w=="] {
            assert_eq!(credentials(&field(bad)), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_is_forgotten_in_time_and_by_a_change_of_users() {
        let logins = Logins::new();
        let login = |revision| Arc::new(Login { user: "al".into(), revision });
        let right = logins.fingerprint("al", "secret");
        logins.remember(right, login(3));
        assert!(logins.recall(&right, 3).is_some());
        assert!(logins.recall(&logins.fingerprint("al", "Secret"), 3).is_none());
        assert!(logins.recall(&logins.fingerprint("als", "ecret"), 3).is_none());
        assert!(logins.recall(&right, 4).is_none());
        assert!(logins.recall(&right, 3).is_none(), "it is gone");
        logins.remember(right, login(4));
        tokio::time::advance(GOOD_FOR).await;
        assert!(logins.recall(&right, 4).is_none());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let logins = Logins::new();
        for n in 0..2 * MOST {
            let of = logins.fingerprint("al", &n.to_string());
            logins.remember(of, Arc::new(Login { user: "al".into(), revision: 1 }));
        }
        assert_eq!(logins.known.lock().len(), MOST);
    }
}
