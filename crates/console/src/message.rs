//! A page that only says something: that it does not exist, that it may not be seen.

use crate::layout::{Frame, page};
use crate::parts::text;
use maud::html;

/// A page with a heading and a sentence.
#[must_use]
pub fn message(frame: &Frame, title: &str, sentence: &str) -> String {
    page(frame, None, title, &html! { h1 { (title) } p { (text(sentence)) } p { a href="./" { "To the cluster" } } })
}
