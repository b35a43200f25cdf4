//! Which member leads, by the policy of the operator ([`conclave_state::placement`]).
//!
//! | part | does |
//! |---|---|
//! | `decide` | what a leader should do, as a function of what it knows |
//! | `tenures` | which members led only for a moment of late |
//! | `preferences` | what the state says of each member |
//! | `mover` | looks, decides, and moves leadership |
//! | `standing` | a member in maintenance leaves elections to the others |
//! | `announcing` | tells the cluster this member's labels |
//!
//! 1. Leadership moves only to a member of a higher rank, so no two members send it to each other.
//! 2. It moves by the planned transfer alone, to a member that is reached and has kept up for a
//!    while. A policy that cannot be followed changes nothing.
//! 3. A member to which a move did not hold rests before the next attempt, each time twice as long.
//! 4. Nothing here makes the cluster unavailable: a member in maintenance or under `never` leads
//!    while nobody else can.

mod announcing;
mod decide;
mod mover;
mod moves;
mod preferences;
mod standing;
mod tenures;

pub(crate) use announcing::announce;
pub(crate) use mover::Mover;
pub use moves::Moves;
pub(crate) use preferences::successors;
pub(crate) use standing::Standing;
