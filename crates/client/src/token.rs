//! The proof that something is held.

use crate::txn::Compare;

/// The proof of a tenure: a number that rises with every grant, and conditions that hold exactly
/// while the tenure lasts.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client, token: conclave_client::Token) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Put, Txn};
///
/// // By hand, for example in another process that was given the token; `Held::txn` does the same and tells more.
/// let done = client.txn(Txn::new().when(token.compares).then([Put::new("result", "42")])).await?.succeeded;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// Greater than that of every earlier holder of the same name, also after the name was deleted.
    pub fence: i64,
    /// Conditions for a transaction on the same cluster. All hold while the tenure lasts in the
    /// cluster; after it, never again.
    ///
    /// It may last there for longer than the guard here is [sure of it](crate::Held::valid_until).
    /// And a tenure that is [resumed](crate::Election::resume) is no new one: it has the fence and
    /// the conditions from before.
    pub compares: Vec<Compare>,
}

impl Token {
    pub(crate) fn new(fence: i64, compares: Vec<Compare>) -> Self {
        Self { fence, compares }
    }

    /// The conditions, to put before one's own: [`Token::compares`] by their name in Juju. Those of
    /// several tokens add up; all must hold.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, token: conclave_client::Token) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Cmp, Compare, Put, Txn};
    ///
    /// let own = Compare::value("state", Cmp::Equal, "ready");
    /// client.txn(Txn::new().when(token.assert_ops()).when([own]).then([Put::new("state", "running")])).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn assert_ops(&self) -> Vec<Compare> {
        self.compares.clone()
    }
}
