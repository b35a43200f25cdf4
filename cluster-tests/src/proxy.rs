//! A wire between a client and a server that a test can cut: a TCP proxy on loopback.
//!
//! Cut means silent: connections stay open and nothing passes, as when a cable is pulled. Nobody is told.

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

/// A proxy for one server; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    whole: watch::Sender<bool>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for the server at `endpoint`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(endpoint: &str) -> Result<Self> {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let (whole, state) = watch::channel(true);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(join(client, server.clone(), state.clone()));
            }
        });
        Ok(Self { address, whole, listener })
    }

    /// Where the client is to connect.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// Cuts the wire.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Mends it; what was sent meanwhile arrives now.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn join(client: TcpStream, server: String, state: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Small messages go at once, as they would without a proxy.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::join!(pass(client_in, server_out, state.clone()), pass(server_in, client_out, state));
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if whole.wait_for(|whole| *whole).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
