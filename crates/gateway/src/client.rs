//! The other end of a connection.

use crate::limits::{Budget, Limits};
use std::sync::Arc;

/// What is known of a client, for as long as its connection lasts.
#[derive(Default)]
pub(crate) struct Client {
    /// `None`: it has none, or nobody wants to know.
    pub(crate) address: Option<Arc<str>>,
    /// The common name in its certificate.
    pub(crate) certificate: Option<Arc<str>>,
    /// `None`: connections are not limited.
    pub(crate) budget: Option<Arc<Budget>>,
    /// Where its users have their budgets.
    pub(crate) limits: Limits,
}
