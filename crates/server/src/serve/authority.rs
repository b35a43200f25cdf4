//! Lets clients in whose `:authority` is a whole URL.
//!
//! etcd's Go client, up to 3.5, sends `http://host:port` there on connections it makes to one endpoint (`endpoint status`,
//! `endpoint hashkv` and others of etcdctl). It ought to be `host:port`, and the HTTP/2 library refuses such a request before any of
//! our code sees it. So the first frames of a connection are looked at here, and the prefix is cut off.
//!
//! ```text
//! socket ─► LenientAuthority ─► HTTP/2
//! ```
//!
//! A header block is a sequence of fields, each an index into a table or a literal, maybe Huffman coded (RFC 7541). A literal that
//! enters the table is changed before it does, so later fields that refer to it need no change.
//!
//! 1. A connection whose first header block has nothing to correct, or that is not HTTP/2, passes through untouched and unread from
//!    then on: the usual client pays for one frame.
//! 2. What cannot be understood is passed on as it is; the library decides.
//! 3. No frame is held back for longer than until it is complete.

use bytes::{Buf, BufMut, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// The most that a frame may hold unless more was agreed, which no server of ours does.
const MAX_FRAME: usize = 16_384;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
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
                if filter.out.is_empty() && filter.phase == Phase::Pass {
                    // Gives back what was held: there may be many connections.
                    *filter = Filter { phase: Phase::Pass, ..Filter::default() };
                }
                return Poll::Ready(Ok(()));
            }
            if filter.phase == Phase::Pass {
                return Pin::new(inner).poll_read(cx, buf);
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

    /// So that the HTTP/2 library gathers frames of up to a kilobyte into one write. With vectored writes it gives every frame
    /// over 256 bytes a system call of its own, which for a small event or value is most of its cost.
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
    /// A header block of this connection was corrected: there may be more.
    corrected: bool,
}

impl Filter {
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
        if self.held.len() < FRAME_HEAD {
            return false;
        }
        let size = usize::from(self.held[0]) << 16 | usize::from(self.held[1]) << 8 | usize::from(self.held[2]);
        let (kind, flags) = (self.held[3], self.held[4]);
        if kind != HEADERS {
            self.phase = Phase::Skip(FRAME_HEAD + size);
            return true;
        }
        if flags & END_HEADERS == 0 || size > MAX_FRAME {
            self.phase = Phase::Pass;
            return true;
        }
        if self.held.len() < FRAME_HEAD + size {
            return false;
        }
        let frame = self.held.split_to(FRAME_HEAD + size);
        match correct_frame(&frame) {
            Some(frame) => {
                self.corrected = true;
                self.out.put_slice(&frame);
            }
            None => {
                self.out.put_slice(&frame);
                self.phase = if self.corrected { Phase::Frame } else { Phase::Pass };
            }
        }
        true
    }

    fn pass_on(&mut self, n: usize) {
        let bytes = self.held.split_to(n);
        self.out.put_slice(&bytes);
    }
}

/// A whole HEADERS frame with its authority corrected; `None` if there is nothing to correct.
fn correct_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at(FRAME_HEAD);
    let flags = head[4];
    let padded = flags & PADDED != 0;
    let padding = if padded { usize::from(*payload.first()?) } else { 0 };
    let start = usize::from(padded) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let end = payload.len().checked_sub(padding).filter(|end| *end >= start)?;
    let block = correct_block(&payload[start..end])?;
    let size = u32::try_from(start + block.len() + padding).ok()?;
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
        if index == 0 {
            string(block, &mut at)?;
        }
        let start = at;
        let (huffman, value) = string(block, &mut at)?;
        if index == AUTHORITY {
            let value = without_scheme(huffman, value)?;
            let mut corrected = block[..start].to_vec();
            put_string(&mut corrected, huffman, &value);
            corrected.extend_from_slice(&block[at..]);
            return Some(corrected);
        }
    }
    None
}

const SCHEME: &[u8] = b"http://";
/// The same in Huffman's code: 41 bits, of which the last is 0 and alone in the sixth byte.
const SCHEME_HUFFMAN: [u8; 5] = [0x9d, 0x29, 0xae, 0xe3, 0x0c];
const SCHEME_HUFFMAN_BITS: usize = 41;

fn without_scheme(huffman: bool, value: &[u8]) -> Option<Vec<u8>> {
    if !huffman {
        return value.strip_prefix(SCHEME).map(<[u8]>::to_vec);
    }
    let rest = value.strip_prefix(&SCHEME_HUFFMAN).filter(|rest| rest.first().is_some_and(|byte| byte & 0x80 == 0))?;
    // One bit to the left; what comes in from the right is padding, which is ones. How much of the end is padding only the codes
    // tell: some characters end in ones as well.
    let bits = coded_bits(value)?.checked_sub(SCHEME_HUFFMAN_BITS)?;
    let next = rest[1..].iter().chain([&0xff]);
    let shifted = rest.iter().zip(next).map(|(byte, next)| byte << 1 | next >> 7);
    Some(shifted.take(bits.div_ceil(8)).collect())
}

/// How many bits of a Huffman coded text are characters; the rest is padding. `None` for what no authority holds.
///
/// The code is canonical, so a code's first bits tell its length.
fn coded_bits(text: &[u8]) -> Option<usize> {
    let total = text.len() * 8;
    let bit = |at: usize| text.get(at / 8).is_none_or(|byte| byte & (0x80 >> (at % 8)) != 0);
    let bits = |at: usize, n: usize| (at..at + n).fold(0, |value, at| value << 1 | u32::from(bit(at)));
    let mut at = 0;
    loop {
        let left = total - at;
        if left < 8 && bits(at, left) == (1 << left) - 1 {
            return Some(at);
        }
        at += match bits(at, 8) {
            first if first >> 3 <= 0b0_1001 => 5,
            first if first >> 2 <= 0b10_1101 => 6,
            first if first >> 1 <= 0b111_1011 => 7,
            first if first <= 0b1111_1101 => 8,
            // The brackets of an IPv6 address.
            _ if matches!(bits(at, 13), 0x1ffb | 0x1ffc) => 13,
            _ => return None,
        };
        if at > total {
            return None;
        }
    }
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
fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<(bool, &'a [u8])> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let value = block.get(*at..*at + length)?;
    *at += length;
    Some((huffman, value))
}

fn put_string(out: &mut Vec<u8>, huffman: bool, value: &[u8]) {
    let coding = if huffman { 0x80 } else { 0 };
    match value.len() {
        length @ ..0x7f => out.push(coding | u8::try_from(length).expect("below 127")),
        length => {
            out.push(coding | 0x7f);
            let mut rest = length - 0x7f;
            while rest >= 0x80 {
                out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
                rest >>= 7;
            }
            out.push(u8::try_from(rest).expect("seven bits"));
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
