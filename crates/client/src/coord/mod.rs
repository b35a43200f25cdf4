//! What elections, locks and claims of `conclave.v1` have in common.
//!
//! 1. Every operation that changes something carries an id drawn for it, the same in all attempts:
//!    it takes effect once, so it may be tried again like a read.
//! 2. What is followed (watches, waiting) goes on at another member after a failure, where it was.

mod cause;
mod expect;
pub(crate) mod follow;
mod name;
pub(crate) mod once;
mod pages;
mod wire;

pub use cause::Cause;
pub use expect::Expect;
pub use name::Name;
pub(crate) use pages::pages;
pub(crate) use wire::{call, claims, elections, locks, millis, sessions, token};

use crate::{Client, Session, api::conclave::v1 as pb};
use bytes::Bytes;

/// Who asks for one operation: drawn anew for each, kept over its attempts.
pub(crate) fn caller(session: Option<&Session>, expect: &Expect) -> Option<pb::Caller> {
    let dedupe_id = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let expect = (*expect != Expect::default()).then(|| expect.clone().into());
    Some(pb::Caller { session: session.map_or(0, Session::lease), dedupe_id, expect })
}

/// A handle with what its operations carry besides their own arguments.
#[derive(Clone, Debug)]
pub(crate) struct Acting {
    pub(crate) client: Client,
    pub(crate) session: Option<Session>,
    pub(crate) expect: Expect,
}

impl Acting {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), session: None, expect: Expect::default() }
    }

    pub(crate) fn caller(&self) -> Option<pb::Caller> {
        caller(self.session.as_ref(), &self.expect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_an_id_of_its_own() {
        let id = || caller(None, &Expect::default()).expect("always").dedupe_id;
        assert!(id().len() == 16 && id() != id());
    }
}
