//! Runs one target, briefly or for as long as the environment says.

use crate::features::features;
use crate::mutate::{Random, mutate};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For how many seconds to run; set by `scripts/fuzz`.
const FOR: &str = "CONCLAVE_FUZZ_FOR";
/// Where the first random number comes from in a long run; to repeat one.
const SEED: &str = "CONCLAVE_FUZZ_SEED";
/// A file to run alone, instead of everything else.
const INPUT: &str = "CONCLAVE_FUZZ_INPUT";

/// Mutations in the test suite, and the time after which there are no more of them. Both are small:
/// there are many targets.
const BRIEF: usize = 3_000;
const BRIEFLY: Duration = Duration::from_secs(3);
/// An input that takes longer than this does more work than its size allows.
const SLOW: Duration = Duration::from_secs(10);
/// Longer inputs do not stay in the corpus.
const KEPT: usize = 4 << 10;

pub struct Target {
    name: &'static str,
    corpus: PathBuf,
    samples: Vec<Vec<u8>>,
    brief: usize,
}

impl Target {
    /// With the corpus `fuzz/<name>` of the crate in this directory.
    #[must_use]
    pub fn new(crate_dir: &str, name: &'static str) -> Target {
        Target { name, corpus: Path::new(crate_dir).join("fuzz").join(name), samples: Vec::new(), brief: BRIEF }
    }

    /// A valid input, to begin with.
    #[must_use]
    pub fn seed(mut self, sample: impl Into<Vec<u8>>) -> Target {
        self.samples.push(sample.into());
        self
    }

    /// Several of them.
    #[must_use]
    pub fn seeds<S: Into<Vec<u8>>>(mut self, samples: impl IntoIterator<Item = S>) -> Target {
        self.samples.extend(samples.into_iter().map(Into::into));
        self
    }

    /// How many mutations the test suite runs, for a target whose inputs take longer than
    /// microseconds.
    #[must_use]
    pub fn brief(mut self, mutations: usize) -> Target {
        self.brief = mutations;
        self
    }

    /// Runs the target on its seeds, its corpus, and mutations of both.
    ///
    /// # Panics
    /// If the target does, or is slow.
    pub fn run(self, target: impl Fn(&[u8]) -> String) {
        let long = std::env::var(FOR).ok().map(|text| Duration::from_secs(text.parse().expect("seconds")));
        let mut run = Run { known: BTreeSet::new(), samples: vec![], long: long.is_some(), target: &self, ran: 0 };
        if let Some(file) = std::env::var_os(INPUT) {
            run.one(&fs::read(file).expect("the input can be read"), &target);
            return;
        }
        for sample in self.samples.iter().cloned().chain(self.read_corpus()) {
            run.one(&sample, &target);
            run.samples.push(sample);
        }
        if run.samples.is_empty() {
            run.samples.push(vec![]);
        }
        let seed = if long.is_some() { any_seed() } else { name_seed(self.name) };
        let mut random = Random::new(seed);
        let end = Instant::now() + long.unwrap_or(BRIEFLY);
        while Instant::now() < end && (long.is_some() || run.ran < self.brief) {
            let input = mutate(&run.samples, &mut random);
            if run.one(&input, &target) {
                run.keep(input);
            }
        }
        if long.is_some() {
            run.report(seed);
        }
    }

    fn read_corpus(&self) -> Vec<Vec<u8>> {
        let Ok(files) = fs::read_dir(&self.corpus) else { return vec![] };
        let mut files: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).expect("a file of the corpus can be read")).collect()
    }

    /// Writes an input to the corpus, under a name that depends on its content.
    fn write(&self, prefix: &str, input: &[u8]) -> PathBuf {
        let number =
            input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        let path = self.corpus.join(format!("{prefix}{number:016x}"));
        let written = fs::create_dir_all(&self.corpus).and_then(|()| fs::write(&path, input));
        written.expect("the corpus can be written");
        path
    }
}

/// The same for a target every time.
fn name_seed(name: &str) -> u64 {
    name.bytes().fold(1, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

fn any_seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()));
    given.unwrap_or_else(clock)
}

struct Run<'a> {
    known: BTreeSet<u64>,
    samples: Vec<Vec<u8>>,
    long: bool,
    target: &'a Target,
    ran: usize,
}

impl Run<'_> {
    /// Whether something about the answer is new.
    fn one(&mut self, input: &[u8], target: &impl Fn(&[u8]) -> String) -> bool {
        self.ran += 1;
        let pending = self.long.then(|| self.target.write("pending-", input));
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        let took = begun.elapsed();
        if let Some(pending) = pending {
            // It stays if the process ends in `target`: because stack or memory ran out.
            let _ = fs::remove_file(pending);
        }
        match outcome {
            Ok(answer) if took < SLOW => {
                let before = self.known.len();
                self.known.extend(features(&answer));
                self.known.len() > before
            }
            Ok(_) => panic!("{}: an input took {took:?}: {}", self.target.name, self.broke(input)),
            Err(panic) => {
                tell(&format!("{}: the target broke: {}", self.target.name, self.broke(input)));
                resume_unwind(panic)
            }
        }
    }

    /// Where the input is, or what it is.
    fn broke(&self, input: &[u8]) -> String {
        if self.long {
            return self.target.write("broke-", input).display().to_string();
        }
        input.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn keep(&mut self, input: Vec<u8>) {
        if self.long && input.len() <= KEPT {
            self.target.write("", &input);
        }
        self.samples.push(input);
    }

    fn report(&self, seed: u64) {
        let Run { ran, known, samples, target, .. } = self;
        let (name, answers, samples) = (target.name, known.len(), samples.len());
        tell(&format!(
            "{name}: {ran} inputs, {answers} features of answers, {samples} samples, seed {seed}: nothing broke"
        ));
    }
}

#[expect(clippy::print_stderr, reason = "a test program reports to the person who runs it")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder with a bug that needs four steps.
    fn buggy(bytes: &[u8]) -> String {
        match bytes {
            [b'b', b'u', b'g', b'!', ..] => panic!("found"),
            [b'b', b'u', b'g', ..] => "third".into(),
            [b'b', b'u', ..] => "second".into(),
            [b'b', ..] => "first".into(),
            _ => "nothing".into(),
        }
    }

    fn run(name: &'static str, target: impl Fn(&[u8]) -> String) -> std::thread::Result<()> {
        let fuzz = Target { brief: usize::MAX, ..crate::target!("none") };
        catch_unwind(AssertUnwindSafe(|| Target { name, ..fuzz }.seed(*b"a sample").run(target)))
    }

    #[test]
    fn answers_guide_the_search_to_a_bug() {
        assert!(run("guided", buggy).is_err());
    }

    #[test]
    fn a_target_without_a_bug_passes() {
        assert!(run("sound", |bytes| format!("{:?}", std::str::from_utf8(bytes))).is_ok());
    }
}
