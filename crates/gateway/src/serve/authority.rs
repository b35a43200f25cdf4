//! Lets clients in whose `:authority` is not `host:port`.
//!
//! etcd ignores that value, so clients send many things in it: a URL (`http://host:port` from
//! etcdctl, `https://…`), a list of endpoints (`#initially=[…]` from the Go client 3.5.0), the path
//! of a Unix socket, nothing at all. The HTTP/2 library refuses such a request before our code sees
//! it. Nothing here uses the value either, so the first frames of a connection are read here, and a
//! value that the library would refuse is replaced by a host name.
//!
//! ```text
//! socket ─► LenientAuthority ─► HTTP/2
//! ```
//!
//! A header block is a sequence of fields, each an index into a table or a literal, maybe Huffman
//! coded (RFC 7541). A literal that enters the table is replaced before it does, so later fields
//! that refer to it need no change. The replacement is one character: an entry must not be larger
//! on this side than on the client's, or this side would evict others earlier. (Only in place of an
//! empty value it is larger, by one byte of 4,096.)
//!
//! 1. What is not HTTP/2 passes through untouched and unread.
//! 2. Of HTTP/2 the head of each frame is looked at, and of a request its fields up to the
//!    authority, where they were read. Bytes are copied only from a header block that is to be
//!    changed, or that is cut in two, to the end of what was read. So requests of many clients can
//!    share a connection, as behind a proxy.
//! 3. What cannot be understood is passed on as it is; the library decides.
//! 4. No frame is held back for longer than until it is complete.
//! 5. A header block in several frames is read as far as its first frame goes. The authority is one
//!    of its first fields.

use bytes::{Buf, BufMut, BytesMut};
use http::uri::Authority;
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// The most that a frame may hold unless more was agreed, which no server of ours does.
const MAX_FRAME: usize = 16_384;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const CHUNK: usize = 8 << 10;

#[derive(Debug)]
pub(super) struct LenientAuthority<S> {
    inner: S,
    filter: Filter,
}

impl<S> LenientAuthority<S> {
    pub(super) fn new(inner: S) -> Self {
        LenientAuthority { inner, filter: Filter::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (inner, filter) = (&mut this.inner, &mut this.filter);
        loop {
            if filter.out.has_remaining() {
                let n = filter.out.len().min(buf.remaining());
                buf.put_slice(&filter.out[..n]);
                filter.out.advance(n);
                if filter.out.is_empty() && filter.held.is_empty() {
                    // Gives back what was held: there may be many connections.
                    *filter = Filter { phase: filter.phase, ..Filter::default() };
                }
                return Poll::Ready(Ok(()));
            }
            if filter.phase == Phase::Pass {
                return Pin::new(inner).poll_read(cx, buf);
            }
            if filter.reads_in_place() {
                let start = buf.filled().len();
                ready!(Pin::new(&mut *inner).poll_read(cx, buf))?;
                let read = buf.filled().len() - start;
                let passed = filter.look(&buf.filled()[start..]);
                buf.set_filled(start + passed);
                if passed > 0 || read == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *inner).poll_read(cx, &mut chunk))?;
            filter.take(chunk.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    /// So that the HTTP/2 library gathers frames of up to a kilobyte into one write. With vectored
    /// writes it gives every frame over 256 bytes a system call of its own, which for a small event
    /// or value is most of its cost.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Preface,
    Frame,
    /// The rest of a frame that is of no interest.
    Skip(usize),
    Pass,
}

#[derive(Debug, Default)]
struct Filter {
    phase: Phase,
    /// Not understood yet.
    held: BytesMut,
    /// To be read by HTTP/2.
    out: BytesMut,
}

impl Filter {
    /// Whether nothing is held, and what is read next can be looked at where it is.
    fn reads_in_place(&self) -> bool {
        self.held.is_empty() && matches!(self.phase, Phase::Frame | Phase::Skip(_))
    }

    /// How many of these bytes need no change. The others are held, or already on their way out.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.phase {
                Phase::Skip(skip) => {
                    let n = skip.min(rest.len());
                    self.phase = if n == skip { Phase::Frame } else { Phase::Skip(skip - n) };
                    at += n;
                }
                _ => match Head::of(rest) {
                    Some(head) if head.is_unchanged(rest) => self.phase = Phase::Skip(head.size),
                    _ => {
                        self.take(rest);
                        return at;
                    }
                },
            }
        }
        at
    }

    /// Bytes from the socket; none of them is its end.
    fn take(&mut self, bytes: &[u8]) {
        self.held.put_slice(bytes);
        if bytes.is_empty() {
            self.phase = Phase::Pass;
        }
        while self.step() {}
    }

    /// Whether there may be more to do with what is held.
    fn step(&mut self) -> bool {
        match self.phase {
            Phase::Preface => {
                let n = self.held.len().min(PREFACE.len());
                if self.held[..n] != PREFACE[..n] {
                    self.phase = Phase::Pass;
                } else if n == PREFACE.len() {
                    self.pass_on(n);
                    self.phase = Phase::Frame;
                } else {
                    return false;
                }
                true
            }
            Phase::Frame => self.frame(),
            Phase::Skip(rest) => {
                let n = self.held.len().min(rest);
                self.pass_on(n);
                self.phase = if n == rest { Phase::Frame } else { Phase::Skip(rest - n) };
                n == rest
            }
            Phase::Pass => {
                self.pass_on(self.held.len());
                false
            }
        }
    }

    fn frame(&mut self) -> bool {
        let Some(head) = Head::of(&self.held) else { return false };
        if head.kind != HEADERS {
            self.phase = Phase::Skip(head.size);
            return true;
        }
        if head.size > FRAME_HEAD + MAX_FRAME {
            self.phase = Phase::Pass;
            return true;
        }
        if self.held.len() < head.size {
            return false;
        }
        let frame = self.held.split_to(head.size);
        let corrected = correct_frame(&frame);
        self.out.put_slice(corrected.as_deref().unwrap_or(&frame));
        true
    }

    fn pass_on(&mut self, n: usize) {
        let bytes = self.held.split_to(n);
        self.out.put_slice(&bytes);
    }
}

/// The head of a frame.
#[derive(Clone, Copy)]
struct Head {
    kind: u8,
    /// Of the frame, with its head.
    size: usize,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Head> {
        let &[a, b, c, kind, ..] = bytes.first_chunk::<FRAME_HEAD>()?;
        Some(Head { kind, size: FRAME_HEAD + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)) })
    }

    /// Whether the frame at the front of `bytes` can stay as it is, as far as they tell.
    fn is_unchanged(self, bytes: &[u8]) -> bool {
        self.kind != HEADERS
            || (self.size <= FRAME_HEAD + MAX_FRAME
                && bytes.get(..self.size).is_some_and(|frame| correct_frame(frame).is_none()))
    }
}

/// A whole HEADERS frame with another authority; `None` if it can stay as it is.
fn correct_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at(FRAME_HEAD);
    let flags = head[4];
    let padded = flags & PADDED != 0;
    let padding = if padded { usize::from(*payload.first()?) } else { 0 };
    let start = usize::from(padded) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let end = payload.len().checked_sub(padding).filter(|end| *end >= start)?;
    let block = correct_block(&payload[start..end])?;
    let size = u32::try_from(start + block.len() + padding).ok().filter(|size| *size as usize <= MAX_FRAME)?;
    let mut corrected = Vec::with_capacity(frame.len());
    corrected.extend_from_slice(&size.to_be_bytes()[1..]);
    corrected.extend_from_slice(&head[3..]);
    corrected.extend_from_slice(&payload[..start]);
    corrected.extend_from_slice(&block);
    corrected.extend_from_slice(&payload[end..]);
    Some(corrected)
}

/// `:authority` in the table that every connection begins with.
const AUTHORITY: usize = 1;
const AUTHORITY_NAME: &[u8] = b":authority";

/// What stands in for a value that the library would refuse.
const STAND_IN: &[u8] = b"x";

/// A header block, or its beginning, with another authority; `None` if it can stay as it is.
fn correct_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let index = match first {
            0x80.. => {
                integer(block, &mut at, 7)?;
                continue;
            }
            0x40.. => integer(block, &mut at, 6)?,
            0x20.. => {
                integer(block, &mut at, 5)?;
                continue;
            }
            _ => integer(block, &mut at, 4)?,
        };
        let is_authority = match index {
            0 => plain(string(block, &mut at)?).is_some_and(|name| *name == *AUTHORITY_NAME),
            index => index == AUTHORITY,
        };
        let start = at;
        let value = string(block, &mut at)?;
        if is_authority {
            if is_acceptable(value) {
                return None;
            }
            let mut corrected = block[..start].to_vec();
            corrected.push(u8::try_from(STAND_IN.len()).expect("it is one character"));
            corrected.extend_from_slice(STAND_IN);
            corrected.extend_from_slice(&block[at..]);
            return Some(corrected);
        }
    }
    None
}

/// Whether the library takes it for an authority.
fn is_acceptable(value: Literal<'_>) -> bool {
    plain(value).is_some_and(|value| Authority::try_from(&*value).is_ok())
}

/// The text of a literal. `None` if it has characters that no authority has, or is no text.
fn plain((huffman, bytes): Literal<'_>) -> Option<Cow<'_, [u8]>> {
    if huffman { decoded(bytes).map(Cow::Owned) } else { Some(Cow::Borrowed(bytes)) }
}

/// The characters with short codes, which are all that an authority may have: how long the codes
/// are, and whose they are, in order. The code is canonical: these two determine it.
const CODES: [(u32, &[u8]); 8] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
];

/// A Huffman coded text, if it has only characters with short codes.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let total = text.len() * 8;
    // Beyond the end there is padding, which is ones.
    let bit = |at: usize| text.get(at / 8).is_none_or(|byte| byte & (0x80 >> (at % 8)) != 0);
    let bits = |at: usize, n: u32| (at..at + n as usize).fold(0, |value, at| value << 1 | usize::from(bit(at)));
    let (mut at, mut found) = (0, Vec::with_capacity(text.len() * 8 / 5));
    while at < total {
        let left = u32::try_from(total - at).unwrap_or(u32::MAX);
        if left < 8 && bits(at, left) == (1 << left) - 1 {
            break;
        }
        let (length, character) = character(|n| bits(at, n))?;
        at += length as usize;
        found.push(character);
    }
    (at <= total).then_some(found)
}

/// The next character and the length of its code; `bits` gives the next ones as a number.
fn character(bits: impl Fn(u32) -> usize) -> Option<(u32, u8)> {
    let (mut first, mut before) = (0, 0);
    for (length, characters) in CODES {
        first <<= length - before;
        before = length;
        // No code is below the first of its length: that would be a shorter one.
        if let Some(character) = characters.get(bits(length) - first) {
            return Some((length, *character));
        }
        first += characters.len();
    }
    None
}

/// An integer whose first byte has `bits` bits for it.
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let max = (1 << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & max;
    *at += 1;
    if value < max {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether it is Huffman coded, and its bytes.
type Literal<'a> = (bool, &'a [u8]);

fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<Literal<'a>> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let value = block.get(*at..*at + length)?;
    *at += length;
    Some((huffman, value))
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
