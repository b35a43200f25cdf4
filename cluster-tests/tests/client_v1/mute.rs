//! A way to a member on which requests arrive and answers are lost.

use anyhow::Result;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) struct Mute {
    pub(crate) endpoint: String,
    mute: Arc<AtomicBool>,
    listener: JoinHandle<()>,
}

impl Mute {
    pub(crate) async fn start(server: &str) -> Result<Self> {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let mute = Arc::new(AtomicBool::new(false));
        let is_mute = Arc::clone(&mute);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(join(client, server.clone(), Arc::clone(&is_mute)));
            }
        });
        Ok(Self { endpoint, mute, listener })
    }

    /// From now on the first answer is swallowed, and its connection ends.
    pub(crate) fn mute(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn join(client: TcpStream, server: String, mute: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.into_split(), server.into_split());
    let there = tokio::spawn(async move { drop(copy(&mut client_in, &mut server_out).await) });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = server_in.read(&mut buffer).await {
        // Small packets are acknowledgements of the transport; an answer is longer.
        if mute.load(Ordering::SeqCst) && read > 60 {
            break;
        }
        if client_out.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    there.abort();
}
