//! A resource outside of the store, as a printer or a disk would be: it knows the largest fence
//! that it has seen, and refuses smaller ones.
//!
//! It is a file beside the history, `outside-<name>`, with the fence and a count of the writes; a
//! lock on the file makes each write one step for all workers of the run.

use super::actor::Actor;
use crate::history::{Answer, Call, FenceGuard, FencedAnswer, FencedCall, now};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::OpenOptions,
    io::{Read, Result, Seek, Write},
    path::Path,
};

/// Writes under the fence, whatever became of it meanwhile.
pub(crate) fn write(me: &mut Actor, name: &str, fence: i64) {
    let resource = format!("outside-{}", name.replace('/', "-"));
    let path = me.spec().journal.with_file_name(&resource);
    me.invoke(Call::Fenced(FencedCall {
        resource,
        name: name.to_owned(),
        fence,
        value: me.unique_text(),
        guard: FenceGuard::Outside,
        read: String::new(),
    }));
    match accept(&path, fence) {
        Ok(answer) => me.ok_at(now(), Answer::Fenced(answer)),
        Err(error) => me.unknown(&error.to_string()),
    }
}

fn accept(path: &Path, fence: i64) -> Result<FencedAnswer> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut words = text.split_whitespace().filter_map(|word| word.parse::<i64>().ok());
    let (seen, count) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    if fence < seen {
        return Ok(FencedAnswer::Refused { revision: count, seen });
    }
    file.rewind()?;
    // Neither number ever gets shorter.
    file.write_all(format!("{fence} {}\n", count + 1).as_bytes())?;
    Ok(FencedAnswer::Accepted { revision: count + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_fences_are_refused_and_every_write_has_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outside-a");
        let written = |fence| accept(&path, fence).unwrap();
        assert_eq!(written(9), FencedAnswer::Accepted { revision: 1 });
        assert_eq!(written(9), FencedAnswer::Accepted { revision: 2 });
        assert_eq!(written(10), FencedAnswer::Accepted { revision: 3 });
        assert_eq!(written(9), FencedAnswer::Refused { revision: 3, seen: 10 });
        assert_eq!(written(100), FencedAnswer::Accepted { revision: 4 });
    }
}
