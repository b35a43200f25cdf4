//! Fuzz targets of what is typed: words, compares of a transaction, durations, ids.

use super::{compare, duration, lease, member, ttl, words};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fuzz_txn_compare() {
    let seeds = ["value(\"k\") = \"v\"", "mod(\"k\") > \"5\"", "create('k') != \"0\"", "lease(\"k\") = \"7f\"", "ver"];
    conclave_fuzz::target!("txn_compare").seeds(seeds).run(|bytes| format!("{:?}", compare(&text(bytes))));
}

#[test]
fn fuzz_words() {
    let seeds = ["put a 'b c' \"d\\\"e\\x41\"", "get --prefix \"\"", "a\\ b", "'"];
    conclave_fuzz::target!("words").seeds(seeds).run(|bytes| format!("{:?}", words(&text(bytes))));
}

#[test]
fn fuzz_numbers_and_times() {
    conclave_fuzz::target!("numbers_and_times").seeds(["1h30m", "250ms", "-5", "7f3a", "18446744073709551616"]).run(
        |bytes| {
            let text = text(bytes);
            format!("{:?} {:?} {:?} {:?}", duration(&text), ttl(&text), lease(&text), member(&text))
        },
    );
}
