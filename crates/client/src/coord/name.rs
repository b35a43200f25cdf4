//! Names of elections, locks and claims.

use crate::api::conclave::v1 as pb;
use std::fmt;

/// The name of an election, a lock or a claim, in a namespace. The same name may be all three.
///
/// # Limits
/// Name and namespace have 1 to 256 bytes of UTF-8 without control characters; else every operation
/// with it is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
///
/// # Examples
/// ```
/// use conclave_client::Name;
///
/// let plain: Name = "scheduler".into();
/// assert_eq!(plain, Name::within("default", "scheduler"));
/// assert_eq!(Name::within("billing", "scheduler").to_string(), "billing/scheduler");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Name {
    /// `default` unless set.
    pub namespace: String,
    /// Unique in the namespace, for each kind of thing.
    pub name: String,
}

impl Name {
    /// A name in the namespace `default`.
    ///
    /// The [example](Name#examples) of [`Name`] shows it.
    pub fn new(name: impl Into<String>) -> Self {
        Self::within("default", name)
    }

    /// A name in some namespace.
    ///
    /// The [example](Name#examples) of [`Name`] shows it.
    pub fn within(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn wire(&self) -> Option<pb::Name> {
        Some(pb::Name { namespace: self.namespace.clone(), name: self.name.clone() })
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

impl From<pb::Name> for Name {
    fn from(name: pb::Name) -> Self {
        match name.namespace.is_empty() {
            true => Self::new(name.name),
            false => Self::within(name.namespace, name.name),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
