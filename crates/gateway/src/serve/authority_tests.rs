use super::*;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

const END_HEADERS: u8 = 0x4;

/// Forms that clients send and the HTTP/2 library refuses.
const REFUSED: [&str; 25] = [
    "",
    "http://127.0.0.1:2379",
    "https://127.0.0.1:2379",
    "http://[::1]:2379/",
    "unix:///tmp/etcd.sock",
    "unixs://localhost:1",
    "/tmp/etcd.sock",
    "localhost:/tmp/etcd.sock",
    "#initially=[127.0.0.1:2379]",
    "#initially=[127.0.0.1:2379;127.0.0.1:22379]",
    "#initially=[unix:///a b.sock]",
    "etcd-endpoints://0xc0000a0000/127.0.0.1:2379",
    "127.0.0.1:2379/",
    "127.0.0.1:2379,127.0.0.2:2379/a",
    "a:1:2",
    "%2Ftmp%2Fetcd.sock",
    "[::1",
    "::1]:2379",
    "user@",
    "has space",
    "tab\there",
    "quo\"te",
    "back\\slash",
    "caret^{}|`<>",
    "umlaut-\u{fc}-\u{4e2d}",
];

/// Forms that it takes.
const TAKEN: [&str; 10] = [
    "127.0.0.1:2379",
    "localhost",
    "x",
    "[::1]:2379",
    "etcd-0.etcd.default.svc.cluster.local:2379",
    "under_score:1",
    "user:password@host:80",
    "user%40:p@host:80",
    "A-Z~!$&'()*+,;=.example",
    "127.0.0.1",
];

/// Huffman's code of a character; those without a short one get the code of one that no authority
/// has.
fn code(byte: u8) -> String {
    let (mut first, mut before) = (0, 0);
    for (length, characters) in CODES {
        first <<= length - before;
        before = length;
        if let Some(at) = characters.iter().position(|character| *character == byte) {
            return format!("{:0width$b}", first + at, width = length as usize);
        }
        first += characters.len();
    }
    // The code of `\`, 19 bits.
    "1111111111111110000".into()
}

fn huffman(text: &str) -> Vec<u8> {
    let mut bits: String = text.bytes().map(code).collect();
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes()
        .chunks(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).expect("ASCII"), 2).expect("bits"))
        .collect()
}

fn put_string(out: &mut Vec<u8>, huffman: bool, value: &[u8]) {
    let coding = if huffman { 0x80 } else { 0 };
    match value.len() {
        length @ ..0x7f => out.push(coding | u8::try_from(length).expect("below 127")),
        length => {
            out.push(coding | 0x7f);
            let mut rest = length - 0x7f;
            while rest >= 0x80 {
                out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
                rest >>= 7;
            }
            out.push(u8::try_from(rest).expect("seven bits"));
        }
    }
    out.extend_from_slice(value);
}

/// A header block as clients send it: indexed fields, a literal path, the authority, one more
/// literal.
fn block(coded: bool, authority: &str) -> Vec<u8> {
    block_of(coded, &if coded { huffman(authority) } else { authority.as_bytes().to_vec() })
}

fn block_of(coded: bool, value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x44];
    put_string(&mut block, false, b"/etcdserverpb.Maintenance/Status");
    block.push(0x41);
    put_string(&mut block, coded, value);
    block.extend_from_slice(&[0x40]);
    put_string(&mut block, false, b"te");
    put_string(&mut block, false, b"trailers");
    block
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("small").to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    frame.extend_from_slice(payload);
    frame
}

fn filtered(chunks: &[&[u8]]) -> (Vec<u8>, Phase) {
    let mut filter = Filter::default();
    chunks.iter().for_each(|chunk| filter.take(chunk));
    (filter.out.to_vec(), filter.phase)
}

#[test]
fn what_the_library_would_refuse_is_replaced() {
    for coded in [false, true] {
        for authority in REFUSED {
            assert_eq!(correct_block(&block(coded, authority)), Some(block(false, "x")), "{authority:?} {coded}");
        }
        for authority in TAKEN {
            assert_eq!(correct_block(&block(coded, authority)), None, "{authority:?} {coded}");
        }
        let long = format!("http://{}", "1".repeat(300));
        assert_eq!(correct_block(&block(coded, &long)), Some(block(false, "x")));
    }
    assert_eq!(correct_block(&block_of(false, b"\xff\xfe")), Some(block(false, "x")), "not even text");
}

/// The library's own opinion is what counts.
#[test]
fn the_lists_are_right() {
    assert!(TAKEN.iter().all(|authority| authority.parse::<Authority>().is_ok()));
    assert!(REFUSED.iter().all(|authority| authority.parse::<Authority>().is_err()));
    assert!(Authority::try_from(STAND_IN).is_ok());
}

/// Examples of RFC 7541, appendix C.4.
#[test]
fn the_code_is_that_of_the_standard() {
    let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    assert_eq!(decoded(&example).as_deref(), Some(&b"www.example.com"[..]));
    assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some(&b"no-cache"[..]));
    // The longest of the short codes, whose first bits look like padding.
    assert_eq!(decoded(&huffman("[]")).as_deref(), Some(&b"[]"[..]));
    assert_eq!(decoded(&[0xff, 0xff]), None, "padding is shorter than a byte");
}

/// However the end falls, also when the last character's code is mostly ones like the padding.
#[test]
fn every_port_is_read_whole() {
    for port in 1..=65_535 {
        for host in ["127.0.0.1", "10.1.0.22", "[::1]"] {
            let authority = format!("{host}:{port}");
            assert_eq!(decoded(&huffman(&authority)).as_deref(), Some(authority.as_bytes()));
        }
    }
}

/// By whatever name the field is given: its place in the table, a literal, a coded literal; indexed
/// or not.
#[test]
fn the_name_may_be_a_literal() {
    let named = |first: &[u8], name: Option<bool>, value: &[u8]| {
        let mut block = vec![0x83, 0x86];
        block.extend_from_slice(first);
        if let Some(coded) = name {
            put_string(&mut block, coded, &if coded { huffman(":authority") } else { b":authority".to_vec() });
        }
        put_string(&mut block, false, value);
        block
    };
    let forms: [(&[u8], _); 7] = [
        (&[0x41], None),
        (&[0x01], None),
        (&[0x11], None),
        (&[0x40], Some(false)),
        (&[0x00], Some(true)),
        (&[0x10], Some(true)),
        // A change of the table's size before it.
        (&[0x20, 0x41], None),
    ];
    for (first, name) in forms {
        let corrected = correct_block(&named(first, name, b"/tmp/etcd.sock"));
        assert_eq!(corrected, Some(named(first, name, b"x")), "{first:?} {name:?}");
        assert_eq!(correct_block(&named(first, name, b"localhost")), None);
    }
}

/// The rest of a large header block follows in other frames, which stay as they are.
#[test]
fn a_block_in_several_frames() {
    let stream = |authority: &str| {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(HEADERS, 0, &[block(true, authority), vec![0x40, 3, b'a']].concat()));
        bytes.extend(frame(9, END_HEADERS, b"bc\x01v"));
        bytes.extend(frame(HEADERS, END_HEADERS, &block(false, authority)));
        bytes
    };
    let mut expected = PREFACE.to_vec();
    expected.extend(frame(HEADERS, 0, &[block(false, "x"), vec![0x40, 3, b'a']].concat()));
    expected.extend(frame(9, END_HEADERS, b"bc\x01v"));
    expected.extend(frame(HEADERS, END_HEADERS, &block(false, "x")));
    assert_eq!(filtered(&[&stream("#initially=[a]")]), (expected, Phase::Frame));
}

/// One byte more than a frame may hold would end the connection.
#[test]
fn a_frame_never_becomes_too_large() {
    let full = |size: usize| {
        let mut block = vec![0x41, 0, 0x40];
        put_string(&mut block, false, b"k");
        let value = vec![b'v'; size - block.len() - 3];
        put_string(&mut block, false, &value);
        frame(HEADERS, END_HEADERS, &block)
    };
    let room = full(MAX_FRAME - 1);
    assert_eq!(room.len(), FRAME_HEAD + MAX_FRAME - 1);
    assert_eq!(correct_frame(&room).map(|frame| frame.len()), Some(FRAME_HEAD + MAX_FRAME));
    assert_eq!(correct_frame(&full(MAX_FRAME)), None);
}

#[test]
fn padding_and_priority_stay() {
    let padded = |block: &[u8]| {
        let mut payload = vec![3, 0, 0, 0, 0, 16];
        payload.extend_from_slice(block);
        payload.extend_from_slice(&[0; 3]);
        frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &payload)
    };
    assert_eq!(correct_frame(&padded(&block(true, "http://127.0.0.1:1"))), Some(padded(&block(false, "x"))));
    let too_much_padding = frame(HEADERS, END_HEADERS | PADDED, &[200, 1, 2]);
    assert_eq!(correct_frame(&too_much_padding), None);
}

/// A connection: preface, settings, requests with that authority, data between them.
fn connection(coded: bool, authority: &str) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, &[0; 12]));
    for _ in 0..2 {
        bytes.extend(frame(HEADERS, END_HEADERS, &block(coded, authority)));
        bytes.extend(frame(0, 1, &[7; 30_000]));
    }
    bytes
}

#[test]
fn what_needs_no_change_is_not_copied() {
    let bytes = connection(true, "127.0.0.1:2379");
    assert_eq!(filtered(&[&bytes]), (bytes.clone(), Phase::Frame));
    let mut filter = Filter { phase: Phase::Frame, ..Filter::default() };
    assert_eq!(filter.look(&bytes[PREFACE.len()..]), bytes.len() - PREFACE.len());
    assert!(filter.held.is_empty() && filter.out.is_empty());
    let http1 = b"GET /health HTTP/1.1\r\n\r\n";
    assert_eq!(filtered(&[&http1[..]]), (http1.to_vec(), Phase::Pass));
    // Held back until it is clear that it is no preface, or the end.
    assert_eq!(filtered(&[&b"P"[..]]).0, b"");
    assert_eq!(filtered(&[&b"P"[..], &b""[..]]).0, b"P");
}

/// Requests of several clients on one connection, as a proxy sends them.
fn mixed(authorities: &[&str]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    for authority in authorities {
        bytes.extend(frame(HEADERS, END_HEADERS, &block(false, authority)));
        bytes.extend(frame(0, 1, &[7; 3_000]));
    }
    bytes
}

#[tokio::test]
async fn each_request_of_a_connection_is_looked_at() {
    let sent = mixed(&["localhost:2379", "#initially=[a]", "localhost:2379", "localhost", "/run/x.sock"]);
    let expected = mixed(&["localhost:2379", "x", "localhost:2379", "localhost", "x"]);
    for size in [1, 8, 9, 10, 100, 4_000, 100_000] {
        let mut reader = LenientAuthority::new(sent.as_slice());
        let (mut all, mut some) = (Vec::new(), vec![0; size]);
        loop {
            match reader.read(&mut some).await.expect("a slice") {
                0 => break,
                n => all.extend_from_slice(&some[..n]),
            }
        }
        assert!(all == expected, "read {size} bytes at a time");
    }
}

proptest! {
    #[test]
    fn wherever_the_bytes_are_cut(cuts in prop::collection::vec(0..61_000usize, 0..20)) {
        let bytes = connection(true, "http://127.0.0.1:2379");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut filter = Filter::default();
        let mut from = 0;
        for to in cuts {
            if from < to {
                filter.take(&bytes[from..to]);
            }
            from = to;
        }
        prop_assert_eq!(filter.out.to_vec(), connection(false, "x"));
    }

    /// Garbage never panics and never changes; it may be held back until it ends.
    #[test]
    fn what_is_not_understood_is_passed_on(bytes in prop::collection::vec(any::<u8>(), 0..300), flags in any::<u8>()) {
        let garbage = frame(HEADERS, flags, &bytes);
        let corrected = correct_frame(&garbage);
        prop_assert!(corrected.is_none_or(|corrected| corrected.len() <= garbage.len() + STAND_IN.len()));
        let mut stream = PREFACE.to_vec();
        stream.extend(&bytes);
        let mut filter = Filter::default();
        filter.take(&stream);
        filter.take(&[]);
        prop_assert!(filter.out.len() <= stream.len() + bytes.len());
    }
}

#[tokio::test]
async fn read_through_a_small_buffer() {
    let bytes = connection(true, "http://127.0.0.1:2379");
    let mut reader = LenientAuthority::new(bytes.as_slice());
    let (mut all, mut some) = (Vec::new(), [0; 100]);
    loop {
        match reader.read(&mut some).await.expect("a slice") {
            0 => break,
            n => all.extend_from_slice(&some[..n]),
        }
    }
    assert_eq!(all, connection(false, "x"));
}
