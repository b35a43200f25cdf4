//! Fuzz target of the reader.

use crate::page::{HEADER, META, Meta};
use crate::{Plan, ReadError, Reader, Writer};

/// Small pages make small samples.
const PAGE: usize = 1024;

fn file(buckets: &[(&str, usize)]) -> Vec<u8> {
    fn fill<W: std::io::Write>(mut writer: Writer<W>, buckets: &[(&str, usize)]) -> (Plan, W) {
        for (name, pairs) in buckets {
            writer.bucket(name.as_bytes()).expect("names rise");
            for pair in 0..*pairs {
                writer.pair(format!("k{pair:05}").as_bytes(), &vec![7; pair % 90]).expect("keys rise");
            }
        }
        writer.finish().expect("it can be ended")
    }
    let (plan, _) = fill(Writer::measure(PAGE), buckets);
    fill(Writer::new(Vec::new(), plan).expect("it can be begun"), buckets).1
}

/// Makes the checksums of the meta pages right again: otherwise hardly anything gets past them.
fn repair(bytes: &mut [u8]) {
    for at in [HEADER, PAGE + HEADER] {
        let Some(meta) = bytes.get_mut(at..at + META) else { continue };
        let number = |at: usize| u64::from_le_bytes(meta[at..at + 8].try_into().expect("eight bytes"));
        let page_size = u32::from_le_bytes(meta[8..12].try_into().expect("four bytes"));
        let said =
            Meta { page_size, root: number(16), free_list: number(32), pages: number(40), transaction: number(48) };
        meta.copy_from_slice(&said.encode());
    }
}

/// The first byte says whether checksums are made right.
#[test]
fn fuzz_bolt_file() {
    let files = [file(&[]), file(&[("a", 0)]), file(&[("a", 3), ("b", 200)]), file(&[("key", 600), ("meta", 2)])];
    let seeds = files.iter().flat_map(|file| [[&[0], &file[..]].concat(), [&[1], &file[..]].concat()]);
    conclave_fuzz::target!("bolt_file").seeds(seeds).run(|input| {
        let Some((first, bytes)) = input.split_first() else { return String::new() };
        let mut bytes = bytes.to_vec();
        if first & 1 == 1 {
            repair(&mut bytes);
        }
        let reader = match Reader::open(&bytes[..]) {
            Ok(reader) => reader,
            Err(e) => return format!("{e:?}"),
        };
        let mut shown = 0;
        let read = reader.everything(&mut |name, pair| {
            shown += pair.map_or(name.len(), |(key, value)| key.len() + value.len());
            Ok::<_, ReadError>(())
        });
        assert!(shown <= bytes.len(), "no byte is shown twice");
        format!("{read:?}")
    });
}
