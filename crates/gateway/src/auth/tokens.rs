//! Simple tokens: letters and the number of the log entry that made them.
//!
//! The entry holds the letters' SHA-256, and so does the memory of each member: neither a log nor a
//! dump shows a token. A token is good for a time after its last use at this member. A member that
//! restarted, or took a snapshot, knows none: clients log in again.

use conclave_state::AuthEvent;
use parking_lot::Mutex;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most tokens that are remembered. Beyond, the one that ends first goes.
const MOST: usize = 100_000;

/// Letters of a token.
const LETTERS: usize = 16;

pub(crate) type Fingerprint = [u8; 32];

pub(super) fn fingerprint(letters: &str) -> Fingerprint {
    Sha256::digest(letters.as_bytes()).into()
}

/// A token that is about to be made.
pub(crate) struct Fresh(String);

impl Fresh {
    pub(crate) fn draw() -> Fresh {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut random = rand::rng();
        let letters = (0..LETTERS).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
        Fresh(letters.collect())
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0)
    }

    /// The token that the client gets.
    pub(crate) fn at(&self, index: u64) -> String {
        format!("{}.{index}", self.0)
    }
}

/// The parts of a token.
pub(super) fn split(token: &str) -> Option<(&str, u64)> {
    let (letters, index) = token.split_once('.')?;
    Some((letters, index.parse().ok()?))
}

struct Known {
    user: Arc<str>,
    until: Instant,
}

pub(super) struct Tokens {
    known: Mutex<HashMap<Fingerprint, Known>>,
    ttl: Duration,
}

impl Tokens {
    pub(super) fn new(ttl: Duration) -> Tokens {
        Tokens { known: Mutex::default(), ttl }
    }

    /// The user of a token, whose time begins anew.
    pub(super) fn user(&self, token: &Fingerprint) -> Option<Arc<str>> {
        let now = Instant::now();
        let mut known = self.known.lock();
        let found = known.get_mut(token)?;
        if found.until <= now {
            known.remove(token);
            return None;
        }
        found.until = now + self.ttl;
        Some(found.user.clone())
    }

    pub(super) fn follow(&self, event: &AuthEvent) {
        let mut known = self.known.lock();
        match event {
            AuthEvent::SignedIn { user, token, .. } => {
                let now = Instant::now();
                if known.len() >= MOST {
                    known.retain(|_, known| known.until > now);
                }
                if known.len() >= MOST
                    && let Some(first) = known.iter().min_by_key(|(_, known)| known.until).map(|(token, _)| *token)
                {
                    known.remove(&first);
                }
                known.insert(*token, Known { user: user.as_str().into(), until: now + self.ttl });
            }
            AuthEvent::SignedOut { user } => known.retain(|_, known| *known.user != **user),
            AuthEvent::AllSignedOut => known.clear(),
            AuthEvent::Changed => {}
        }
    }

    pub(super) fn clear(&self) {
        self.known.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed_in(user: &str, fresh: &Fresh) -> AuthEvent {
        AuthEvent::SignedIn { user: user.into(), token: fresh.fingerprint(), index: 3 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_from_its_last_use() {
        let (tokens, fresh) = (Tokens::new(Duration::from_secs(10)), Fresh::draw());
        tokens.follow(&signed_in("al", &fresh));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(9)).await;
            assert_eq!(tokens.user(&fresh.fingerprint()).as_deref(), Some("al"));
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(tokens.user(&fresh.fingerprint()), None);
    }

    #[tokio::test]
    async fn the_tokens_of_one_user_end_alone() {
        let (tokens, one, other) = (Tokens::new(Duration::from_secs(10)), Fresh::draw(), Fresh::draw());
        tokens.follow(&signed_in("al", &one));
        tokens.follow(&signed_in("bo", &other));
        tokens.follow(&AuthEvent::SignedOut { user: "al".into() });
        assert_eq!(tokens.user(&one.fingerprint()), None);
        assert!(tokens.user(&other.fingerprint()).is_some());
        tokens.follow(&AuthEvent::AllSignedOut);
        assert_eq!(tokens.user(&other.fingerprint()), None);
    }

    #[test]
    fn a_token_has_etcds_form() {
        let token = Fresh::draw().at(41);
        let (letters, index) = split(&token).expect("two parts");
        assert!(letters.len() == LETTERS && letters.bytes().all(|b| b.is_ascii_alphabetic()) && index == 41);
        for other in ["", "abc", "abc.", ".x", "a.b.c", "a.-1"] {
            assert!(split(other).is_none(), "{other}");
        }
    }
}
