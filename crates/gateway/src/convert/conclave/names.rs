//! Names of elections, locks and claims, and pages of them.

use super::{BadField, Problem, fields};
use conclave_api::conclave::v1;
use conclave_state::Name;
use conclave_state::coord::read::Listing;

/// What an empty namespace stands for.
const DEFAULT_NAMESPACE: &str = "default";

/// `field` is what leads to the name: `election`, `lock`, `claim`.
pub fn name(field: &'static str, name: Option<v1::Name>) -> Result<Name, BadField> {
    let v1::Name { namespace: space, name } = name.ok_or(Problem::Missing.of(field))?;
    let parts = || Ok(Name { namespace: namespace("namespace", space)?, name: fields::text("name", name)? });
    parts().map_err(|bad: BadField| bad.within(field))
}

/// A namespace that is one namespace: the default one if it is empty.
pub fn namespace(field: &'static str, namespace: String) -> Result<String, BadField> {
    if namespace.is_empty() { Ok(DEFAULT_NAMESPACE.to_owned()) } else { fields::text(field, namespace) }
}

/// A text that may be empty, as an instance is; `None` where it does not matter which.
pub fn optional_text(field: &'static str, text: Option<String>) -> Result<Option<String>, BadField> {
    text.map(|text| fields::text_or_empty(field, text)).transpose()
}

/// A page that is asked for.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// Asks for one more than the page has, which tells whether there are more ([`super::page`]).
    pub listing: Listing,
    pub size: usize,
    pub serializable: bool,
}

/// Empty namespaces are all of them here.
pub fn listing(request: v1::ListRequest) -> Result<ListPage, BadField> {
    let v1::ListRequest { namespace, after, limit, serializable } = request;
    let namespace = optional_text("namespace", Some(namespace))?.filter(|namespace| !namespace.is_empty());
    let after = after.map(|after| name("after", Some(after))).transpose()?;
    if let (Some(namespace), Some(after)) = (&namespace, &after)
        && *namespace != after.namespace
    {
        return Err(Problem::Other("is a name of another namespace than the one that is listed").of("after"));
    }
    let size = fields::limit("limit", limit)?;
    let listing = Listing { namespace, after, limit: size + 1, ..Listing::default() };
    Ok(ListPage { listing, size, serializable })
}
