//! The line of an election, page by page.
//!
//! A page is asked for by how many candidates come before it, so in a line that moves between two
//! pages one would be shown twice, or not at all. Each page has the revision of the line's last
//! change: pages with the same one show one line.
//!
//! 1. A line that changed while it was read is read again from its beginning.
//! 2. If it still changes in the last of [`ROUNDS`], the answer says so: nobody is in it twice, but a
//!    candidate that moved may be missing.

use super::super::{Context, wire};
use crate::failure::Result;
use conclave_client::api::conclave::v1::{Candidate, GetTermRequest, GetTermResponse, Name};
use std::collections::BTreeSet;

/// Candidates of one page.
const PAGE: u32 = 1000;
const ROUNDS: u32 = 5;

/// A line, or its beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Line {
    /// The first page, with the candidates of all that were read.
    pub(in super::super) response: GetTermResponse,
    /// It changed while it was read: a candidate that moved may be missing.
    pub(in super::super) moved: bool,
}

/// Reads the line of an election up to a candidate that is looked for, or all of it.
pub(in super::super) async fn read(
    context: &Context,
    (election, serializable): (Option<Name>, bool),
    found: impl Fn(&Candidate) -> bool,
) -> Result<Line> {
    let page = async |skip| {
        let request = GetTermRequest { election: election.clone(), serializable, limit: PAGE, skip };
        context.link.read(|channel| wire::get_term(channel, request.clone())).await
    };
    pages(page, found).await
}

async fn pages(page: impl AsyncFn(u32) -> Result<GetTermResponse>, found: impl Fn(&Candidate) -> bool) -> Result<Line> {
    for _ in 1..ROUNDS {
        let line = round(&page, &found, false).await?;
        if !line.moved {
            return Ok(line);
        }
    }
    round(&page, &found, true).await
}

/// Reads it once. If it moves, goes on to its end only if it is to go `on`.
async fn round(
    page: &impl AsyncFn(u32) -> Result<GetTermResponse>,
    found: &impl Fn(&Candidate) -> bool,
    on: bool,
) -> Result<Line> {
    let mut response = page(0).await?;
    let first = response.term.take().unwrap_or_default();
    let (revision, mut total) = (first.revision, total(&first.leader, first.waiting));
    let mut candidates = first.candidates.clone();
    let mut seen: BTreeSet<String> = candidates.iter().map(|one| one.id.clone()).collect();
    let (mut skip, mut moved) = (candidates.len(), false);
    response.term = Some(first);
    let mut looked = 0;
    while skip < total && !candidates[looked..].iter().any(found) {
        looked = candidates.len();
        let next = page(u32::try_from(skip).unwrap_or(u32::MAX)).await?.term.unwrap_or_default();
        moved |= next.revision != revision;
        if next.candidates.is_empty() || (moved && !on) {
            break;
        }
        total = self::total(&next.leader, next.waiting);
        skip += next.candidates.len();
        candidates.extend(next.candidates.into_iter().filter(|one| seen.insert(one.id.clone())));
    }
    if let Some(term) = &mut response.term {
        term.candidates = candidates;
    }
    Ok(Line { response, moved })
}

fn total(leader: &str, waiting: u32) -> usize {
    waiting as usize + usize::from(!leader.is_empty())
}

impl Line {
    /// The first candidate that is looked for.
    pub(in super::super) fn find(&self, found: impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        self.response.term.as_ref()?.candidates.iter().find(|one| found(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_client::api::conclave::v1::Term;
    use std::cell::{Cell, RefCell};

    /// A line of which a page holds three.
    struct Election {
        line: RefCell<Vec<String>>,
        revision: Cell<i64>,
        pages: Cell<usize>,
        /// After so many pages the first one leaves, and again after each that follows.
        leaves_after: usize,
        leaves: Cell<usize>,
    }

    impl Election {
        fn new(candidates: usize, leaves_after: usize, leaves: usize) -> Self {
            let line = (0..candidates).map(|i| format!("c{i}")).collect();
            let (line, leaves) = (RefCell::new(line), Cell::new(leaves));
            Self { line, revision: Cell::new(7), pages: Cell::new(0), leaves_after, leaves }
        }

        async fn page(&self, skip: u32) -> Result<GetTermResponse> {
            let mut line = self.line.borrow_mut();
            let candidates = line.iter().skip(skip as usize).take(3);
            let candidates = candidates.map(|id| Candidate { id: id.clone(), ..Candidate::default() }).collect();
            let waiting = u32::try_from(line.len() - 1).expect("a few");
            let term =
                Term { leader: line[0].clone(), waiting, candidates, revision: self.revision.get(), ..Term::default() };
            self.pages.set(self.pages.get() + 1);
            if self.pages.get() >= self.leaves_after && self.leaves.get() > 0 {
                self.leaves.set(self.leaves.get() - 1);
                self.revision.set(self.revision.get() + 1);
                line.remove(0);
            }
            Ok(GetTermResponse { term: Some(term), ..GetTermResponse::default() })
        }

        async fn read(&self, until: &str) -> (Vec<String>, bool) {
            let line = pages(async |skip| self.page(skip).await, |one| one.id == until).await.expect("a line");
            (line.response.term.expect("a term").candidates.into_iter().map(|one| one.id).collect(), line.moved)
        }
    }

    fn ids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|i| format!("c{i}")).collect()
    }

    #[tokio::test]
    async fn a_line_that_moves_between_pages_is_read_again_and_whole() {
        let still = Election::new(8, 0, 0);
        assert_eq!((still.read("").await, still.pages.get()), ((ids(0..8), false), 3));
        // By number alone, "c3" would be left out.
        let moves = Election::new(8, 1, 1);
        assert_eq!(moves.read("").await, (ids(1..8), false));
        let twice = Election::new(9, 2, 2);
        assert_eq!(twice.read("").await, (ids(2..9), false));
    }

    #[tokio::test]
    async fn a_line_that_does_not_stand_still_is_told_and_has_nobody_twice() {
        let moves = Election::new(40, 1, 30);
        let (found, moved) = moves.read("").await;
        assert!(moved, "{found:?}");
        let distinct: BTreeSet<&String> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "{found:?}");
        assert!(moves.pages.get() < 30, "{} pages", moves.pages.get());
    }

    #[tokio::test]
    async fn who_is_looked_for_ends_it() {
        let still = Election::new(40, 0, 0);
        assert_eq!((still.read("c4").await, still.pages.get()), ((ids(0..6), false), 2));
        assert_eq!(still.read("c1").await, (ids(0..3), false));
    }
}
