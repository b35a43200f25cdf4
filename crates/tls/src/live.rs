//! Connections that stand on a certificate, and their end when it is not accepted any more.

use crate::identity::Identity;
use crate::set::Set;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// The connections of one port.
#[derive(Clone, Default)]
pub(crate) struct Live(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

/// What the other side showed, when, and as whom.
pub(crate) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    at: UnixTime,
    /// The name that a server had to prove; none for who connected to this side.
    server: Option<ServerName<'static>>,
}

impl Shown {
    /// `None`: the other side needed no certificate.
    pub(crate) fn of<S>(stream: &TlsStream<S>, server: Option<ServerName<'static>>) -> Option<Shown> {
        let chain = stream.get_ref().1.peer_certificates()?.to_vec();
        Some(Shown { chain, at: UnixTime::now(), server })
    }

    /// As of when it was shown: that time passed since is no revocation.
    fn stands(&self, set: &Set) -> bool {
        let Some((certificate, intermediates)) = self.chain.split_first() else { return false };
        match &self.server {
            None => set
                .clients
                .as_ref()
                .is_none_or(|clients| clients.verify_client_cert(certificate, intermediates, self.at).is_ok()),
            Some(name) => set.servers.as_ref().is_none_or(|servers| {
                servers.verify_server_cert(certificate, intermediates, name, &[], self.at).is_ok()
            }),
        }
    }
}

struct Connection {
    shown: Shown,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Connection {
    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }
}

impl Live {
    /// Judges all of them by the set; how many are cut.
    pub(crate) fn judge(&self, set: &Set) -> u64 {
        // Not under the lock: it takes a while, and connections come and go.
        let all: Vec<_> = self.0.lock().connections.values().cloned().collect();
        let fallen = all.iter().filter(|connection| !connection.shown.stands(set));
        fallen.map(|connection| connection.cut()).count() as u64
    }

    pub(crate) fn enter(&self, shown: Shown) -> Registration {
        let connection =
            Connection { shown, cut: AtomicBool::new(false), reader: AtomicWaker::new(), writer: AtomicWaker::new() };
        let connection = Arc::new(connection);
        let mut open = self.0.lock();
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, connection.clone());
        Registration { live: self.clone(), number, connection }
    }
}

/// A connection's entry, taken out when it is dropped.
pub(crate) struct Registration {
    live: Live,
    number: u64,
    connection: Arc<Connection>,
}

impl Registration {
    pub(crate) fn stands(&self, set: &Set) -> bool {
        self.connection.shown.stands(set)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.0.lock().connections.remove(&self.number);
    }
}

/// An encrypted connection. It fails with `ConnectionAborted` once the other side's certificate is
/// not accepted any more.
pub struct Secured<S = TcpStream> {
    stream: TlsStream<S>,
    registration: Option<Registration>,
}

impl Secured {
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }
}

impl<S> Secured<S> {
    pub(crate) fn new(stream: TlsStream<S>, registration: Option<Registration>) -> Secured<S> {
        Secured { stream, registration }
    }

    /// What was agreed to be spoken inside.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// Who the other side has proved to be; `None`: it needed no certificate.
    pub fn identity(&self) -> Option<Identity> {
        let certificates = self.stream.get_ref().1.peer_certificates()?;
        Identity::of(certificates.first()?).ok()
    }

    fn cut(&self, side: impl Fn(&Connection) -> &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        let Some(Registration { connection, .. }) = &self.registration else { return Ok(()) };
        // Registered before looking: a cut that comes meanwhile wakes.
        side(connection).register(cx.waker());
        match connection.cut.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its certificate is not accepted any more")),
            false => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut(|it| &it.reader, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cut(|it| &it.writer, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut(|it| &it.writer, cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut(|it| &it.writer, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
