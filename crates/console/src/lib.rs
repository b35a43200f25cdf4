//! The pages of the web console: pure functions from data to HTML.
//!
//! Who asks, what may be read and where it comes from is the gateway's; this crate knows no socket,
//! no clock and no store.
//!
//! 1. Whatever a page shows goes through the templates, which escape by type, and through
//!    [`shown`], which bounds its length and makes control characters visible. Nothing is put
//!    together from pieces of HTML.
//! 2. Links are relative, so that the console works behind a proxy with a prefix, and made by
//!    [`link`], which encodes every byte that could mean something.
//! 3. A page has one `<main>`; the script replaces what is in it. There are no inline scripts and
//!    styles, and nothing comes from elsewhere: [`assets::POLICY`] forbids it.

pub mod assets;
pub mod cluster;
pub mod coordination;
pub mod diff;
pub mod keys;
mod kind;
mod layout;
pub mod link;
pub mod message;
pub mod name;
mod parts;
pub mod sessions;
mod shown;
mod time;

pub use kind::{Kind, Name};
pub use layout::Frame;
pub use shown::shown;
pub use time::{Age, Left, Since};
