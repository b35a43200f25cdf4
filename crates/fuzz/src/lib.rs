//! Fuzz targets as tests: give a decoder bytes that nobody would send, and see that it says no in
//! good order.
//!
//! A target is a test in the module of the decoder, so it reaches what is private there:
//!
//! ```ignore
//! #[test]
//! fn fuzz_vote() {
//!     conclave_fuzz::target!("vote").seed(encode_vote(&vote(1, 2, true))).run(|bytes| format!("{:?}", decode_vote(bytes)));
//! }
//! ```
//!
//! The function may not panic, hang or run out of memory, and returns the result of the input: a
//! value, an error, what a client saw. Further checks are assertions (what was decoded encodes to
//! the same bytes).
//!
//! * In the test suite a target runs its seeds, its corpus and a few thousand mutations of them,
//!   the same ones every time.
//! * `scripts/fuzz TARGET --for 1h` runs it for an hour from another random number, and keeps what
//!   it learns in the corpus.
//!
//! # How inputs are found
//!
//! Inputs are mutations of *samples*: valid messages first. There is no instrumentation, which
//! would need unsafe code in the tests or another compiler. Instead the answers guide the search:
//! an input becomes a sample if something about its answer is new: another variant, another error,
//! another nesting. For decoders the answer tells about as much as the path through the code.
//!
//! # The corpus
//!
//! `CRATE/fuzz/TARGET/` holds one file for each input. Inputs that broke something stay there for
//! good, as regression tests; their names begin with `broke-`. The rest was found by long runs.

mod features;
mod mutate;
mod run;

pub use run::Target;

/// The target of this name in the crate that calls it.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::Target::new(env!("CARGO_MANIFEST_DIR"), $name)
    };
}
