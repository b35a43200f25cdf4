//! The TLS of one kind of port: accepts, connects, and follows its files.
//!
//! The files are compared by their contents every [`POLL`]: what replaces certificates swaps symbolic links, or whole volumes, which
//! notifications of the file system miss. A change counts once it has stood for [`SETTLE`], since a key is written after its certificate.

use crate::TlsError;
use crate::connector::server_name;
use crate::contents::Contents;
use crate::handshakes::Handshakes;
use crate::live::{Live, Secured, Shown};
use crate::set::{Expiry, Set, Settings, seconds_now};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

const POLL: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);

/// New files are in force, and connections that they end have ended, after this time. Twice what the polls add up to.
pub const RELOAD_WITHIN: Duration = Duration::from_secs(12);

/// Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// For logs.
    port: &'static str,
    settings: Settings,
    current: ArcSwap<Set>,
    /// What was read last, valid or not.
    seen: Mutex<Result<Contents, TlsError>>,
    live: Live,
    handshakes: Handshakes,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    reloads: AtomicU64,
    failures: AtomicU64,
    /// The files are not what is in force.
    rejected: AtomicBool,
    handshakes_failed: AtomicU64,
    cut: AtomicU64,
}

/// For metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub port: &'static str,
    pub reloads: u64,
    pub reload_failures: u64,
    /// Whether the files were found invalid when they were last read, so that an earlier set is in force.
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
        let contents = Contents::read(settings.paths())?;
        let set = Set::build(&settings, &contents)?;
        if let Some(expiry) = set.outdated(seconds_now()) {
            tracing::error!(port, file = expiry.file, not_after = expiry.not_after, "the certificate is not valid now");
        }
        let handshakes = Handshakes::new(&format!("tls-{port}"));
        let handshakes = handshakes
            .map_err(|error| TlsError { subject: "the thread for handshakes".to_owned(), reason: error.to_string() })?;
        Ok(Tls(Arc::new(Inner {
            port,
            settings,
            current: ArcSwap::from_pointee(set),
            seen: Mutex::new(Ok(contents)),
            live: Live::default(),
            handshakes,
            counts: Counts::default(),
        })))
    }

    /// Encrypts what somebody connected.
    ///
    /// # Errors
    /// The handshake failed, took too long, or made room for others.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Secured> {
        let inner = &self.0;
        let set = inner.current.load_full();
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
        let set = self.0.current.load_full();
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

    /// From here on the connection is judged with the others. The set may have been replaced during the handshake.
    fn secured(
        &self,
        stream: TlsStream<TcpStream>,
        server: Option<ServerName<'static>>,
        judged_by: Arc<Set>,
    ) -> io::Result<Secured> {
        let registration = Shown::of(&stream, server).map(|shown| self.0.live.enter(shown));
        let current = self.0.current.load_full();
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
        loop {
            tokio::time::sleep(POLL).await;
            let (look, tls) = (self.clone(), self.clone());
            // Reads files, and judges every connection by arithmetic.
            let changed = tokio::task::spawn_blocking(move || look.changed()).await;
            if matches!(changed, Ok(true)) {
                tokio::time::sleep(SETTLE).await;
                let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
            }
        }
    }

    fn changed(&self) -> bool {
        Contents::read(self.0.settings.paths()) != *self.0.seen.lock()
    }

    /// Takes the files as they are now, if they have changed and are valid.
    pub fn reload(&self) {
        let inner = &self.0;
        let contents = Contents::read(inner.settings.paths());
        let mut seen = inner.seen.lock();
        if *seen == contents {
            return;
        }
        seen.clone_from(&contents);
        match contents.and_then(|contents| self.replacement(&contents)) {
            Ok(set) => {
                let set = Arc::new(set);
                inner.current.store(set.clone());
                let cut = inner.live.judge(&set);
                inner.counts.cut.fetch_add(cut, Ordering::Relaxed);
                inner.counts.reloads.fetch_add(1, Ordering::Relaxed);
                inner.counts.rejected.store(false, Ordering::Relaxed);
                tracing::info!(port = inner.port, connections_ended = cut, "new TLS files are in force");
            }
            Err(error) => {
                inner.counts.failures.fetch_add(1, Ordering::Relaxed);
                inner.counts.rejected.store(true, Ordering::Relaxed);
                tracing::error!(port = inner.port, %error, "the TLS files cannot be used; those before stay in force");
            }
        }
    }

    /// A certificate outside of its time replaces none that is inside.
    fn replacement(&self, contents: &Contents) -> Result<Set, TlsError> {
        let set = Set::build(&self.0.settings, contents)?;
        let now = seconds_now();
        match (set.outdated(now), self.0.current.load().outdated(now)) {
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
        let Inner { port, counts, current, .. } = &*self.0;
        Figures {
            port,
            reloads: counts.reloads.load(Ordering::Relaxed),
            reload_failures: counts.failures.load(Ordering::Relaxed),
            rejected: counts.rejected.load(Ordering::Relaxed),
            handshakes_failed: counts.handshakes_failed.load(Ordering::Relaxed),
            cut: counts.cut.load(Ordering::Relaxed),
            expiries: current.load().expiries.clone(),
        }
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
