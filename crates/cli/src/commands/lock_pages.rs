//! All that hold or wait for one of Conclave's own locks, page by page.
//!
//! A page begins after a fence. A request keeps its fence while it waits and while it holds, so none
//! that is there all the time is left out, whatever changes between two pages. One that waited on
//! one page may hold on the next: it is given once, as it was seen last.

use super::{Context, wire};
use crate::failure::Result;
use conclave_client::api::conclave::v1::{GetLockRequest, GetLockResponse, LockRequestState, Name};
use std::collections::BTreeMap;

/// Holders, and those that wait, of one page.
const PAGE: u32 = 1000;

/// A lock with all that hold it and wait for it, in order.
pub(super) async fn whole(context: &Context, name: &Name) -> Result<GetLockResponse> {
    let mut request = GetLockRequest { lock: Some(name.clone()), limit: PAGE, ..GetLockRequest::default() };
    let mut pages = Pages::default();
    loop {
        let page = context.link.read(|channel| wire::get_lock(channel, request.clone())).await?;
        match pages.take(page, PAGE as usize) {
            Some(after) => request.after = after,
            None => return Ok(pages.whole()),
        }
    }
}

#[derive(Default)]
struct Pages {
    first: Option<GetLockResponse>,
    holders: BTreeMap<i64, LockRequestState>,
    waiting: BTreeMap<i64, LockRequestState>,
}

impl Pages {
    /// Takes a page in; after which fence the next one begins, if there may be one.
    fn take(&mut self, mut page: GetLockResponse, size: usize) -> Option<i64> {
        let (holders, waiting) = (std::mem::take(&mut page.holders), std::mem::take(&mut page.waiting));
        self.first.get_or_insert(page);
        // Where the longer of the two lists ends, the other is complete.
        let end = |list: &[LockRequestState]| list.last().filter(|_| list.len() >= size).map(|last| last.fence);
        let next = end(&holders).into_iter().chain(end(&waiting)).min();
        for request in holders {
            self.waiting.remove(&request.fence);
            self.holders.insert(request.fence, request);
        }
        for request in waiting {
            self.waiting.entry(request.fence).or_insert(request);
        }
        next
    }

    fn whole(self) -> GetLockResponse {
        let (holders, waiting) = (self.holders.into_values().collect(), self.waiting.into_values().collect());
        GetLockResponse { holders, waiting, ..self.first.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(fences: &[i64]) -> Vec<LockRequestState> {
        fences.iter().map(|fence| LockRequestState { fence: *fence, ..LockRequestState::default() }).collect()
    }

    fn page(holders: &[i64], waiting: &[i64]) -> GetLockResponse {
        let (holders, waiting) = (requests(holders), requests(waiting));
        GetLockResponse { holder_count: 9, holders, waiting, ..GetLockResponse::default() }
    }

    #[test]
    fn nobody_is_left_out_or_given_twice() {
        let mut pages = Pages::default();
        // Both lists are full: the next page begins where the first of them ended.
        assert_eq!(pages.take(page(&[1, 2, 3], &[4, 6, 9]), 3), Some(3));
        // The lock was given back, and the first in line has it now.
        assert_eq!(pages.take(page(&[4], &[6, 9, 10]), 3), Some(10));
        assert_eq!(pages.take(page(&[], &[12]), 3), None);
        let whole = pages.whole();
        let fences = |list: &[LockRequestState]| list.iter().map(|request| request.fence).collect::<Vec<_>>();
        assert_eq!((fences(&whole.holders), fences(&whole.waiting)), (vec![1, 2, 3, 4], vec![6, 9, 10, 12]));
        assert_eq!(whole.holder_count, 9);
    }
}
