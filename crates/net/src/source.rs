//! What connections come from, and what they are: sockets of the network, and of the file system.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A listener.
pub trait Source: Send + Sync + 'static {
    type Stream: Wire;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A connection, as it was accepted.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Has it send small packets at once, where that is a question.
    fn set_nodelay(&self, on: bool) -> io::Result<()>;

    /// Where it comes from. An error if that is no address, or not known any more.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

impl Source for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Wire for TcpStream {
    fn set_nodelay(&self, on: bool) -> io::Result<()> {
        TcpStream::set_nodelay(self, on)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::peer_addr(self)
    }
}

impl Wire for UnixStream {
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a socket of this machine"))
    }
}
