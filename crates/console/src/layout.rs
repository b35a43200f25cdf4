//! What is around every page.

use crate::shown::{NAME, shown};
use maud::{DOCTYPE, Markup, html};

/// Whom a page is from, and for whom it is.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The member that shows it.
    pub member: String,
    pub cluster_id: u64,
    pub version: &'static str,
    /// Who is logged in; `None`: users are off.
    pub user: Option<String>,
    /// Whether the member hears from a leader. If not, what it shows may be old.
    pub is_led: bool,
    /// Of the store, as far as the member has it.
    pub revision: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Cluster,
    Coordination,
    Sessions,
    Keys,
}

impl Section {
    const ALL: [(Section, &'static str, &'static str); 4] = [
        (Section::Cluster, "./", "Cluster"),
        (Section::Coordination, "coordination", "Coordination"),
        (Section::Sessions, "sessions", "Sessions"),
        (Section::Keys, "keys", "Keys"),
    ];
}

/// A whole page. `section`: the one that it belongs to, if any.
pub(crate) fn page(frame: &Frame, section: Option<Section>, title: &str, content: &Markup) -> String {
    let member = shown(frame.member.as_bytes(), 40);
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (member) " · Conclave" }
                link rel="icon" type="image/svg+xml" href="icon.svg";
                link rel="stylesheet" href="style.css";
                script src="live.js" defer {}
            }
            body {
                a class="skip" href="#content" { "Skip to content" }
                header class="top" {
                    a class="brand" href="./" { img src="icon.svg" alt="" width="22" height="22"; "Conclave" }
                    nav aria-label="Pages" {
                        ul {
                            @for (of, address, name) in Section::ALL {
                                li { a href=(address) aria-current=[(section == Some(of)).then_some("page")] { (name) } }
                            }
                        }
                    }
                    div id="live" { span role="status" {} }
                }
                main id="content" tabindex="-1" {
                    @if !frame.is_led {
                        p class="alert" { strong { "No leader. " }
                            "This member hears from no leader, so what it shows may be old." }
                    }
                    (content)
                    p class="as-of" { "As member " bdi { (member) } " has it at revision " (frame.revision) "." }
                }
                footer {
                    p { "Read only. Cluster " code { (format!("{:x}", frame.cluster_id)) } ", Conclave " (frame.version)
                        @if let Some(user) = &frame.user { ", logged in as " bdi { (shown(user.as_bytes(), NAME)) } } "." }
                }
            }
        }
    };
    whole.into_string()
}
