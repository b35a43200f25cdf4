//! The secrets in force: those of the file, which is followed.

use super::handshake::{self, Speaks, Unproven};
use super::records::Proven;
use super::secret::{Secret, parse};
use conclave_tls::{Contents, Followed, Reload, Reloads, TlsError, follow};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The secrets of the cluster's members. Cheap to clone.
#[derive(Clone)]
pub struct PeerSecret(Arc<Inner>);

struct Inner {
    path: PathBuf,
    optional: bool,
    secrets: Followed<Vec<Arc<Secret>>>,
}

impl PeerSecret {
    /// Reads the file. `optional`: members that know no secret are accepted, and connected to, as
    /// well.
    ///
    /// # Errors
    /// It cannot be read, or has no secret.
    pub fn open(path: PathBuf, optional: bool) -> Result<PeerSecret, TlsError> {
        let made = |contents: &Contents| parse(contents.of(&path)).map_err(|why| TlsError::of(&path, why));
        let secrets = Followed::open(vec![path.clone()], made)?;
        Ok(PeerSecret(Arc::new(Inner { path, optional, secrets })))
    }

    pub(in super::super) fn is_optional(&self) -> bool {
        self.0.optional
    }

    pub(in super::super) async fn accept(&self, stream: TcpStream) -> io::Result<(Proven<TcpStream>, Speaks)> {
        handshake::accept(stream, &self.0.secrets.current()).await
    }

    pub(in super::super) async fn connect(
        &self,
        stream: TcpStream,
        speaks: Speaks,
    ) -> Result<Proven<TcpStream>, Unproven> {
        handshake::connect(stream, speaks, &self.0.secrets.current(), handshake::nonce()?).await
    }

    /// Follows the file, for ever.
    pub async fn follow(self) {
        follow(self, |it| it.0.secrets.changed(), PeerSecret::reload).await;
    }

    /// Takes the file as it is now, if it has changed and is valid. Connections by a secret that is
    /// not in it any more end.
    pub fn reload(&self) {
        let Inner { path, secrets, .. } = &*self.0;
        let before = secrets.current();
        let made = |contents: &Contents, before: &Vec<Arc<Secret>>| {
            let read = parse(contents.of(path)).map_err(|why| TlsError::of(path, why))?;
            let kept = |new: Arc<Secret>| before.iter().find(|old| old.is(&new)).cloned().unwrap_or(new);
            Ok(read.into_iter().map(kept).collect())
        };
        match secrets.reload(made) {
            Reload::Unchanged => {}
            Reload::Replaced(now) => {
                before.iter().filter(|old| !now.iter().any(|new| new.is(old))).for_each(|old| old.remove());
                tracing::info!(secrets = now.len(), "a changed --peer-secret-file is in force");
            }
            Reload::Rejected(error) => {
                tracing::error!(%error, "--peer-secret-file cannot be used; the secrets before stay in force");
            }
        }
    }

    pub fn figures(&self) -> Reloads {
        self.0.secrets.figures()
    }
}
