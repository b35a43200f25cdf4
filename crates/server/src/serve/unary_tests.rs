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

/// The answer to a request that arrives in these pieces: the service tells the lease it was asked for back as the revision.
async fn ask(pieces: Vec<Vec<u8>>) -> Response<Reply> {
    let frames = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let request = Request::new(StreamBody::new(futures::stream::iter(frames)));
    let metrics = GrpcMetrics::default();
    answer(request, LIMIT, metrics.method("/a/b").begin(), |request: tonic::Request<PutRequest>| async move {
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
    let out_of_range = "11";
    assert_eq!(refusal(&ask(vec![framed(&put(LIMIT))]).await).0, out_of_range);
    assert_eq!(
        refusal(&ask(vec![vec![0, 0xff, 0xff, 0xff, 0xff]]).await).0,
        out_of_range,
        "nothing is set aside for it"
    );
}
