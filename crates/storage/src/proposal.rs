//! The payload of a log entry: many commands of several members.
//!
//! Commands that one process proposes together form a *segment*. The leader joins segments, its own
//! and forwarded ones, into a *pack* without looking inside:
//!
//! ```text
//! pack  =  segment of member 1            segment of member 3
//!          origin seq count length  c c c  origin seq count length  c c
//! ```
//!
//! The head of a segment is `origin · sequence number · count · length` (8, 8, 4, 4 bytes, little
//! endian); the commands follow. The origin is a random number drawn at the start of a process. A
//! process finds its own segments by it when they are applied, and never mistakes those of an
//! earlier run for its own.

use crate::codec::{self, CodecError};
use crate::versions;
use bytes::{Bytes, BytesMut};
use conclave_state::{Command, shared};
use std::fmt;

const HEAD: usize = 24;

/// Joined segments, in the order in which they are applied. A clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pack(pub Bytes);

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pack of {} bytes", self.0.len())
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Pack {
    /// One segment is shared, several are copied.
    pub fn join(mut segments: Vec<Bytes>) -> Pack {
        if segments.len() == 1 {
            return Pack(segments.pop().unwrap_or_default());
        }
        let mut all = BytesMut::with_capacity(segments.iter().map(Bytes::len).sum());
        segments.iter().for_each(|s| all.extend_from_slice(s));
        Pack(all.freeze())
    }

    /// The segments in order. After an error the iterator ends.
    pub fn segments(&self) -> Segments {
        Segments { rest: self.0.clone() }
    }
}

/// The commands that one origin proposed together. Their keys and values share the bytes of the
/// pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub origin: u64,
    pub seq: u64,
    pub commands: Vec<Command>,
}

pub struct Segments {
    rest: Bytes,
}

impl Iterator for Segments {
    type Item = Result<Segment, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = take_segment(&self.rest);
        self.rest = match &taken {
            Ok((_, used)) => self.rest.slice(*used..),
            Err(_) => Bytes::new(),
        };
        Some(taken.map(|(segment, _)| segment))
    }
}

fn malformed(reason: impl Into<String>) -> CodecError {
    CodecError::Malformed { what: "segment", reason: reason.into() }
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    pub origin: u64,
    pub seq: u64,
    /// Number of commands.
    pub commands: usize,
    /// Bytes of the commands.
    length: usize,
}

fn take_head(bytes: &[u8]) -> Result<(SegmentHead, &[u8]), CodecError> {
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(|| malformed("the head is cut short"))?;
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i])) as usize;
    let head = SegmentHead { origin: long(0), seq: long(8), commands: short(16), length: short(20) };
    let body = rest.get(..head.length).ok_or_else(|| malformed("the body is cut short"))?;
    // A command takes at least one byte, so a count above the length is refused before memory is
    // reserved.
    if head.commands > head.length {
        return Err(malformed("more commands than bytes"));
    }
    Ok((head, body))
}

/// Decodes the commands of the segment at the front of `bytes` one after another; returns its head
/// and its size.
fn each_command(bytes: &Bytes, mut then: impl FnMut(Command)) -> Result<(SegmentHead, usize), CodecError> {
    let (head, mut body) = take_head(bytes)?;
    shared(bytes, || {
        for _ in 0..head.commands {
            let (command, used) = codec::decode_command(body)?;
            then(command);
            body = &body[used..];
        }
        Ok::<(), CodecError>(())
    })?;
    if !body.is_empty() {
        return Err(malformed(format!("{} bytes left over", body.len())));
    }
    Ok((head, HEAD + head.length))
}

fn take_segment(bytes: &Bytes) -> Result<(Segment, usize), CodecError> {
    let mut commands = Vec::with_capacity(take_head(bytes)?.0.commands.min(4096));
    let (head, used) = each_command(bytes, |command| commands.push(command))?;
    Ok((Segment { origin: head.origin, seq: head.seq, commands }, used))
}

/// The most commands in one pack. A decoded command takes a few hundred bytes, however short it is
/// in the log, and `apply` decodes a whole pack at once.
pub const MAX_COMMANDS: usize = 1 << 17;

/// The largest pack: a nearly full segment plus the largest request. An entry must stay below
/// [`codec::MAX_RECORD`].
pub const MAX_PACK: usize = 40 << 20;

/// The head of these bytes if they are exactly one valid segment. Forwarded segments are checked
/// before they enter the log: an entry that cannot be decoded would stop every member.
pub fn check_segment(bytes: &Bytes) -> Result<SegmentHead, CodecError> {
    match each_command(bytes, drop)? {
        (head, used) if used == bytes.len() => Ok(head),
        (_, used) => Err(malformed(format!("{} bytes left over", bytes.len() - used))),
    }
}

/// The number of commands in a pack, if all of it can be decoded and is within the limits. Entries
/// from another member are checked with this.
///
/// The decoded commands are dropped, and `apply` decodes the pack again. A check costs about a
/// tenth of a microsecond per command (benchmark `check_a_pack`), and an entry may wait too long
/// for its commit to keep its decoded form in memory.
pub fn check_pack(pack: &Bytes) -> Result<usize, CodecError> {
    if pack.len() > MAX_PACK {
        return Err(malformed(format!("a pack of {} bytes, {MAX_PACK} are allowed", pack.len())));
    }
    let (mut rest, mut commands) = (pack.clone(), 0);
    while !rest.is_empty() {
        commands += take_head(&rest)?.0.commands;
        if commands > MAX_COMMANDS {
            return Err(malformed(format!("a pack of more than {MAX_COMMANDS} commands")));
        }
        let (_, used) = each_command(&rest, drop)?;
        rest = rest.slice(used..);
    }
    Ok(commands)
}

/// Writes one segment.
#[derive(Debug)]
pub struct SegmentWriter {
    buffer: Vec<u8>,
    count: u32,
    /// The highest form of commands.
    form: u8,
}

impl Default for SegmentWriter {
    fn default() -> Self {
        SegmentWriter::of_form(versions::FORM_OF_FIRST)
    }
}

impl SegmentWriter {
    pub fn new() -> Self {
        SegmentWriter::default()
    }

    /// For commands in the forms up to this one ([`versions::command_form`]).
    pub fn of_form(form: u8) -> Self {
        SegmentWriter { buffer: vec![0; HEAD], count: 0, form }
    }

    /// Appends a command; returns its encoded size.
    pub fn push(&mut self, command: &Command) -> usize {
        self.count += 1;
        codec::encode_command_as(self.form, command, &mut self.buffer)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes so far, including the head.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    pub fn finish(mut self, origin: u64, seq: u64) -> Bytes {
        let length = u32::try_from(self.buffer.len() - HEAD).expect("the proposer's limit is far below 4 GiB");
        self.buffer[..8].copy_from_slice(&origin.to_le_bytes());
        self.buffer[8..16].copy_from_slice(&seq.to_le_bytes());
        self.buffer[16..20].copy_from_slice(&self.count.to_le_bytes());
        self.buffer[20..24].copy_from_slice(&length.to_le_bytes());
        Bytes::from(self.buffer)
    }
}
