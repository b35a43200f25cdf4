use super::handshake::{Nonce, Speaks, Unproven, accept, accept_with, connect, nonce};
use super::in_force::PeerSecret;
use super::records::{MOST, Proven};
use super::secret::{Secret, parse};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};

const ONE: &str = "one-secret-that-is-long-enough-for-all-of-this";
const OTHER: &str = "another-secret-that-is-long-enough-for-all-of-it";

fn secrets(lines: &[&str]) -> Vec<Arc<Secret>> {
    parse(lines.join("\n").as_bytes()).unwrap()
}

type Connected = Result<Proven<DuplexStream>, Unproven>;
type Accepted = io::Result<(Proven<DuplexStream>, Speaks)>;

/// Both sides, with what each has in its file.
async fn meet(connecting: &[&str], accepting: &[&str]) -> (Connected, Accepted) {
    let (near, far) = duplex(1 << 20);
    let (ours, theirs) = (secrets(connecting), secrets(accepting));
    tokio::join!(connect(near, Speaks::Log, &ours, nonce().unwrap()), accept(far, &theirs))
}

#[test]
fn a_file_has_long_secrets_one_a_line() {
    let two = format!("# the next one\n{ONE}\n\n  {OTHER}  \r\n{ONE}\n");
    assert_eq!(parse(two.as_bytes()).unwrap().len(), 2);
    let many: String = (0..5).map(|n| format!("{n}{ONE}\n")).collect();
    for (wrong, why) in
        [("", "no secret"), ("# only\n", "no secret"), ("\nshort", "line 2 has 5"), (&many, "5 secrets")]
    {
        assert!(parse(wrong.as_bytes()).err().unwrap().contains(why), "{wrong:?}");
    }
    assert!(parse(&[0xff; 40]).is_err());
}

#[tokio::test]
async fn what_both_write_arrives_at_the_other() {
    let (near, far) = meet(&[ONE], &[ONE]).await;
    let (far, speaks) = far.unwrap();
    assert_eq!(speaks, Speaks::Log);
    let long: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let both = |stream: Proven<DuplexStream>, long: Vec<u8>| async move {
        let (mut reader, mut writer) = split(stream);
        let write = async {
            writer.write_all(b"hello").await.unwrap();
            writer.flush().await.unwrap();
            writer.write_all(&long).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let (_, end) = tokio::join!(write, reader.read_to_end(&mut read));
        end.unwrap();
        assert!(read[..5] == *b"hello" && read[5..] == long);
    };
    tokio::join!(both(near.unwrap(), long.clone()), both(far, long));
}

#[tokio::test]
async fn any_secret_that_both_have_will_do() {
    for (ours, theirs) in [(vec![ONE, OTHER], vec![ONE]), (vec![OTHER, ONE], vec![ONE]), (vec![ONE], vec![OTHER, ONE])]
    {
        let (near, far) = meet(&ours, &theirs).await;
        let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
        near.write_all(b"x").await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn another_secret_is_an_error_that_says_so_on_both_sides() {
    let (near, far) = meet(&[ONE], &[OTHER]).await;
    let Err(Unproven::Failed(near)) = near else { panic!("it was accepted") };
    assert!(near.to_string().contains("does not accept the secret in --peer-secret-file"), "{near}");
    let far = far.err().unwrap();
    assert_eq!(far.kind(), ErrorKind::InvalidData);
    assert!(far.to_string().contains("does not know the secret in --peer-secret-file"), "{far}");
}

#[tokio::test]
async fn who_speaks_another_protocol_has_no_secret() {
    // An older program: settings of HTTP/2, and the end.
    for said in [&b"\0\0\x12\x04\0\0\0\0\0 and then some more"[..], b""] {
        let (near, mut far) = duplex(1 << 10);
        far.write_all(said).await.unwrap();
        far.shutdown().await.unwrap();
        let ours = secrets(&[ONE]);
        assert!(matches!(connect(near, Speaks::Calls, &ours, nonce().unwrap()).await, Err(Unproven::Unknown)));
    }
}

/// Keeps what is written, both ways.
struct Recording {
    inner: DuplexStream,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl AsyncRead for Recording {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.read.extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recording {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = polled {
            self.written.extend_from_slice(&buf[..n]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The records that are sent in a conversation.
const SAID: [&[u8]; 3] = [b"first", b"the second of them", b"third"];
const MINE: Nonce = [1; 32];
const YOURS: Nonce = [2; 32];

/// A conversation with these nonces, as somebody on the way sees it: what each side sent.
async fn recorded(speaks: Speaks) -> (Vec<u8>, Vec<u8>) {
    let (near, far) = duplex(1 << 20);
    let near = Recording { inner: near, read: Vec::new(), written: Vec::new() };
    let known = secrets(&[ONE]);
    let (near, far) = tokio::join!(connect(near, speaks, &known, MINE), accept_with(far, &known, YOURS));
    let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
    for said in SAID {
        near.write_all(said).await.unwrap();
        near.flush().await.unwrap();
        far.write_all(said).await.unwrap();
        far.flush().await.unwrap();
        let mut heard = vec![0; said.len()];
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
    }
    let near = near.inner();
    (near.written.clone(), near.read.clone())
}

/// What the side that accepts, with this nonce, takes of these bytes, and how it ends.
async fn accepted(bytes: &[u8], own: Nonce) -> (Vec<u8>, io::Result<()>) {
    let (mut near, far) = duplex(1 << 20);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let known = secrets(&[ONE]);
    let mut read = Vec::new();
    let ended = match accept_with(far, &known, own).await {
        Ok((mut far, _)) => far.read_to_end(&mut read).await.map(drop),
        Err(error) => Err(error),
    };
    (read, ended)
}

/// The same for the side that connects.
async fn connected(bytes: &[u8], own: Nonce) -> (Vec<u8>, Result<(), String>) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let known = secrets(&[ONE]);
    let mut read = Vec::new();
    let ended = match connect(near, Speaks::Log, &known, own).await {
        Ok(mut near) => near.read_to_end(&mut read).await.map(drop).map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:?}")),
    };
    (read, ended)
}

#[tokio::test]
async fn recorded_traffic_counts_for_nobody_else() {
    let (sent, replied) = recorded(Speaks::Log).await;
    // With the same nonce it is the same connection: what is shown below is due to the nonces.
    let all = SAID.concat();
    assert!(matches!(accepted(&sent, YOURS).await, (read, Ok(())) if read == all));
    assert!(matches!(connected(&replied, MINE).await, (read, Ok(())) if read == all));
    let (read, ended) = accepted(&sent, nonce().unwrap()).await;
    assert!(read.is_empty() && ended.unwrap_err().kind() == ErrorKind::InvalidData);
    let (read, ended) = connected(&replied, nonce().unwrap()).await;
    assert!(read.is_empty() && ended.unwrap_err().contains("does not know the secret"));
    // Nor for another purpose, nor for the side that said it.
    let mut other = sent.clone();
    other[super::handshake::PURPOSE_AT] = 2;
    assert!(accepted(&other, YOURS).await.1.is_err());
    assert!(accepted(&replied, MINE).await.1.is_err());
    assert!(connected(&sent, YOURS).await.1.is_err());
}

#[tokio::test]
async fn what_is_changed_on_the_way_ends_the_connection_before_anything_of_it_is_read() {
    let (sent, replied) = recorded(Speaks::Log).await;
    let all = SAID.concat();
    for (at, _) in sent.iter().enumerate() {
        let mut changed = sent.clone();
        changed[at] ^= 0x10;
        let (read, ended) = accepted(&changed, YOURS).await;
        assert!(ended.is_err() && read.len() < all.len() && all.starts_with(&read), "byte {at}: {read:?} {ended:?}");
    }
    for (at, _) in replied.iter().enumerate() {
        let mut changed = replied.clone();
        changed[at] ^= 0x10;
        let (read, ended) = connected(&changed, MINE).await;
        assert!(ended.is_err() && read.len() < all.len() && all.starts_with(&read), "byte {at}: {read:?} {ended:?}");
    }
}

#[tokio::test]
async fn records_are_neither_repeated_nor_left_out_nor_exchanged() {
    let (sent, _) = recorded(Speaks::Log).await;
    let lengths = SAID.map(|said| super::records::length_of(said.len()));
    let start = sent.len() - lengths.iter().sum::<usize>();
    let (head, mut rest) = sent.split_at(start);
    let mut records = Vec::new();
    for length in lengths {
        let (record, after) = rest.split_at(length);
        records.push(record);
        rest = after;
    }
    for (order, whole) in [
        (vec![0, 1, 2], 3),
        (vec![0, 0, 1], 1),
        (vec![0, 2], 1),
        (vec![1, 0, 2], 0),
        (vec![0, 1, 1, 2], 2),
        (vec![0, 1, 2, 0], 3),
    ] {
        let bytes = [head.to_vec(), order.iter().flat_map(|n| records[*n].to_vec()).collect()].concat();
        let (read, ended) = accepted(&bytes, YOURS).await;
        assert_eq!((read, ended.is_ok()), (SAID[..whole].concat(), order == [0, 1, 2]), "{order:?}");
    }
    // Cut off within a record, it broke; between two, it is a beginning.
    let (read, ended) = accepted(&sent[..sent.len() - 1], YOURS).await;
    assert!(read == SAID[..2].concat() && ended.unwrap_err().kind() == ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_too_little_is_let_go() {
    let known = secrets(&[ONE]);
    let hello = recorded(Speaks::Log).await.0;
    for said in [0, 1, 30, super::handshake::PURPOSE_AT + 33, super::handshake::PURPOSE_AT + 40] {
        let (mut near, far) = duplex(1 << 10);
        near.write_all(&hello[..said]).await.unwrap();
        let began = tokio::time::Instant::now();
        let late = accept(far, &known).await.err().unwrap();
        assert_eq!((late.kind(), began.elapsed()), (ErrorKind::TimedOut, Duration::from_secs(5)), "{said}");
        drop(near);
    }
}

#[tokio::test]
async fn a_secret_that_is_taken_out_ends_its_connections_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{ONE}\n{OTHER}\n")).unwrap();
    let secret = PeerSecret::open(path.clone(), false).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let theirs = [secrets(&[ONE]), secrets(&[OTHER])];
    let mut open = Vec::new();
    for known in &theirs {
        let near = tokio::net::TcpStream::connect(address).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (near, far) = tokio::join!(connect(near, Speaks::Log, known, nonce().unwrap()), secret.accept(far));
        open.push((near.unwrap(), far.unwrap().0));
    }
    // Nothing that cannot be used takes anything away.
    std::fs::write(&path, "short\n").unwrap();
    secret.reload();
    assert_eq!(secret.figures(), conclave_tls::Reloads { reloads: 0, failures: 1, rejected: true });
    std::fs::write(&path, format!("{OTHER}\n")).unwrap();
    let (_kept_near, mut old) = open.remove(0);
    // Its reader waits when it is taken out.
    let reading = tokio::spawn(async move { old.read_u8().await.map_err(|error| error.kind()) });
    tokio::task::yield_now().await;
    secret.reload();
    assert_eq!(reading.await.unwrap(), Err(ErrorKind::ConnectionAborted));
    let (mut near, mut far) = open.remove(0);
    near.write_all(b"x").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    assert_eq!(secret.figures(), conclave_tls::Reloads { reloads: 1, failures: 1, rejected: false });
}

#[test]
fn a_record_is_bounded() {
    runtime().block_on(async {
        let (mut sent, _) = recorded(Speaks::Log).await;
        let rest: usize = SAID.iter().map(|said| super::records::length_of(said.len())).sum();
        sent.truncate(sent.len() - rest);
        for length in [0, u32::try_from(MOST).unwrap() + 1, u32::MAX] {
            let bytes = [&sent[..], &0_u64.to_be_bytes(), &length.to_be_bytes()].concat();
            // At once, without the rest.
            assert_eq!(accepted(&bytes, YOURS).await.1.unwrap_err().kind(), ErrorKind::InvalidData, "{length}");
        }
    });
}

#[test]
fn fuzz_peer_secret() {
    conclave_fuzz::target!("peer_secret")
        .seeds([ONE.to_owned(), format!("# x\n{ONE}\n\n{OTHER}")])
        .run(|bytes| format!("{:?}", parse(bytes).map(|secrets| secrets.len()).map_err(|why| why.len() > 200)));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What somebody sends who connects, and then writes records.
#[test]
fn fuzz_peer_proof() {
    let runtime = runtime();
    let sent = runtime.block_on(recorded(Speaks::Log)).0;
    conclave_fuzz::target!("peer_proof").seed(sent).run(|bytes| {
        let (read, ended) = runtime.block_on(accepted(bytes, YOURS));
        // Only a beginning of what a member said.
        assert!(SAID.concat().starts_with(&read), "{read:?}");
        format!("{} {:?}", read.len(), ended.map_err(|error| error.kind()))
    });
}

/// What somebody answers who was connected to.
#[test]
fn fuzz_peer_proof_reply() {
    let runtime = runtime();
    let replied = runtime.block_on(recorded(Speaks::Log)).1;
    conclave_fuzz::target!("peer_proof_reply").seed(replied).run(|bytes| {
        let (read, ended) = runtime.block_on(connected(bytes, MINE));
        assert!(SAID.concat().starts_with(&read), "{read:?}");
        format!("{} {ended:?}", read.len())
    });
}
