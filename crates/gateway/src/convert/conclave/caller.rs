//! Who asks, and on what condition.

use super::{BadField, Problem, fields};
use conclave_api::conclave::v1;
use conclave_state::{Command, Coord, CoordBody, Expect, LeaseId};

/// Whether an operation needs a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Required,
    Optional,
}

/// Whether an operation is about one election or one claim, which alone an expectation can be
/// about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expecting {
    Allowed,
    Refused,
}

/// What every changing request carries, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub session: LeaseId,
    pub dedupe: Option<[u8; 16]>,
    pub expect: Option<Expect>,
}

impl Caller {
    /// The command of this caller that does so.
    #[must_use]
    pub fn command(self, body: CoordBody) -> Command {
        let Caller { session, dedupe, expect } = self;
        Command::Coord(Box::new(Coord { session, dedupe, expect, body }))
    }
}

pub fn caller(caller: Option<v1::Caller>, session: Session, expecting: Expecting) -> Result<Caller, BadField> {
    let v1::Caller { session: lease, dedupe_id, expect } = caller.unwrap_or_default();
    if lease == 0 && session == Session::Required {
        return Err(Problem::Other("is 0; this operation needs a session").of("caller.session"));
    }
    let dedupe = match dedupe_id.len() {
        0 => None,
        bytes => {
            let id = <[u8; 16]>::try_from(&dedupe_id[..]);
            Some(id.map_err(|_| Problem::NotADedupeId { bytes }.of("caller.dedupe_id"))?)
        }
    };
    let expect = match (expect, expecting) {
        (None, _) => None,
        (Some(expect), Expecting::Allowed) => Some(expectation(expect)?),
        (Some(_), Expecting::Refused) => {
            return Err(
                Problem::Other("is set; only a request about one election or one claim has one").of("caller.expect")
            );
        }
    };
    Ok(Caller { session: lease, dedupe, expect })
}

fn expectation(expect: v1::Expect) -> Result<Expect, BadField> {
    let v1::Expect { fence, revision, holder } = expect;
    let fence = fence.map(|fence| fields::revision("caller.expect.fence", fence)).transpose()?;
    let revision = revision.map(|revision| fields::revision("caller.expect.revision", revision)).transpose()?;
    let holder = holder.map(|holder| fields::text_or_empty("caller.expect.holder", holder)).transpose()?;
    Ok(Expect { fence, revision, holder })
}
