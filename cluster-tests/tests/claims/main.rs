//! Claims and sessions from outside: `conclave.v1.Claims` and `conclave.v1.Sessions`, through the
//! generated clients alone.

mod guarantee;
mod holding;
mod pins;
mod refusals;
mod sessions;
mod waiting;
