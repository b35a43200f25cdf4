//! A client's connection whose bytes are counted, one addition for each read and write of the
//! socket. Writes are not vectored: the layer above gathers them ([`super::authority`]).

use crate::metrics::ClientBytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Metered<S> {
    stream: S,
    bytes: ClientBytes,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, bytes: ClientBytes) -> Metered<S> {
        Metered { stream, bytes }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.bytes.received.inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, data))?;
        this.bytes.sent.inc_by(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn both_ways_are_counted() {
        let (near, mut far) = tokio::io::duplex(64);
        let bytes = ClientBytes::default();
        let mut near = Metered::new(near, bytes.clone());
        near.write_all(b"four").await.expect("room");
        far.write_all(b"seven77").await.expect("room");
        let mut got = [0; 7];
        near.read_exact(&mut got).await.expect("sent");
        assert_eq!((&got, bytes.sent.get(), bytes.received.get()), (b"seven77", 4, 7));
    }
}
