//! Who asks: tokens, certificates, and what is checked outside of the log.
//!
//! # The idea
//!
//! While users and roles are off, this costs one atomic load a call. While they are on, every call
//! that is not open to everybody runs in the scope of an [`Identity`]: found from its token or
//! certificate before the service sees the call. A command that is proposed in that scope carries
//! the caller, and `apply` decides. A read is checked against the users and roles of its own view.
//!
//! What loses its scope (a task of its own, a call that was begun before checks were on) has no
//! caller, and is refused.
//!
//! - [`methods`]: which methods are open, and which are for admins;
//! - [`tokens`]: simple tokens, made by a command, held in each member's memory;
//! - [`jwt`]: signed tokens: the cluster's [`own`], and those of an [`issuer`];
//! - [`password`]: bcrypt, beside the event loop and bounded;
//! - [`scope`]: the caller of the current call;
//! - [`reading`]: rights to read, for a call and for as long as a stream lasts.

mod access;
mod issuer;
mod jwt;
mod methods;
mod own;
mod password;
mod reading;
mod scope;
mod tokens;

pub(crate) use access::{Access, ON_BEHALF_OF_JSON};
pub(crate) use reading::{Allowed, Reading, Reads};
pub(crate) use scope::{carry, current, sign};
