//! A fuzz target of [`LenientAuthority`]: the first frames of a client's connection.

use super::authority::LenientAuthority;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Gives the bytes in pieces of this many.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let n = self.0.len().min(self.1).min(buf.remaining());
        buf.put_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        std::task::Poll::Ready(Ok(()))
    }
}

/// What HTTP/2 is given of these bytes.
fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut given = Vec::new();
    let mut stream = LenientAuthority::new(Pieces(bytes, piece));
    runtime.block_on(stream.read_to_end(&mut given)).unwrap();
    given
}

#[test]
fn fuzz_authority() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // :method POST, :scheme http, :path, and an :authority without and with its literal's name.
    let block: &[u8] = b"\x83\x86\x44\x02/x\x41\x0fhttp://host:123\x01\x0ahttp://h:1";
    let head = [0, 0, u8::try_from(block.len()).unwrap(), 1, 4, 0, 0, 0, 1];
    let request = [&preface[..], &settings, &head, block].concat();
    let seeds = [request, [&preface[..], &settings].concat(), b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    conclave_fuzz::target!("authority").seeds(seeds).run(|bytes| {
        let given = read(bytes, usize::MAX);
        assert_eq!(given, read(bytes, 1 + bytes.len() % 7), "pieces make no difference");
        if !bytes.starts_with(preface) {
            assert_eq!(given, bytes, "what is not HTTP/2 is as it was");
        }
        format!("{:?}", String::from_utf8_lossy(&given))
    });
}
