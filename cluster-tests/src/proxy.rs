//! A wire between a client and a server that a test can cut or slow down: a TCP proxy on loopback.
//!
//! Cut means silent: connections stay open and nothing passes, as when a cable is pulled. Nobody is told.

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, Instant, sleep_until},
};

/// A proxy for one server; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    requests: watch::Sender<Wire>,
    answers: watch::Sender<Wire>,
    listener: JoinHandle<()>,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
struct Wire {
    whole: bool,
    /// How long everything takes that is sent from now on.
    lag: Duration,
}

const GOOD: Wire = Wire { whole: true, lag: Duration::ZERO };

impl Proxy {
    /// A proxy for the server at `endpoint`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(endpoint: &str) -> Result<Self> {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let ((requests, there), (answers, back)) = (watch::channel(GOOD), watch::channel(GOOD));
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(join(client, server.clone(), there.clone(), back.clone()));
            }
        });
        Ok(Self { address, requests, answers, listener })
    }

    /// Where the client is to connect.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// Cuts the wire.
    pub fn cut(&self) {
        self.requests.send_modify(|wire| wire.whole = false);
        self.cut_answers();
    }

    /// Cuts the way back: requests arrive, their answers do not.
    pub fn cut_answers(&self) {
        self.answers.send_modify(|wire| wire.whole = false);
    }

    /// Whatever is sent to the server from now on arrives so much later.
    pub fn delay_requests(&self, lag: Duration) {
        self.requests.send_modify(|wire| wire.lag = lag);
    }

    /// Mends it; what was sent meanwhile arrives now.
    pub fn mend(&self) {
        self.requests.send_replace(GOOD);
        self.answers.send_replace(GOOD);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn join(client: TcpStream, server: String, there: watch::Receiver<Wire>, back: watch::Receiver<Wire>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Small messages go at once, as they would without a proxy.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::join!(pass(client_in, server_out, there), pass(server_in, client_out, back));
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, wire: watch::Receiver<Wire>) {
    let (sent, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let lag = wire.clone();
    let read = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + lag.borrow().lag;
            if sent.send((due, buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        let mut state = wire;
        while let Some((due, bytes)) = arriving.recv().await {
            // The timer is coarse: what is not delayed does not ask it.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if state.wait_for(|wire| wire.whole).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
