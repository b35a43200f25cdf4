//! HTTP/2 as no library would speak it: frames written by hand, and answers that nobody reads.

use anyhow::Result;
use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    next: u32,
    out: BytesMut,
}

impl Raw {
    /// A connection whose client could take any amount at once.
    pub(crate) async fn open(address: &str) -> Result<Raw> {
        let mut raw = Raw { socket: TcpStream::connect(address).await?, next: 1, out: BytesMut::new() };
        raw.out.put_slice(PREFACE);
        // INITIAL_WINDOW_SIZE, the greatest.
        raw.frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        raw.frame(WINDOW, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        Ok(raw)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.put_uint(payload.len() as u64, 3);
        self.out.put_slice(&[kind, flags]);
        self.out.put_u32(stream);
        self.out.put_slice(payload);
    }

    /// A stream with the head of a call.
    pub(crate) fn head(&mut self, path: &str) -> u32 {
        let stream = self.next;
        self.next += 2;
        // POST, http, the path, and the content type, none of them to be remembered.
        let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(&[0x0f, 0x10, 16]);
        block.extend_from_slice(b"application/grpc");
        self.frame(HEADERS, END_HEADERS, stream, &block);
        stream
    }

    /// A whole call.
    pub(crate) fn call(&mut self, path: &str, message: &[u8]) -> u32 {
        let stream = self.head(path);
        let mut body = vec![0];
        body.put_u32(message.len() as u32);
        body.extend_from_slice(message);
        self.frame(DATA, END_STREAM, stream, &body);
        stream
    }

    pub(crate) fn reset(&mut self, stream: u32) {
        self.frame(RESET, 0, stream, &8_u32.to_be_bytes());
    }

    /// An error that concerns the stream alone: a window that is opened by nothing.
    pub(crate) fn offend(&mut self, stream: u32) {
        self.frame(WINDOW, 0, stream, &[0; 4]);
    }

    pub(crate) async fn send(&mut self) -> Result<()> {
        Ok(self.socket.write_all_buf(&mut self.out).await?)
    }

    /// Reads and drops whatever comes, until so many streams have ended.
    pub(crate) async fn drain(&mut self, mut streams: usize) -> Result<()> {
        while streams > 0 {
            let mut head = [0; 9];
            self.socket.read_exact(&mut head).await?;
            let mut left = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let mut chunk = [0; 4096];
            while left > 0 {
                let most = left.min(chunk.len());
                left -= self.socket.read(&mut chunk[..most]).await?;
            }
            let ends = kind == RESET || (matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0);
            streams -= usize::from(ends);
        }
        Ok(())
    }
}

/// A `RangeRequest` as its bytes.
pub(crate) fn range(key: &str, end: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, key), (0x12, end)] {
        if !text.is_empty() {
            message.extend_from_slice(&[tag, text.len() as u8]);
            message.extend_from_slice(text.as_bytes());
        }
    }
    message
}
