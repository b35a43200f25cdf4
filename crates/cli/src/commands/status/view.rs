//! What a look at the cluster shows.

use crate::{
    commands::lock_lines::EITHER,
    output::{Json, Show, Table, Text, human},
};

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) cluster: u64,
    pub(super) revision: i64,
    pub(super) term: u64,
    /// Whom the members with the newest term name.
    pub(super) leader: Option<u64>,
    pub(super) members: Vec<Member>,
    pub(super) alarms: Vec<(u64, &'static str)>,
    pub(super) elections: Elections,
    /// Seen without a login: the members are the endpoints.
    pub(super) outside: bool,
}

/// A member and how it is.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) learner: bool,
    pub(super) state: State,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Up {
        index: u64,
        applied: u64,
        leader: u64,
        size: u64,
        version: String,
        errors: String,
    },
    /// Why.
    Down(String),
}

/// Elections and locks, as far as they could be had.
#[derive(Clone, Debug, Default)]
pub(super) struct Elections {
    pub(super) rows: Vec<Election>,
    /// What could not be had, and why.
    pub(super) note: Option<String>,
    /// Nothing is known of them at this moment, whatever the rows say.
    pub(super) unknown: bool,
}

/// Something that is led or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Election {
    /// `election`, `lock`, `claim`, or `etcd` for either of etcd's wire.
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Empty: nobody.
    pub(super) leader: String,
    pub(super) fence: i64,
    pub(super) waiting: u64,
}

/// In etcd's words, of its status and of its health.
const NO_LEADER: [&str; 2] = ["etcdserver: no leader", "RAFT NO LEADER"];

impl View {
    pub(super) fn up(&self) -> usize {
        self.members.iter().filter(|member| matches!(member.state, State::Up { .. })).count()
    }

    fn majority(&self) -> usize {
        self.members.iter().filter(|member| !member.learner).count() / 2 + 1
    }

    pub(super) fn name(&self, id: u64) -> String {
        let member = self.members.iter().find(|member| member.id == id);
        member.map_or_else(|| format!("{id:x}"), |member| human::or_dash(&member.name))
    }

    /// The newest entry that any member has.
    fn newest(&self) -> u64 {
        let index = |member: &Member| match member.state {
            State::Up { index, .. } => index,
            State::Down(_) => 0,
        };
        self.members.iter().map(index).max().unwrap_or(0)
    }

    fn role(&self, member: &Member) -> String {
        match &member.state {
            State::Down(reason) => format!("DOWN: {reason}"),
            State::Up { leader: 0, .. } => "up, knows no leader".into(),
            State::Up { .. } if self.leader == Some(member.id) => "leader".into(),
            State::Up { .. } if member.learner => "learner".into(),
            State::Up { .. } => "follower".into(),
        }
    }

    fn headline(&self, text: &Text) -> String {
        let (count, up, needed) = (self.members.len(), self.up(), self.majority());
        let none = text.alarm("NO LEADER");
        let leader = match self.leader {
            Some(id) => format!("{} leads in term {}", self.name(id), self.term),
            None if up < needed => format!("{none}: {needed} members are needed"),
            None => format!("{none}: the members that are up elect one, or cannot reach each other"),
        };
        if self.outside {
            let answer = if up == 1 { "answers" } else { "answer" };
            let leader =
                if self.leader.is_some() { leader } else { format!("{none}: a majority of the members is needed") };
            let (cluster, revision) = (self.cluster, self.revision);
            return format!(
                "cluster {cluster:x}, without a login: {up} of {count} endpoints {answer}; {leader}; revision {revision}"
            );
        }
        format!("cluster {:x}: {up} of {count} members up; {leader}; revision {}", self.cluster, self.revision)
    }

    fn members_table(&self) -> Table {
        let mut table = Table::new(["MEMBER", "ADDRESS", "STATE", "LAG", "APPLIED", "SIZE", "VERSION", "ERRORS"]);
        let newest = self.newest();
        for member in &self.members {
            let [lag, applied, size, version, errors] = match &member.state {
                State::Down(_) => std::array::from_fn(|_| "-".to_owned()),
                State::Up { applied, size, version, errors, .. } => [
                    newest.saturating_sub(*applied).to_string(),
                    applied.to_string(),
                    if self.outside { "-".to_owned() } else { human::size(*size) },
                    human::or_dash(version),
                    // STATE says that already.
                    human::or_dash(if NO_LEADER.contains(&errors.as_str()) { "" } else { errors }),
                ],
            };
            let name = match member.name.as_str() {
                "" if member.id == 0 => "-".to_owned(),
                "" => format!("{:x}", member.id),
                name => name.to_owned(),
            };
            table.row([name, member.address.clone(), self.role(member), lag, applied, size, version, errors]);
            if matches!(member.state, State::Down(_) | State::Up { leader: 0, .. }) {
                table.alarm(2);
            }
        }
        table
    }

    fn elections_table(&self) -> Table {
        let mut table = Table::new(["KIND", "NAME", "LEADER OR HOLDER", "FENCE", "WAITING"]);
        for row in self.elections.rows.iter().filter(|row| !row.is_idle()) {
            let fence = human::number(row.fence);
            table.row([
                kind_text(row.kind).into(),
                row.name.clone(),
                human::or_dash(&row.leader),
                fence,
                row.waiting.to_string(),
            ]);
        }
        table
    }

    /// The first line, alarms, members.
    pub(super) fn show_members(&self, text: &mut Text) {
        text.line(self.headline(text));
        for (member, alarm) in &self.alarms {
            text.line(format!(
                "{} at {}: `conclavectl alarm disarm` once there is space again",
                text.alarm(&format!("ALARM {alarm}")),
                self.name(*member)
            ));
        }
        text.line("");
        text.table(&self.members_table());
    }

    /// What is led or held, with what could not be had and what was left out.
    pub(super) fn show_elections(&self, text: &mut Text) {
        let table = self.elections_table();
        if !table.is_empty() {
            text.line("");
            text.table(&table);
        }
        let idle = self.elections.rows.iter().filter(|row| row.is_idle()).count();
        let idle = match idle {
            0 => None,
            1 => Some("1 election without candidates; `conclavectl election ls` shows it".to_owned()),
            more => Some(format!("{more} elections without candidates; `conclavectl election ls` shows them")),
        };
        for note in self.elections.note.iter().chain(&idle) {
            text.line(format!("({note})"));
        }
    }
}

/// A kind in words: a key of etcd's recipes does not say whether it is a lock's or an election's.
pub(super) fn kind_text(kind: &str) -> &str {
    if kind == "etcd" { EITHER } else { kind }
}

impl Election {
    /// It exists, but nobody leads it or waits.
    fn is_idle(&self) -> bool {
        self.leader.is_empty() && self.waiting == 0
    }
}

impl Show for View {
    fn simple(&self, text: &mut Text) {
        self.show_members(text);
        self.show_elections(text);
    }

    fn json(&self) -> Json {
        let newest = self.newest();
        let member = |member: &Member| {
            let json = Json::object()
                .with("id", format!("{:x}", member.id))
                .with("name", &member.name)
                .with("address", &member.address)
                .with("learner", member.learner)
                .with("leads", self.leader == Some(member.id));
            match &member.state {
                State::Down(reason) => json.with("up", false).with("reason", reason).done(),
                State::Up { index, applied, leader, size, version, errors } => json
                    .with("up", true)
                    .with("knows_leader", *leader != 0)
                    .with("raft_index", *index)
                    .with("applied_index", *applied)
                    .with("lag", newest.saturating_sub(*applied))
                    .with("size_bytes", *size)
                    .with("version", version)
                    .some("errors", errors)
                    .done(),
            }
        };
        let election = |row: &Election| {
            Json::object()
                .with("kind", row.kind)
                .with("name", &row.name)
                .with("leader", &row.leader)
                .with("fence", row.fence)
                .with("waiting", row.waiting)
                .done()
        };
        let alarm = |(member, alarm): &(u64, &'static str)| {
            Json::object().with("member", format!("{member:x}")).with("alarm", *alarm).done()
        };
        let json = Json::object();
        let json = if self.outside { json.with("login", false) } else { json };
        json.with("cluster", format!("{:x}", self.cluster))
            .with("revision", self.revision)
            .with("term", self.term)
            .with("leader", self.leader.map(|id| Json::from(format!("{id:x}"))))
            .with("members", Json::list(&self.members, member))
            .with("alarms", Json::list(&self.alarms, alarm))
            .with("elections", Json::list(&self.elections.rows, election))
            .some("note", self.elections.note.as_deref().unwrap_or_default())
            .done()
    }

    fn table(&self) -> Option<Table> {
        Some(self.members_table())
    }
}
