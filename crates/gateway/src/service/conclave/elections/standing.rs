//! How an election stands: the answers to operations and to `GetTerm`.

use crate::convert::conclave;
use crate::convert::conclave::election::{self as convert, GetTerm};
use crate::gateway::Gateway;
use crate::service::conclave::decide::{Decided, look_at, not_of_it};
use crate::service::conclave::values::{self, TermValue};
use crate::status::fault;
use conclave_api::conclave::v1;
use conclave_state::auth::prefix_range;
use conclave_state::coord::read::{self, CandidateState, ElectionState};
use conclave_state::coord::{election_prefix, term_key, token};
use conclave_state::{CoordResponse, Fault, Name, Standing, read as store};
use conclave_storage::StateView;
use tonic::Status;

/// A page of candidates ends beyond this, so that no answer grows without bounds with their values.
const PAGE_BYTES: usize = 2 << 20;
/// Candidates that are read at once, at first.
const FIRST_PART: usize = 8;
/// Beyond it, candidates are counted off the event loop.
const SHORT: usize = 1_000;

/// What an operation came to, in words of the wire. The token is that of the candidate that was
/// named.
pub(super) fn answer(gateway: &Gateway, name: &Name, decided: Decided) -> Result<v1::ElectionResponse, Status> {
    let Decided { revision, answer } = decided;
    let CoordResponse::Election { term, changed, standing } = answer else { return Err(not_of_it(&answer)) };
    let (view, _) = crate::follow::snapshot(&gateway.node.state).map_err(fault)?;
    let leads = standing == Standing::Leads {};
    Ok(v1::ElectionResponse {
        header: Some(gateway.header(revision)),
        changed,
        standing: convert::standing(standing).into(),
        token: leads.then(|| conclave::token(token::leadership(name, term.id))),
        term: Some(whole(&view, name, convert::term(term)).map_err(fault)?),
    })
}

/// Adds what the answer of a command leaves out: what is pending, and whether a delay runs. It is
/// in the projected term of that revision, unless that is compacted.
fn whole(view: &StateView, name: &Name, mut term: v1::Term) -> Result<v1::Term, Fault> {
    if term.revision < store::meta(view)?.compacted {
        return Ok(term);
    }
    let shown = store::version_at(view, &term_key(name), term.revision)?;
    if let Some(TermValue { transfer_to, delayed, .. }) = shown.and_then(|kv| values::value(&kv.value)) {
        term.transfer_to = transfer_to;
        term.delayed = delayed != 0;
    }
    Ok(term)
}

pub(super) async fn term(gateway: &Gateway, get: GetTerm) -> Result<v1::GetTermResponse, Status> {
    let GetTerm { election: name, serializable, limit, skip } = get;
    let found = name.clone();
    let read = move |view: &StateView| Ok((read::election(view, &found)?, page(view, &found, skip, limit)?));
    let ((state, candidates), revision) =
        look_at(gateway, serializable, skip + limit > SHORT, || prefix_range(&election_prefix(&name)), read).await?;
    let header = Some(gateway.header(revision));
    let Some(state) = state else {
        return Ok(v1::GetTermResponse { header, term: Some(v1::Term::default()), ..Default::default() });
    };
    let cause = conclave::cause(state.cause).into();
    let token = state.term.leader.as_ref().map(|_| conclave::token(token::leadership(&name, state.term.id)));
    let candidates = candidates.into_iter().map(convert::candidate).collect();
    Ok(v1::GetTermResponse { header, term: Some(v1::Term { candidates, ..present(state) }), cause, token })
}

/// The term as it is in the rows.
pub(super) fn present(state: ElectionState) -> v1::Term {
    let transfer_to = state.transfer_to.unwrap_or_default();
    v1::Term { transfer_to, delayed: state.delayed, ..convert::term(state.term) }
}

/// Candidates from number `skip` on. Read in parts that double, so that large values end the page
/// early and small ones are not counted off again and again.
fn page(view: &StateView, name: &Name, skip: usize, limit: usize) -> Result<Vec<CandidateState>, Fault> {
    let mut found: Vec<CandidateState> = Vec::new();
    let (mut bytes, mut part) = (0, FIRST_PART);
    while found.len() < limit && bytes < PAGE_BYTES {
        let wanted = part.min(limit - found.len());
        let next = read::candidates(view, name, skip + found.len(), wanted)?;
        let last = next.len() < wanted;
        for candidate in next {
            bytes += candidate.value.len();
            if bytes > PAGE_BYTES && !found.is_empty() {
                return Ok(found);
            }
            found.push(candidate);
        }
        if last {
            break;
        }
        part *= 2;
    }
    Ok(found)
}
