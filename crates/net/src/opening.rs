//! Detects connections that never send their first bytes.
//!
//! HTTP/2 begins with a fixed preface, and the HTTP/2 library waits for it without a timeout.
//! [`Opening`] watches the bytes: a connection has sent its first bytes when the preface is
//! complete, or when the bytes are not a preface (another protocol, which has its own timeouts).

use super::admission::Spoken;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub struct Opening<S> {
    inner: S,
    /// Bytes of the preface so far, and the handle to mark when it is complete.
    waiting: Option<(usize, Spoken)>,
}

impl<S> Opening<S> {
    pub fn new(inner: S, spoken: Spoken) -> Opening<S> {
        Opening { inner, waiting: Some((0, spoken)) }
    }

    fn read(&mut self, bytes: &[u8]) {
        let Some((seen, spoken)) = &mut self.waiting else { return };
        let rest = &PREFACE[*seen..];
        let n = rest.len().min(bytes.len());
        *seen += n;
        if *seen == PREFACE.len() || bytes[..n] != rest[..n] {
            spoken.note();
            self.waiting = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
