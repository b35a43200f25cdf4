use super::*;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

/// As much of Huffman's table as the authorities of these tests need.
fn code(c: char) -> &'static str {
    match c {
        '0' => "00000",
        '1' => "00001",
        '2' => "00010",
        '3' => "011001",
        '4' => "011010",
        '5' => "011011",
        '6' => "011100",
        '7' => "011101",
        '8' => "011110",
        '9' => "011111",
        '.' => "010111",
        ':' => "1011100",
        '/' => "011000",
        'h' => "100111",
        'p' => "101011",
        't' => "01001",
        '[' => "1111111111011",
        ']' => "1111111111100",
        other => panic!("{other:?} is not in this table"),
    }
}

fn huffman(text: &str) -> Vec<u8> {
    let mut bits: String = text.chars().map(code).collect();
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes()
        .chunks(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).expect("ASCII"), 2).expect("bits"))
        .collect()
}

/// A header block as clients send it: indexed fields, a literal path, the authority, one more literal.
fn block(coded: bool, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x44];
    put_string(&mut block, false, b"/etcdserverpb.Maintenance/Status");
    block.push(0x41);
    let value = if coded { huffman(authority) } else { authority.as_bytes().to_vec() };
    put_string(&mut block, coded, &value);
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
fn the_scheme_is_cut_off() {
    for coded in [false, true] {
        for authority in ["127.0.0.1:2379", "10.0.0.1:23791", "1", "127.0.0.1:1", "0.0.0.0:65535"] {
            let wrong = block(coded, &format!("http://{authority}"));
            assert_eq!(correct_block(&wrong), Some(block(coded, authority)), "{authority} {coded}");
            assert_eq!(correct_block(&block(coded, authority)), None);
        }
    }
    let long = "1".repeat(300);
    assert_eq!(correct_block(&block(false, &format!("http://{long}"))), Some(block(false, &long)));
}

/// However the end falls, also when the last character's code is mostly ones like the padding.
#[test]
fn every_port_is_kept_whole() {
    for port in 1..=65_535 {
        for host in ["127.0.0.1", "10.1.0.22", "[::1]"] {
            let authority = format!("{host}:{port}");
            let value = without_scheme(true, &huffman(&format!("http://{authority}")));
            assert_eq!(value, Some(huffman(&authority)), "{authority}");
        }
    }
}

#[test]
fn padding_and_priority_stay() {
    let padded = |block: &[u8]| {
        let mut payload = vec![3, 0, 0, 0, 0, 16];
        payload.extend_from_slice(block);
        payload.extend_from_slice(&[0; 3]);
        frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &payload)
    };
    assert_eq!(correct_frame(&padded(&block(true, "http://127.0.0.1:1"))), Some(padded(&block(true, "127.0.0.1:1"))));
    let too_much_padding = frame(HEADERS, END_HEADERS | PADDED, &[200, 1, 2]);
    assert_eq!(correct_frame(&too_much_padding), None);
}

/// A connection: preface, settings, requests with that authority, data between them.
fn connection(authority: &str) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, &[0; 12]));
    for _ in 0..2 {
        bytes.extend(frame(HEADERS, END_HEADERS, &block(true, authority)));
        bytes.extend(frame(0, 1, &[7; 30_000]));
    }
    bytes
}

#[test]
fn a_correct_client_is_let_through_after_one_frame() {
    let bytes = connection("127.0.0.1:2379");
    assert_eq!(filtered(&[&bytes]), (bytes.clone(), Phase::Pass));
    let http1 = b"GET /health HTTP/1.1\r\n\r\n";
    assert_eq!(filtered(&[&http1[..]]), (http1.to_vec(), Phase::Pass));
    // Held back until it is clear that it is no preface, or the end.
    assert_eq!(filtered(&[&b"P"[..]]).0, b"");
    assert_eq!(filtered(&[&b"P"[..], &b""[..]]).0, b"P");
}

proptest! {
    #[test]
    fn wherever_the_bytes_are_cut(cuts in prop::collection::vec(0..61_000usize, 0..20)) {
        let bytes = connection("http://127.0.0.1:2379");
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
        prop_assert_eq!(filter.out.to_vec(), connection("127.0.0.1:2379"));
    }

    /// Garbage never panics and never changes; it may be held back until it ends.
    #[test]
    fn what_is_not_understood_is_passed_on(bytes in prop::collection::vec(any::<u8>(), 0..300), flags in any::<u8>()) {
        let garbage = frame(HEADERS, flags, &bytes);
        let corrected = correct_frame(&garbage);
        prop_assert!(corrected.is_none_or(|corrected| corrected.len() < garbage.len()));
        let mut stream = PREFACE.to_vec();
        stream.extend(&bytes);
        let mut filter = Filter::default();
        filter.take(&stream);
        filter.take(&[]);
        prop_assert!(filter.out.len() <= stream.len());
    }
}

#[tokio::test]
async fn read_through_a_small_buffer() {
    let bytes = connection("http://127.0.0.1:2379");
    let mut reader = LenientAuthority::new(bytes.as_slice());
    let (mut all, mut some) = (Vec::new(), [0; 100]);
    loop {
        match reader.read(&mut some).await.expect("a slice") {
            0 => break,
            n => all.extend_from_slice(&some[..n]),
        }
    }
    assert_eq!(all, connection("127.0.0.1:2379"));
}
