//! Passwords: bcrypt beside the event loop, as many at a time as there are processors, and a
//! bounded number waiting.
//!
//! A password lives for one call: it is in no log and in no entry.

use crate::status::{internal, text};
use conclave_node::read_slots::ReadSlots;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Status;

/// The most that wait. Each waits for those before it, at some 50 ms each.
const MOST_WAITING: usize = 256;

/// bcrypt looks at no more.
const LONGEST: usize = 72;

/// What an unknown user's password is compared with, so that the answer takes as long.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuGjyk0hGXFhh0OgC9nMBgqOQIvZqlvDK";

pub(super) struct Hashing {
    slots: ReadSlots,
    waiting: Arc<AtomicUsize>,
    cost: u32,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hashing {
    pub(super) fn new(cost: u32) -> Hashing {
        Hashing { slots: ReadSlots::of_processors(), waiting: Arc::default(), cost }
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(text::TOO_MANY_REQUESTS.into());
        }
        let _waiting = Waiting(self.waiting.clone());
        self.slots.read(work).await.map_err(internal)
    }

    pub(super) async fn hash(&self, password: String) -> Result<String, Status> {
        if password.is_empty() {
            return Err(text::PASSWORD_EMPTY.into());
        }
        if password.len() > LONGEST {
            return Err(text::PASSWORD_TOO_LONG.into());
        }
        let cost = self.cost;
        self.beside(move || bcrypt::hash(password, cost)).await?.map_err(internal)
    }

    /// Whether the password is the one of the hash; never for an unknown user.
    pub(super) async fn is_right(&self, password: String, hash: Option<String>) -> Result<bool, Status> {
        let fits = password.len() <= LONGEST && !password.is_empty();
        let known = hash.as_ref().is_some_and(|hash| !hash.is_empty());
        let hash = hash.filter(|hash| !hash.is_empty()).unwrap_or_else(|| NOBODY.to_owned());
        let right = self.beside(move || bcrypt::verify(password, &hash).unwrap_or(false)).await?;
        Ok(right && fits && known)
    }
}

/// A hash that a client made itself, in base64, as etcd's newer clients may.
pub(super) fn given(hash: &str) -> Result<String, Status> {
    let bytes = data_encoding(hash).ok_or(text::BAD_HASH)?;
    let hash = String::from_utf8(bytes).map_err(|_| text::BAD_HASH)?;
    let known = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|kind| hash.starts_with(kind));
    if known && hash.len() == 60 { Ok(hash) } else { Err(text::BAD_HASH.into()) }
}

fn data_encoding(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let hashing = Hashing::new(4);
        let hash = hashing.hash("secret".into()).await.expect("it can be hashed");
        assert!(hashing.is_right("secret".into(), Some(hash.clone())).await.expect("a verdict"));
        for (password, hash) in
            [("Secret", Some(hash.clone())), ("", Some(hash)), ("x", None), ("", Some(String::new()))]
        {
            assert!(!hashing.is_right(password.into(), hash).await.expect("a verdict"), "{password}");
        }
        assert!(hashing.hash(String::new()).await.is_err());
        // CVE-2020-15114 and its family: a length is bounded, and what is beyond is not cut off.
        assert!(hashing.hash("x".repeat(73)).await.is_err());
    }

    #[tokio::test]
    async fn etcds_hashes_are_known() {
        // Of Go's bcrypt, for "U*U".
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned();
        assert!(Hashing::new(4).is_right("U*U".into(), Some(hash)).await.expect("a verdict"));
        assert!(given("aGVsbG8=").is_err() && given("?").is_err());
    }
}
