//! The TLS of one kind of port: accepts, connects, and follows its files.

use crate::TlsError;
use crate::connector::server_name;
use crate::contents::Contents;
use crate::followed::{Followed, Reload, Reloads, follow};
use crate::handshakes::Handshakes;
use crate::live::{Live, Secured, Shown};
use crate::set::{Expiry, Set, Settings, seconds_now};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// For logs.
    port: &'static str,
    settings: Settings,
    files: Followed<Set>,
    live: Live,
    handshakes: Handshakes,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    handshakes_failed: AtomicU64,
    cut: AtomicU64,
}

/// For metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub port: &'static str,
    pub reloads: u64,
    pub reload_failures: u64,
    /// Whether the files were found invalid when they were last read, so that an earlier set is in
    /// force.
    pub rejected: bool,
    pub handshakes_failed: u64,
    /// Connections ended because their certificate was not accepted any more.
    pub cut: u64,
    pub expiries: Vec<Expiry>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or used, or there is no thread to be had.
    pub fn new(port: &'static str, settings: Settings) -> Result<Tls, TlsError> {
        settings.allowed.check().map_err(|reason| TlsError { subject: format!("names allowed for {port}"), reason })?;
        let files = Followed::open(settings.paths().cloned().collect(), |contents| Set::build(&settings, contents))?;
        if let Some(expiry) = files.current().outdated(seconds_now()) {
            tracing::error!(port, file = expiry.file, not_after = expiry.not_after, "the certificate is not valid now");
        }
        let handshakes = Handshakes::new(&format!("tls-{port}"));
        let handshakes = handshakes
            .map_err(|error| TlsError { subject: "the thread for handshakes".to_owned(), reason: error.to_string() })?;
        Ok(Tls(Arc::new(Inner { port, settings, files, live: Live::default(), handshakes, counts: Counts::default() })))
    }

    /// Encrypts what somebody connected.
    ///
    /// # Errors
    /// The handshake failed, took too long, or made room for others.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let inner = &self.0;
        let set = inner.files.current();
        let handshake = TlsAcceptor::from(set.server.clone()).accept(stream);
        let accepted = inner.handshakes.accept(async move { handshake.await.map(TlsStream::from) }).await;
        let stream = accepted.inspect_err(|_| {
            inner.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        })?;
        self.secured(stream, None, set)
    }

    /// Encrypts a connection to `host`, and speaks `alpn` inside.
    ///
    /// # Errors
    /// The handshake failed, or the other side does not speak that.
    pub async fn connect(&self, host: &str, alpn: &[u8], stream: TcpStream) -> io::Result<Secured> {
        let name = server_name(host).map_err(io::Error::other)?;
        let set = self.0.files.current();
        let mut config = set.client.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let handshake = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
        let connected = self.0.handshakes.connect(async move { handshake.await.map(TlsStream::from) }).await;
        let stream = self.secured(connected?, Some(name), set)?;
        if stream.alpn() != Some(alpn) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side speaks no protocol of ours"));
        }
        Ok(stream)
    }

    /// From here on the connection is judged with the others. The set may have been replaced during
    /// the handshake.
    fn secured<S>(
        &self,
        stream: TlsStream<S>,
        server: Option<ServerName<'static>>,
        judged_by: Arc<Set>,
    ) -> io::Result<Secured<S>> {
        let registration = Shown::of(&stream, server).map(|shown| self.0.live.enter(shown));
        let current = self.0.files.current();
        if let Some(entered) = &registration
            && !Arc::ptr_eq(&judged_by, &current)
            && !entered.stands(&current)
        {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its certificate is not accepted any more"));
        }
        Ok(Secured::new(stream, registration))
    }

    /// Follows the files, for ever.
    pub async fn follow(self) {
        // A reload judges every connection by arithmetic.
        follow(self, |tls| tls.0.files.changed(), Tls::reload).await;
    }

    /// Takes the files as they are now, if they have changed and are valid.
    pub fn reload(&self) {
        let inner = &self.0;
        match inner.files.reload(|contents, before| self.replacement(contents, before)) {
            Reload::Unchanged => {}
            Reload::Replaced(set) => {
                let cut = inner.live.judge(&set);
                inner.counts.cut.fetch_add(cut, Ordering::Relaxed);
                tracing::info!(port = inner.port, connections_ended = cut, "new TLS files are in force");
            }
            Reload::Rejected(error) => {
                tracing::error!(port = inner.port, %error, "the TLS files cannot be used; those before stay in force");
            }
        }
    }

    /// A certificate outside of its time replaces none that is inside.
    fn replacement(&self, contents: &Contents, before: &Set) -> Result<Set, TlsError> {
        let set = Set::build(&self.0.settings, contents)?;
        let now = seconds_now();
        match (set.outdated(now), before.outdated(now)) {
            (Some(expiry), None) => {
                let reason = if now < expiry.not_before { "it is not valid yet" } else { "it has expired" };
                let own = &self.0.settings.own;
                let pair =
                    if expiry.file == "cert" { own } else { self.0.settings.own_as_client.as_ref().unwrap_or(own) };
                Err(TlsError::of(&pair.cert, reason))
            }
            _ => Ok(set),
        }
    }

    pub fn figures(&self) -> Figures {
        let Inner { port, counts, files, .. } = &*self.0;
        let Reloads { reloads, failures, rejected } = files.figures();
        Figures {
            port,
            reloads,
            reload_failures: failures,
            rejected,
            handshakes_failed: counts.handshakes_failed.load(Ordering::Relaxed),
            cut: counts.cut.load(Ordering::Relaxed),
            expiries: files.current().expiries.clone(),
        }
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
