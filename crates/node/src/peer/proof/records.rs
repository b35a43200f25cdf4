//! The stream inside: records, each with its number and its mark.

use super::secret::Secret;
use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use ring::hmac;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::{poll_read_buf, poll_write_buf};
use tokio_util::sync::CancellationToken;

/// Bytes of a payload.
pub(super) const MOST: usize = 64 << 10;
/// Number and length.
const HEAD: usize = 12;
const MARK: usize = 32;

/// All of the record with such a payload.
#[cfg(test)]
pub(super) fn length_of(payload: usize) -> usize {
    HEAD + payload + MARK
}

/// A connection between sides that have proved a secret to each other.
pub(in super::super) struct Proven<S> {
    stream: S,
    reading: Reading,
    writing: Writing,
    /// The secret is accepted no more; the future wakes the reader.
    removed: CancellationToken,
    over: Fuse<BoxFuture<'static, ()>>,
}

impl<S> Proven<S> {
    pub(super) fn new(stream: S, secret: &Secret, own: hmac::Key, other: hmac::Key) -> Proven<S> {
        let removed = secret.removed().clone();
        Proven {
            stream,
            reading: Reading { key: other, next: 0, inbox: BytesMut::new(), payload: BytesMut::new() },
            writing: Writing { key: own, next: 0, outbox: BytesMut::new() },
            over: removed.clone().cancelled_owned().boxed().fuse(),
            removed,
        }
    }

    pub(in super::super) fn inner(&self) -> &S {
        &self.stream
    }

    fn stands(&self) -> io::Result<()> {
        match self.removed.is_cancelled() {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its peer secret is not accepted any more")),
            false => Ok(()),
        }
    }
}

struct Reading {
    key: hmac::Key,
    /// The number of the next record.
    next: u64,
    /// What has arrived and was not looked at.
    inbox: BytesMut,
    /// The rest of a record that counts.
    payload: BytesMut,
}

impl Reading {
    /// Takes the next record out of the inbox, if all of it is there.
    fn open(&mut self) -> io::Result<bool> {
        let Some(mut head) = self.inbox.get(..HEAD) else { return Ok(false) };
        let (number, length) = (head.get_u64(), head.get_u32() as usize);
        if number != self.next || !(1..=MOST).contains(&length) {
            return Err(broken());
        }
        let Some(record) = self.inbox.get(..HEAD + length + MARK) else { return Ok(false) };
        let (said, mark) = record.split_at(HEAD + length);
        hmac::verify(&self.key, said, mark).map_err(|_| broken())?;
        self.next += 1;
        self.payload = self.inbox.split_to(HEAD + length);
        self.payload.advance(HEAD);
        self.inbox.advance(MARK);
        Ok(true)
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.payload.len().min(buf.remaining());
        buf.put_slice(&self.payload.split_to(taken));
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record that was not sent so by a member with the peer secret")
}

struct Writing {
    key: hmac::Key,
    next: u64,
    outbox: BytesMut,
}

impl Writing {
    /// Appends a record with as much of this as one holds; how much.
    fn seal<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> usize {
        let length = parts.clone().map(<[u8]>::len).sum::<usize>().min(MOST);
        if length == 0 {
            return 0;
        }
        let start = self.outbox.len();
        self.outbox.reserve(HEAD + length + MARK);
        self.outbox.extend_from_slice(&self.next.to_be_bytes());
        self.outbox.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        let mut left = length;
        for part in parts {
            let taken = part.len().min(left);
            self.outbox.extend_from_slice(&part[..taken]);
            left -= taken;
        }
        let mark = hmac::sign(&self.key, &self.outbox[start..]);
        self.outbox.extend_from_slice(mark.as_ref());
        self.next += 1;
        length
    }

    fn drain<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbox.has_remaining() {
            if ready!(poll_write_buf(Pin::new(stream), cx, &mut self.outbox))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Proven<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _ = this.over.poll_unpin(cx);
        this.stands()?;
        let reading = &mut this.reading;
        while reading.payload.is_empty() && !reading.open()? {
            // Else it holds on to the memory that the inbox would use again.
            reading.payload = BytesMut::new();
            reading.inbox.reserve(HEAD + MOST + MARK);
            if ready!(poll_read_buf(Pin::new(&mut this.stream), cx, &mut reading.inbox))? == 0 {
                // Between records it ends as any connection may.
                let within = !reading.inbox.is_empty();
                return Poll::Ready(if within { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            }
        }
        reading.give(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Proven<S> {
    /// What is accepted is written before more than one record of it waits.
    fn write<'a>(
        &mut self,
        cx: &mut Context<'_>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        self.stands()?;
        if self.writing.outbox.len() >= MOST {
            ready!(self.writing.drain(&mut self.stream, cx))?;
        }
        Poll::Ready(Ok(self.writing.seal(parts)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Proven<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, [buf].into_iter())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, bufs.iter().map(|part| &part[..]))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stands()?;
        ready!(this.writing.drain(&mut this.stream, cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.writing.drain(&mut this.stream, cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
