//! The proof of both sides.

use super::records::Proven;
use super::secret::{MOST, Secret};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The first line of a connection: its protocol and version. Its first byte is neither that of TLS,
/// nor of HTTP/2, nor of the log.
const MAGIC: &[u8; 18] = b"~conclave proof 1\n";
const NONCE: usize = 32;
const PROOF: usize = 32;
/// Where a connection says what it is for.
#[cfg(test)]
pub(super) const PURPOSE_AT: usize = MAGIC.len();
/// Instead of which proof was right.
const NO: u8 = 0xff;
/// For the side that accepts.
const DEADLINE: Duration = Duration::from_secs(5);

pub(super) type Nonce = [u8; NONCE];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Speaks {
    /// The log's frames.
    Log,
    /// Calls over gRPC.
    Calls,
}

impl Speaks {
    fn byte(self) -> u8 {
        match self {
            Speaks::Log => 1,
            Speaks::Calls => 2,
        }
    }

    fn of(byte: u8) -> Option<Speaks> {
        [Speaks::Log, Speaks::Calls].into_iter().find(|known| known.byte() == byte)
    }
}

/// Why the side that connected has nothing that it could use.
#[derive(Debug)]
pub(in super::super) enum Unproven {
    /// The other side does not speak this protocol: it has no secret.
    Unknown,
    /// It refused, or could not prove that it knows a secret, or was not heard.
    Failed(io::Error),
}

impl From<io::Error> for Unproven {
    fn from(error: io::Error) -> Unproven {
        Unproven::Failed(error)
    }
}

/// Whether a connection that begins with this byte proves a secret.
pub(in super::super) fn begins_with(byte: u8) -> bool {
    MAGIC[0] == byte
}

pub(super) fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; NONCE];
    SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(nonce)
}

/// The keys of one connection by one secret.
struct Keys {
    connecting: Side,
    accepting: Side,
}

struct Side {
    proof: hmac::Key,
    records: hmac::Key,
}

impl Keys {
    fn new(secret: &Secret, purpose: u8, connecting: &Nonce, accepting: &Nonce) -> Keys {
        let connection = [&[purpose], &connecting[..], &accepting[..]].concat();
        let key = |name| secret.key(name, &connection);
        let side = |proof, records| Side { proof: key(proof), records: key(records) };
        Keys {
            connecting: side("connecting: proof", "connecting: records"),
            accepting: side("accepting: proof", "accepting: records"),
        }
    }
}

/// What is proved by: the rest is in the key.
const SAID: &[u8] = b"I know it";

fn prove(side: &Side) -> hmac::Tag {
    hmac::sign(&side.proof, SAID)
}

fn proves(side: &Side, proof: &[u8]) -> bool {
    hmac::verify(&side.proof, SAID, proof).is_ok()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Proves one of the secrets to the other side, and has it prove the same one. The caller has a
/// deadline.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    speaks: Speaks,
    secrets: &[Arc<Secret>],
    own: Nonce,
) -> Result<Proven<S>, Unproven> {
    let purpose = speaks.byte();
    stream.write_all(&[&MAGIC[..], &[purpose], &own].concat()).await?;
    let mut magic = [0; MAGIC.len()];
    match stream.read_exact(&mut magic).await {
        Ok(_) if magic == *MAGIC => {}
        // Who does not know the line says something else, or nothing.
        Ok(_) | Err(_) => return Err(Unproven::Unknown),
    }
    let mut other = [0; NONCE];
    stream.read_exact(&mut other).await?;
    let keys: Vec<Keys> = secrets.iter().map(|secret| Keys::new(secret, purpose, &own, &other)).collect();
    let mut proofs = vec![u8::try_from(keys.len()).map_err(io::Error::other)?];
    keys.iter().for_each(|keys| proofs.extend_from_slice(prove(&keys.connecting).as_ref()));
    stream.write_all(&proofs).await?;
    let which = stream.read_u8().await?;
    if which == NO {
        return Err(invalid("it does not accept the secret in --peer-secret-file").into());
    }
    let mut proof = [0; PROOF];
    stream.read_exact(&mut proof).await?;
    let known = keys.into_iter().zip(secrets).nth(usize::from(which));
    match known.filter(|(keys, _)| proves(&keys.accepting, &proof)) {
        Some((keys, secret)) => Ok(Proven::new(stream, secret, keys.connecting.records, keys.accepting.records)),
        None => Err(invalid("it does not know the secret in --peer-secret-file").into()),
    }
}

/// Has the other side prove a secret, and proves the same one. `InvalidData`: it could not.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    secrets: &[Arc<Secret>],
) -> io::Result<(Proven<S>, Speaks)> {
    let accepted = timeout(DEADLINE, accept_with(stream, secrets, nonce()?)).await;
    accepted.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no proof of the peer secret in 5 s"))?
}

pub(super) async fn accept_with<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    secrets: &[Arc<Secret>],
    own: Nonce,
) -> io::Result<(Proven<S>, Speaks)> {
    let mut hello = [0; MAGIC.len() + 1 + NONCE];
    stream.read_exact(&mut hello).await?;
    let (magic, rest) = hello.split_at(MAGIC.len());
    let speaks = Speaks::of(rest[0]).filter(|_| magic == MAGIC);
    let speaks = speaks.ok_or_else(|| invalid("it speaks another version of the protocol"))?;
    let mut other = [0; NONCE];
    other.copy_from_slice(&rest[1..]);
    stream.write_all(&[&MAGIC[..], &own].concat()).await?;
    let count = usize::from(stream.read_u8().await?);
    if !(1..=MOST).contains(&count) {
        return Err(invalid("it proves by no secret, or by too many"));
    }
    let mut proofs = vec![0; count * PROOF];
    stream.read_exact(&mut proofs).await?;
    for secret in secrets {
        let keys = Keys::new(secret, speaks.byte(), &other, &own);
        let Some(which) = proofs.chunks(PROOF).position(|proof| proves(&keys.connecting, proof)) else { continue };
        let which = u8::try_from(which).map_err(io::Error::other)?;
        stream.write_all(&[&[which], prove(&keys.accepting).as_ref()].concat()).await?;
        return Ok((Proven::new(stream, secret, keys.accepting.records, keys.connecting.records), speaks));
    }
    stream.write_all(&[NO]).await?;
    Err(invalid("it does not know the secret in --peer-secret-file"))
}
