//! The checkers of the trials, checked: hand-written bad histories are rejected by exactly the
//! checker that is meant for them, generated good ones are accepted by all, and every mutation of a
//! good one is rejected.

mod generated;
mod golden;
mod mutations;
mod report;
mod simulator;
mod speed;
