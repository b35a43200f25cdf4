//! The members, and how far each has come.

use crate::layout::{Frame, Section, page};
use crate::parts::{badge, bytes, dash, facts, number, some, table, text};
use crate::time::fine;
use maud::{Markup, html};
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub facts: Facts,
    /// What is raised: the alarm and the member that it is about.
    pub alarms: Vec<(&'static str, String)>,
    pub members: Vec<Member>,
    /// Whether the member that shows this leads: only then it knows how far the others are.
    pub leads: bool,
}

/// Of the member that shows the page, and of the cluster as it knows it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub leader: Option<String>,
    pub term: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub revision: i64,
    pub compacted: i64,
    pub cluster_version: String,
    pub downgrade_to: Option<String>,
    /// `None`: they are not counted yet.
    pub keys: Option<u64>,
    pub leases: u64,
    pub db_bytes: u64,
    pub db_in_use_bytes: u64,
    /// `None`: there is no limit.
    pub quota_bytes: Option<u64>,
    pub log_bytes: u64,
    pub disk_free_bytes: Option<u64>,
    pub connections: u64,
    pub watchers: u64,
    pub slow_watchers: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Member {
    pub id: u64,
    /// Empty: it never ran.
    pub name: String,
    pub is_this: bool,
    pub leads: bool,
    pub votes: bool,
    pub in_maintenance: bool,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub labels: Vec<String>,
    /// The cluster versions that its program can serve in.
    pub versions: Option<String>,
    /// The log index up to which it is known to have everything.
    pub index: Option<u64>,
    /// Entries that it lacks.
    pub lag: Option<u64>,
    pub heard_ago: Option<Duration>,
    pub link: Option<Link>,
}

/// What passes between the member that shows this and another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// `None`: there was nothing to reach it for of late.
    pub reached: Option<bool>,
    pub failures: u64,
    /// On average.
    pub round_trip: Option<Duration>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

#[must_use]
pub fn cluster(frame: &Frame, cluster: &Cluster) -> String {
    let content = html! {
        h1 { "Cluster" }
        @for (alarm, member) in &cluster.alarms {
            p class="alert" { strong { "Alarm " (alarm) } " of member " (text(member)) }
        }
        (summary(cluster))
        (members(cluster))
        (links(cluster))
        @if !cluster.leads && cluster.facts.leader.is_some() {
            p class="hint" { "Only the leader knows how far the others have come and how long leases last: open the "
                "console at its address to see that." }
        }
    };
    page(frame, Some(Section::Cluster), "Cluster", &content)
}

fn summary(cluster: &Cluster) -> Markup {
    let of = &cluster.facts;
    let slow = of.slow_watchers;
    facts(&[
        ("Leader", of.leader.as_ref().map_or_else(|| badge("none", "bad"), text)),
        ("Term", number(of.term)),
        ("Applied / committed", html! { (number(of.applied_index)) " / " (number(of.committed_index)) }),
        ("Revision", number(of.revision)),
        ("Compacted", if of.compacted > 0 { number(of.compacted) } else { dash() }),
        ("Keys", of.keys.map_or_else(dash, number)),
        ("Leases", number(of.leases)),
        (
            "State on disk",
            html! { (bytes(of.db_bytes)) " " span class="aside" { "in use " (bytes(of.db_in_use_bytes)) } },
        ),
        ("Quota", of.quota_bytes.map_or_else(dash, bytes)),
        ("Log", bytes(of.log_bytes)),
        ("Disk free", of.disk_free_bytes.map_or_else(dash, bytes)),
        ("Client connections", number(of.connections)),
        ("Watchers", html! { (number(of.watchers)) @if slow > 0 { " " (badge(&format!("{slow} behind"), "warn")) } }),
        (
            "Cluster version",
            html! { (text(&of.cluster_version))
            @if let Some(target) = &of.downgrade_to { " " (badge(&format!("downgrade to {target}"), "warn")) } },
        ),
    ])
}

fn role(member: &Member) -> Markup {
    html! {
        @if member.leads { (badge("leader", "good")) }
        @else if member.votes { (badge("follower", "plain")) }
        @else { (badge("learner", "plain")) }
        @if member.in_maintenance { " " (badge("maintenance", "warn")) }
    }
}

fn list(all: &[String]) -> Markup {
    html! { @if all.is_empty() { (dash()) } @else { ul class="plain" { @for one in all { li { (text(one)) } } } } }
}

fn members(cluster: &Cluster) -> Markup {
    let heads = ["Member", "Role", "Log index", "Lag", "Heard", "Versions", "Client URLs", "Peer URLs", "Labels"];
    let row = |member: &Member| {
        vec![
            html! {
                @if member.name.is_empty() { "never ran" } @else { (text(&member.name)) }
                @if member.is_this { " " (badge("this one", "plain")) }
                br; code class="aside" { (format!("{:x}", member.id)) }
            },
            role(member),
            member.index.map_or_else(dash, number),
            match member.lag {
                None => dash(),
                Some(0) => html! { "0" },
                Some(lag) => html! { (number(lag)) " entries" },
            },
            member.heard_ago.map_or_else(dash, |ago| html! { (fine(ago)) " ago" }),
            member.versions.as_ref().map_or_else(dash, text),
            list(&member.client_urls),
            list(&member.peer_urls),
            list(&member.labels),
        ]
    };
    table("Members", &heads, &cluster.members.iter().map(row).collect::<Vec<_>>(), "There are no members.")
}

fn links(cluster: &Cluster) -> Markup {
    let heads = ["To", "Reached", "Round trip", "Failed calls", "Sent", "Received"];
    let row = |member: &Member| {
        let link = member.link?;
        Some(vec![
            if member.name.is_empty() {
                html! { code { (format!("{:x}", member.id)) } }
            } else {
                some(&member.name)
            },
            match link.reached {
                Some(true) => badge("yes", "good"),
                Some(false) => badge("no", "bad"),
                None => html! { "not tried of late" },
            },
            link.round_trip.map_or_else(dash, |time| html! { (fine(time)) }),
            number(link.failures),
            bytes(link.sent_bytes),
            bytes(link.received_bytes),
        ])
    };
    let rows: Vec<_> = cluster.members.iter().filter_map(row).collect();
    table("Links from this member", &heads, &rows, "This member has no others to talk to.")
}
