//! A wire between a client and a server that a test can cut or slow down: a proxy of the trials'
//! loopback network.
//!
//! Cut means silent: connections stay open and nothing passes, as when a cable is pulled. Nobody is
//! told.

use anyhow::{Context, Result};
use conclave_trials::env::{HostNo, Proxies, Rule};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const CLIENT: HostNo = 0;
const SERVER: HostNo = 1;
const REQUESTS: (HostNo, HostNo) = (CLIENT, SERVER);
const ANSWERS: (HostNo, HostNo) = (SERVER, CLIENT);

/// A proxy for one server; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    proxies: Proxies,
    wire: Mutex<Wire>,
}

/// What is wrong with the wire.
#[derive(Debug, Default)]
struct Wire {
    rules: BTreeMap<(HostNo, HostNo), Rule>,
    layer: Option<u64>,
}

impl Proxy {
    /// A proxy for the server at `endpoint`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(endpoint: &str) -> Result<Self> {
        let (_, port) = endpoint.trim_end_matches('/').rsplit_once(':').context("an endpoint without port")?;
        let proxies = Proxies::new(0);
        let port = proxies.open(SERVER, port.parse()?, |_| Some(CLIENT))?;
        Ok(Self { port, proxies, wire: Mutex::default() })
    }

    /// Where the client is to connect.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts the wire.
    pub fn cut(&self) {
        self.change(|rules| rules.extend([(REQUESTS, Rule::cut()), (ANSWERS, Rule::cut())]));
    }

    /// Cuts the way back: requests arrive, their answers do not.
    pub fn cut_answers(&self) {
        self.change(|rules| {
            rules.insert(ANSWERS, Rule::cut());
        });
    }

    /// All that is sent to the server from now on arrives so much later.
    pub fn delay_requests(&self, lag: Duration) {
        let late = Rule { delay: lag.as_nanos() as u64, ..Rule::default() };
        self.change(|rules| {
            rules.insert(REQUESTS, late);
        });
    }

    /// Mends it; what was sent meanwhile arrives now.
    pub fn mend(&self) {
        self.change(BTreeMap::clear);
    }

    /// The new rules hold before the old ones go.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<(HostNo, HostNo), Rule>)) {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wire.rules);
        let layer = self.proxies.add(wire.rules.clone());
        if let Some(old) = wire.layer.replace(layer) {
            self.proxies.remove(old);
        }
    }
}
