//! TLS: certificates from files, kept up to date, for the ports of a member and for what connects
//! to them.
//!
//! ```text
//!   files ─► Contents ─► Set (server and client configuration, verifiers, expiry dates)
//!              ▲           │ replaces the set in force, if it is valid
//!     poll ────┘           ▼
//!                        Tls ── accept, connect ─► Secured (a stream that ends when its certificate is revoked)
//! ```
//!
//! 1. A set is validated as a whole before it replaces the one in force. An invalid one changes
//!    nothing, is logged once, and shows in [`Figures`].
//! 2. A peer that was let in by a certificate is judged again after each replacement: a connection
//!    whose certificate is not accepted any more ends. The passing of its expiry date alone ends no
//!    connection.
//! 3. Where certificates are demanded no session is resumed: a resumed session is not judged.
//! 4. A handshake has a deadline, the number of them is bounded, and their arithmetic runs on a
//!    thread of its own.
//!
//! A client needs [`Connector`] alone; the rest is the feature `member`.

mod connector;
mod contents;
mod error;
mod outbound;
mod pem;
mod protocol;
mod system;

pub use connector::{ClientFiles, Connector};
pub use error::TlsError;
pub use protocol::{Protocol, Version};
pub use tokio_rustls::client::TlsStream as ClientStream;

#[cfg(feature = "member")]
mod allowed;
#[cfg(feature = "member")]
mod auto;
#[cfg(feature = "member")]
mod followed;
#[cfg(feature = "member")]
mod handshakes;
#[cfg(feature = "member")]
mod identity;
#[cfg(feature = "member")]
mod live;
#[cfg(feature = "member")]
mod port;
#[cfg(feature = "member")]
mod set;
#[cfg(feature = "member")]
mod verify;

#[cfg(feature = "member")]
pub use {
    allowed::Allowed,
    auto::self_signed,
    contents::Contents,
    followed::{Followed, RELOAD_WITHIN, Reload, Reloads, follow},
    identity::Identity,
    live::Secured,
    port::{Figures, Tls},
    set::{Expiry, Settings},
};

/// The files of a certificate with its chain, and of its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pub cert: std::path::PathBuf,
    pub key: std::path::PathBuf,
}

#[cfg(all(test, feature = "member"))]
mod testing;
