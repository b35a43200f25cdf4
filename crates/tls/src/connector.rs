//! What a client of the cluster needs: files in, encrypted connections out.
//!
//! The files are looked at before each connection. So a certificate that was renewed is used by the
//! next connection, and files that cannot be used (half written, say) leave the last good ones in
//! force.

use crate::contents::Contents;
use crate::protocol::Protocol;
use crate::{KeyPair, TlsError, outbound, pem, system};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which files, and what is asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authorities that servers are judged by. None: those of the system.
    pub ca: Option<PathBuf>,
    /// What is shown to a server that asks for a certificate.
    pub own: Option<KeyPair>,
    /// Accepts any server.
    pub skip_verify: bool,
    /// The name that servers are to prove, if it is not that of the endpoint.
    pub server_name: Option<String>,
}

impl ClientFiles {
    /// The file of the authorities, if servers are judged.
    fn judged_by(&self) -> Result<Option<PathBuf>, TlsError> {
        if self.skip_verify {
            return Ok(None);
        }
        let found = self.ca.clone().or_else(system::bundle);
        let none = || TlsError {
            subject: "TLS".to_owned(),
            reason: "this system has no list of trusted authorities: name a file of them".to_owned(),
        };
        found.map(Some).ok_or_else(none)
    }

    fn build(&self, ca: Option<&PathBuf>, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let protocol = Protocol::default();
        let own = self.own.as_ref().map(|own| pem::own(own, contents)).transpose()?;
        let judge = |file: &PathBuf| {
            let roots = match self.ca {
                Some(_) => pem::roots(file, contents)?,
                // Of those of the system, some may be of a kind that is not known here.
                None => {
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add_parsable_certificates(pem::certificates(file, contents)?);
                    roots
                }
            };
            let verifier = outbound::verifier(roots, Vec::new(), &protocol.provider());
            verifier.map(|it| it as Arc<dyn ServerCertVerifier>).map_err(|reason| TlsError::of(file, reason))
        };
        let verifier = ca.map(judge).transpose()?;
        let config = outbound::config(&protocol, verifier, own);
        let mut config = config.map_err(|error| match &self.own {
            Some(own) => TlsError::of(&own.cert, format_args!("with the key {}: {error}", own.key.display())),
            None => TlsError { subject: "TLS".to_owned(), reason: error.to_string() },
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Makes encrypted connections.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    files: ClientFiles,
    name: Option<ServerName<'static>>,
    ca: Option<PathBuf>,
    current: Mutex<(Contents, Arc<ClientConfig>)>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.files.fmt(f)
    }
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn new(files: ClientFiles) -> Result<Connector, TlsError> {
        let ca = files.judged_by()?;
        let contents = Contents::read(paths(&files, ca.as_ref()))?;
        let config = Arc::new(files.build(ca.as_ref(), &contents)?);
        let name = files.server_name.as_deref().map(server_name).transpose();
        let name = name.map_err(|reason| TlsError { subject: "the server's name".to_owned(), reason })?;
        Ok(Connector(Arc::new(Inner { files, name, ca, current: Mutex::new((contents, config)) })))
    }

    /// The configuration for the next connection.
    fn config(&self) -> Arc<ClientConfig> {
        let inner = &self.0;
        let mut current = inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(contents) = Contents::read(paths(&inner.files, inner.ca.as_ref()))
            && contents != current.0
            && let Ok(config) = inner.files.build(inner.ca.as_ref(), &contents)
        {
            *current = (contents, Arc::new(config));
        }
        current.1.clone()
    }

    /// Encrypts a connection to `host`, which the server's certificate must name.
    ///
    /// # Errors
    /// The handshake failed. The caller bounds its time.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.0.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(io::Error::other)?,
        };
        let this = self.clone();
        // Reads files.
        let config = tokio::task::spawn_blocking(move || this.config()).await.map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn paths<'a>(files: &'a ClientFiles, ca: Option<&'a PathBuf>) -> impl Iterator<Item = &'a PathBuf> {
    ca.into_iter().chain(files.own.iter().flat_map(|own| [&own.cert, &own.key]))
}

/// A host as it stands in a URL: a name, an IPv4 address, or an IPv6 address in brackets or
/// without.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| format!("{host:?} is neither a host name nor an address"))
}
