use super::*;
use crate::metrics::GrpcMetrics;
use conclave_api::etcdserverpb::{PutRequest, PutResponse};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;

const LIMIT: usize = 1_000;

fn put(value: usize) -> PutRequest {
    PutRequest { key: "k".into(), value: vec![7; value].into(), ..Default::default() }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("small"));
    message.encode(&mut bytes).expect("a Vec grows");
    bytes
}

/// The answer to a request that arrives in these pieces: the service tells the lease it was asked
/// for back as the revision.
async fn ask(pieces: Vec<Vec<u8>>) -> Response<Reply> {
    let frames = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let request = Request::new(StreamBody::new(futures::stream::iter(frames)));
    let metrics = GrpcMetrics::default();
    answer(request, LIMIT, metrics.method("/a/b").begin(None), |request: tonic::Request<PutRequest>| async move {
        let put = request.into_inner();
        match put.value.len() {
            13 => Err(Status::not_found("thirteen")),
            size => {
                let header = conclave_api::etcdserverpb::ResponseHeader { revision: size as i64, ..Default::default() };
                Ok(tonic::Response::new(PutResponse { header: Some(header), prev_kv: None }))
            }
        }
    })
    .await
}

async fn revision(answer: Response<Reply>) -> i64 {
    assert_eq!(answer.headers()[CONTENT_TYPE], GRPC);
    let collected = answer.into_body().collect().await.expect("it does not fail");
    assert_eq!(collected.trailers().expect("every good answer has some")["grpc-status"], "0");
    let bytes = collected.to_bytes();
    assert_eq!(bytes[..PREFIX - 2], [0, 0, 0]);
    assert_eq!(usize::from(bytes[PREFIX - 1]), bytes.len() - PREFIX);
    PutResponse::decode(&bytes[PREFIX..]).expect("it was encoded").header.expect("it was given").revision
}

fn refusal(answer: &Response<Reply>) -> (&str, &str) {
    let text = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"));
    assert!(answer.body().is_end_stream());
    (text("grpc-status"), text("grpc-message"))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_and_abandoned_ends() {
    let begin = framed(&put(200))[..20].to_vec();
    for sent in [vec![], vec![begin]] {
        let frames = sent.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
        let body =
            StreamBody::new(futures::StreamExt::chain(futures::stream::iter(frames), futures::stream::pending()));
        let metrics = GrpcMetrics::default();
        let call = |_: tonic::Request<PutRequest>| async { Ok(tonic::Response::new(PutResponse::default())) };
        let answer = answer(Request::new(body), LIMIT, metrics.method("/a/b").begin(None), call).await;
        assert_eq!(refusal(&answer).0, "4", "the deadline is exceeded");
    }
}

#[tokio::test]
async fn a_message_in_any_number_of_pieces() {
    let bytes = framed(&put(200));
    assert_eq!(revision(ask(vec![bytes.clone()]).await).await, 200);
    assert_eq!(revision(ask(bytes.iter().map(|byte| vec![*byte]).collect()).await).await, 200);
    assert_eq!(revision(ask(vec![bytes, vec![], b"more than asked for".to_vec()]).await).await, 200);
    assert_eq!(revision(ask(vec![framed(&PutRequest::default())]).await).await, 0);
}

#[tokio::test]
async fn a_refusal_is_all_in_the_head() {
    assert_eq!(refusal(&ask(vec![framed(&put(13))]).await), ("5", "thirteen"));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let bytes = framed(&put(200));
    let internal = "13";
    assert_eq!(refusal(&ask(vec![]).await).0, internal);
    assert_eq!(refusal(&ask(vec![bytes[..3].to_vec()]).await).0, internal);
    assert_eq!(refusal(&ask(vec![bytes[..9].to_vec(), bytes[9..100].to_vec()]).await).0, internal);
    assert_eq!(refusal(&ask(vec![vec![0, 0, 0, 0, 2, 0xff, 0xff]]).await).0, internal, "not a message");
    let mut compressed = bytes;
    compressed[0] = 1;
    assert_eq!(refusal(&ask(vec![compressed]).await).0, internal);
}

#[tokio::test]
async fn what_is_too_large_is_refused_in_the_words_of_grpc() {
    let exhausted = "8";
    let text = "grpc:%20received%20message%20larger%20than%20max%20(1006%20vs.%201000)";
    assert_eq!(refusal(&ask(vec![framed(&put(LIMIT))]).await), (exhausted, text));
    assert_eq!(refusal(&ask(vec![vec![0, 0xff, 0xff, 0xff, 0xff]]).await).0, exhausted, "nothing is set aside for it");
    assert_eq!(prefix(MOST).expect("it fits"), [0, 0x7f, 0xff, 0xff, 0xff]);
    for beyond in [MOST + 1, u32::MAX as usize + 1, usize::MAX] {
        assert_eq!(prefix(beyond).expect_err("it does not").code(), Code::ResourceExhausted);
    }
}

/// Each poll gives one piece, and all of them make up the message.
#[tokio::test]
async fn a_large_answer_goes_out_in_pieces() {
    let kv = conclave_api::mvccpb::KeyValue { value: vec![7; 1_000].into(), ..Default::default() };
    let response = conclave_api::etcdserverpb::RangeResponse { kvs: vec![kv; 4_000], ..Default::default() };
    let expected = framed(&response);
    let answer = crate::outflow::Outflow::new().make(move || response).await.expect("not refused");
    let mut body = reply(answer).await.expect("not refused").into_body();
    let (mut bytes, mut pieces) = (vec![], 0);
    let trailers = loop {
        match body.frame().await.expect("trailers come first").expect("it does not fail").into_data() {
            Ok(data) => {
                assert!(data.len() < 100_000, "one poll encoded {} bytes", data.len());
                pieces += 1;
                bytes.extend_from_slice(&data);
            }
            Err(frame) => break frame.into_trailers().expect("neither data nor trailers"),
        }
    };
    assert_eq!(trailers["grpc-status"], "0");
    assert!(pieces > 40 && bytes == expected);
    assert!(body.is_end_stream());
}
