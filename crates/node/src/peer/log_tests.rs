use super::*;
use futures::channel::{mpsc, oneshot};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);
const IDS: Ids = Ids { cluster: 1, from: 2, to: 3 };

type Append = Box<dyn FnOnce(Ids, AppendRequests) -> Result<AppendReplies, PeerError> + Send>;

/// A follower that serves one connection; returns its address and the result.
async fn follower(append: Append) -> (String, oneshot::Receiver<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, ended) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = tell.send(serve(Stream::Plain(stream), append).await);
    });
    (address, ended)
}

/// Accepts every request.
fn echo() -> Append {
    Box::new(|_, requests| Ok(requests.map(|r| r.map(|r| matched(r.previous.unwrap().index))).boxed()))
}

type Kept = Arc<Mutex<Vec<Result<u64, PeerError>>>>;

/// Collects the requests until the end or an error.
fn keep() -> (Append, Kept) {
    let kept = Kept::default();
    let keeper = kept.clone();
    let append: Append = Box::new(move |_, requests| {
        let kept = requests.map(move |r| keeper.lock().push(r.map(|r| r.previous.unwrap().index)));
        Ok(kept.filter_map(|()| std::future::ready(None)).boxed())
    });
    (append, kept)
}

fn id(index: u64) -> pb::LogId {
    pb::LogId { term: 1, index }
}

fn request(index: u64) -> pb::AppendRequest {
    pb::AppendRequest { previous: Some(id(index)), ..Default::default() }
}

fn matched(index: u64) -> pb::AppendReply {
    pb::AppendReply { matched: Some(id(index)), ..Default::default() }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

#[tokio::test]
async fn replies_come_in_order_and_end_with_the_requests() {
    let (address, ended) = follower(echo()).await;
    // One request among small ones that needs several writes.
    let large = |n| {
        let entry =
            pb::Entry { term: 1, index: n + 1, payload: Some(pb::entry::Payload::Pack(vec![7; 3 << 20].into())) };
        pb::AppendRequest { entries: vec![entry], ..request(n) }
    };
    let requests = (0..500).map(move |n| if n == 250 { large(n) } else { request(n) });
    let replies = open(&Target::plain(address.clone()), IDS, stream::iter(requests).boxed()).await.unwrap();
    let replies: Vec<_> = soon(replies.collect()).await;
    assert_eq!(replies, (0..500).map(|n| Ok(matched(n))).collect::<Vec<_>>());
    assert!(soon(ended).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_request_leaves_while_others_are_waited_for() {
    let (address, _ended) = follower(echo()).await;
    let (send, requests) = mpsc::unbounded();
    let mut replies = open(&Target::plain(address.clone()), IDS, requests.boxed()).await.unwrap();
    for n in 0..20 {
        send.unbounded_send(request(n)).unwrap();
        assert_eq!(soon(replies.next()).await, Some(Ok(matched(n))));
    }
}

#[tokio::test]
async fn a_refused_peer_learns_why() {
    let refuse: Append = Box::new(|ids, _| Err(PeerError::Refused(format!("{ids:?} is a stranger"))));
    let (address, _ended) = follower(refuse).await;
    let mut replies = open(&Target::plain(address.clone()), IDS, stream::pending().boxed()).await.unwrap();
    assert_eq!(soon(replies.next()).await, Some(Err(PeerError::Refused(format!("{IDS:?} is a stranger")))));
    assert_eq!(soon(replies.next()).await, None);
}

#[tokio::test]
async fn an_end_is_told_from_a_break() {
    let (append, kept) = keep();
    let (address, ended) = follower(append).await;
    let replies = open(&Target::plain(address.clone()), IDS, stream::iter([request(1)]).boxed()).await.unwrap();
    assert_eq!(soon(replies.collect::<Vec<_>>()).await, []);
    assert!(soon(ended).await.unwrap().is_ok());
    assert_eq!(*kept.lock(), [Ok(1)]);

    let (append, kept) = keep();
    let (address, ended) = follower(append).await;
    let requests = stream::iter([request(1)]).chain(stream::pending());
    let mut replies = open(&Target::plain(address.clone()), IDS, requests.boxed()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), replies.next()).await.is_err());
    drop(replies);
    let _ = soon(ended).await;
    assert!(matches!(&kept.lock()[..], [Ok(1), Err(PeerError::Refused(reason))] if reason.contains("broke off")));
}

#[tokio::test]
async fn a_follower_that_goes_leaves_the_outcome_unknown() {
    let gone: Append = Box::new(|_, requests| Ok(requests.take(1).filter_map(|_| async { None }).boxed()));
    let (address, _ended) = follower(gone).await;
    let requests = stream::iter([request(1)]).chain(stream::pending());
    let mut replies = open(&Target::plain(address.clone()), IDS, requests.boxed()).await.unwrap();
    assert_eq!(soon(replies.next()).await, Some(Err(PeerError::Unknown)));
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_stream_with_an_error() {
    let hello = |frames: &[&[u8]]| {
        let mut bytes = MAGIC.to_vec();
        let hello = pb::LogHello { cluster: 1, from: 2, to: 3 }.encode_to_vec();
        for frame in [&hello[..]].iter().chain(frames) {
            bytes.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
            bytes.extend(*frame);
        }
        bytes
    };
    let too_long = [hello(&[]), u32::MAX.to_be_bytes().to_vec()].concat();
    let cut = [hello(&[]), vec![0, 0, 0, 9, 1]].concat();
    for (what, bytes) in [("no message", hello(&[b"\xff\xff\xff"])), ("too long", too_long), ("cut short", cut)] {
        let (append, kept) = keep();
        let (address, ended) = follower(append).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = soon(ended).await;
        assert!(matches!(&kept.lock()[..], [Err(PeerError::Refused(_))]), "{what}: {kept:?}");
    }
}

#[tokio::test]
async fn another_protocol_is_not_answered() {
    for bytes in [&b"conclave log 2\n"[..], b"conclave", b""] {
        let (append, kept) = keep();
        let (address, ended) = follower(append).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(soon(ended).await.unwrap().is_err(), "{bytes:?}");
        assert!(kept.lock().is_empty());
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [&address[..], "", "no port", "127.0.0.1:99999"] {
        let opened = open(&Target::plain(address.to_owned()), IDS, stream::pending().boxed()).await;
        assert!(matches!(opened, Err(PeerError::Unreachable)), "{address}");
    }
}
