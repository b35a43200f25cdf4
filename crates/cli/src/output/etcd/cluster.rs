//! `member`, `endpoint`, `alarm`.

use crate::output::placement::{labels, labels_json};
use crate::output::{Fields, Json, Show, Table, Text, header_fields, header_json, human};
use conclave_client::api::conclave::v1::MemberPlacement;
use conclave_client::api::etcdserverpb::{
    AlarmMember, AlarmResponse, AlarmType, HashKvResponse, Member, MemberListResponse, ResponseHeader, StatusResponse,
};
use std::time::Duration;

/// The answer to `member list`, with what Conclave knows beyond it.
///
/// As etcdctl prints it, unless a member has labels or is in maintenance.
pub(crate) struct Members<'a> {
    pub(crate) list: &'a MemberListResponse,
    pub(crate) placement: &'a [MemberPlacement],
}

/// An endpoint and its status.
pub(crate) struct StatusOf {
    pub(crate) endpoint: String,
    pub(crate) status: StatusResponse,
}

/// The answer to `endpoint status`.
pub(crate) struct Statuses<'a>(pub(crate) &'a [StatusOf]);

/// An endpoint and what became of a trial.
pub(crate) struct HealthOf {
    pub(crate) endpoint: String,
    pub(crate) took: Duration,
    pub(crate) error: Option<String>,
}

/// The answer to `endpoint health`.
pub(crate) struct Health<'a>(pub(crate) &'a [HealthOf]);

/// An endpoint and its hash.
pub(crate) struct HashOf {
    pub(crate) endpoint: String,
    pub(crate) hash: HashKvResponse,
}

/// The answer to `endpoint hashkv`.
pub(crate) struct Hashes<'a>(pub(crate) &'a [HashOf]);

/// The answer to `alarm`.
pub(crate) struct Alarms<'a>(pub(crate) &'a AlarmResponse);

fn id(id: u64) -> String {
    format!("{id:x}")
}

impl Members<'_> {
    fn placement(&self, member: &Member) -> Option<&MemberPlacement> {
        self.placement.iter().find(|placement| placement.id == member.id)
    }

    /// Whether there is more to say than etcdctl does.
    fn is_placed(&self) -> bool {
        self.placement.iter().any(|member| member.maintenance || !member.labels.is_empty())
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let more = self.is_placed();
        let row = move |member: &Member| {
            let state = if member.name.is_empty() { "unstarted" } else { "started" };
            let mut row = vec![
                id(member.id),
                state.to_owned(),
                member.name.clone(),
                member.peer_ur_ls.join(","),
                member.client_ur_ls.join(","),
                member.is_learner.to_string(),
            ];
            if more {
                let placement = self.placement(member);
                row.push(placement.map(|placement| labels(placement).join(" ")).unwrap_or_default());
                row.push(placement.is_some_and(|placement| placement.maintenance).to_string());
            }
            row
        };
        self.list.members.iter().map(row)
    }
}

/// A member with what is known beyond etcd's.
fn placed_json(member: &Member, placement: Option<&MemberPlacement>) -> Json {
    let object = Json::object().merge(member_json(member));
    match placement {
        Some(placement) => {
            object.some("labels", labels_json(placement)).some("maintenance", placement.maintenance).done()
        }
        None => object.done(),
    }
}

fn member_json(member: &Member) -> Json {
    Json::object()
        .some("ID", member.id)
        .some("name", &member.name)
        .some("peerURLs", member.peer_ur_ls.as_slice())
        .some("clientURLs", member.client_ur_ls.as_slice())
        .some("isLearner", member.is_learner)
        .done()
}

/// The answer to a change of the members.
pub(crate) struct MemberChange {
    /// The member that was changed.
    pub(crate) id: u64,
    /// `added to` the cluster, and so on.
    pub(crate) what: &'static str,
    pub(crate) header: Option<ResponseHeader>,
    /// After an addition.
    pub(crate) member: Option<Member>,
    pub(crate) members: Vec<Member>,
}

impl MemberChange {
    /// What the new member is started with: variables that `conclave` and etcd read, as etcdctl
    /// prints them.
    pub(crate) fn settings(&self, name: &str) -> String {
        let named = |member: &Member| if member.id == self.id { name.to_owned() } else { member.name.clone() };
        let pairs = self.members.iter().flat_map(|member| {
            let name = named(member);
            member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
        });
        let cluster = pairs.collect::<Vec<_>>().join(",");
        let urls = self.member.iter().flat_map(|member| member.peer_ur_ls.clone()).collect::<Vec<_>>().join(",");
        format!(
            "ETCD_NAME=\"{name}\"\nETCD_INITIAL_CLUSTER=\"{cluster}\"\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"{urls}\"\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        )
    }
}

impl Show for MemberChange {
    fn has_ids(&self) -> bool {
        true
    }

    fn simple(&self, text: &mut Text) {
        let cluster = self.header.unwrap_or_default().cluster_id;
        text.line(format!("Member {:16x} {} cluster {cluster:16x}", self.id, self.what));
    }

    fn json(&self) -> Json {
        let object = Json::object().with("header", header_json(self.header.as_ref()));
        let object = match &self.member {
            Some(member) => object.with("member", member_json(member)),
            None => object,
        };
        object.some("members", Json::list(&self.members, member_json)).done()
    }
}

impl Show for Members<'_> {
    fn has_ids(&self) -> bool {
        true
    }

    fn simple(&self, text: &mut Text) {
        self.rows().for_each(|row| text.line(row.join(", ")));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.list.header.as_ref()))
            .some("members", Json::list(&self.list.members, |member| placed_json(member, self.placement(member))))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.list.header.as_ref());
        for member in &self.list.members {
            fields.plain("ID", member.id);
            fields.quoted("Name", &member.name);
            member.peer_ur_ls.iter().for_each(|url| fields.quoted("PeerURL", url));
            member.client_ur_ls.iter().for_each(|url| fields.quoted("ClientURL", url));
            fields.plain("IsLearner", member.is_learner);
            if let Some(placement) = self.placement(member).filter(|_| self.is_placed()) {
                labels(placement).iter().for_each(|label| fields.quoted("Label", label));
                fields.plain("Maintenance", placement.maintenance);
            }
            fields.gap();
        }
    }

    fn table(&self) -> Option<Table> {
        let etcds = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
        let more = ["LABELS", "MAINTENANCE"].into_iter().filter(|_| self.is_placed());
        let mut table = Table::new(etcds.into_iter().chain(more));
        self.rows().for_each(|row| table.row(row));
        Some(table)
    }
}

impl Statuses<'_> {
    fn rows(&self) -> impl Iterator<Item = [String; 10]> {
        let row = |StatusOf { endpoint, status }: &StatusOf| {
            let member = status.header.unwrap_or_default().member_id;
            [
                endpoint.clone(),
                id(member),
                status.version.clone(),
                human::size(u64::try_from(status.db_size).unwrap_or(0)),
                (status.leader == member).to_string(),
                status.is_learner.to_string(),
                status.raft_term.to_string(),
                status.raft_index.to_string(),
                status.raft_applied_index.to_string(),
                status.errors.join(", "),
            ]
        };
        self.0.iter().map(row)
    }
}

impl Show for Statuses<'_> {
    fn has_ids(&self) -> bool {
        true
    }

    fn simple(&self, text: &mut Text) {
        self.rows().for_each(|row| text.line(row.join(", ")));
    }

    fn json(&self) -> Json {
        let one = |StatusOf { endpoint, status }: &StatusOf| {
            let status = Json::object()
                .with("header", header_json(status.header.as_ref()))
                .some("version", &status.version)
                .some("dbSize", status.db_size)
                .some("leader", status.leader)
                .some("raftIndex", status.raft_index)
                .some("raftTerm", status.raft_term)
                .some("raftAppliedIndex", status.raft_applied_index)
                .some("errors", status.errors.as_slice())
                .some("dbSizeInUse", status.db_size_in_use)
                .some("isLearner", status.is_learner)
                .done();
            Json::object().with("Endpoint", endpoint).with("Status", status).done()
        };
        Json::list(self.0, one)
    }

    fn fields(&self, fields: &mut Fields) {
        for StatusOf { endpoint, status } in self.0 {
            header_fields(fields, status.header.as_ref());
            fields.quoted("Version", &status.version);
            fields.plain("DBSize", status.db_size);
            fields.plain("Leader", status.leader);
            fields.plain("IsLearner", status.is_learner);
            fields.plain("RaftIndex", status.raft_index);
            fields.plain("RaftTerm", status.raft_term);
            fields.plain("RaftAppliedIndex", status.raft_applied_index);
            fields.plain("Errors", format_args!("[{}]", status.errors.join(" ")));
            fields.quoted("Endpoint", endpoint);
            fields.gap();
        }
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new([
            "ENDPOINT",
            "ID",
            "VERSION",
            "DB SIZE",
            "IS LEADER",
            "IS LEARNER",
            "RAFT TERM",
            "RAFT INDEX",
            "RAFT APPLIED INDEX",
            "ERRORS",
        ]);
        self.rows().for_each(|row| table.row(row));
        Some(table)
    }
}

impl Show for Health<'_> {
    fn simple(&self, text: &mut Text) {
        for one in self.0 {
            let took = human::go_duration(one.took);
            text.line(match &one.error {
                None => format!("{} is healthy: successfully committed proposal: took = {took}", one.endpoint),
                Some(error) => format!("{} is unhealthy: failed to commit proposal: {error}", one.endpoint),
            });
        }
    }

    fn json(&self) -> Json {
        let one = |one: &HealthOf| {
            Json::object()
                .with("endpoint", &one.endpoint)
                .with("health", one.error.is_none())
                .with("took", human::go_duration(one.took))
                .some("error", one.error.as_deref().unwrap_or_default())
                .done()
        };
        Json::list(self.0, one)
    }

    fn fields(&self, fields: &mut Fields) {
        for one in self.0 {
            fields.quoted("Endpoint", &one.endpoint);
            fields.plain("Health", one.error.is_none());
            fields.plain("Took", human::go_duration(one.took));
            fields.plain("Error", one.error.as_deref().unwrap_or_default());
            fields.gap();
        }
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["ENDPOINT", "HEALTH", "TOOK", "ERROR"]);
        for one in self.0 {
            let error = one.error.clone().unwrap_or_default();
            table.row([one.endpoint.clone(), one.error.is_none().to_string(), human::go_duration(one.took), error]);
        }
        Some(table)
    }
}

impl Show for Hashes<'_> {
    fn simple(&self, text: &mut Text) {
        self.0.iter().for_each(|one| text.line(format!("{}, {}", one.endpoint, one.hash.hash)));
    }

    fn json(&self) -> Json {
        let one = |one: &HashOf| {
            let hash = Json::object()
                .with("header", header_json(one.hash.header.as_ref()))
                .some("hash", one.hash.hash)
                .some("compact_revision", one.hash.compact_revision)
                .done();
            Json::object().with("Endpoint", &one.endpoint).with("HashKV", hash).done()
        };
        Json::list(self.0, one)
    }

    fn fields(&self, fields: &mut Fields) {
        for one in self.0 {
            header_fields(fields, one.hash.header.as_ref());
            fields.quoted("Endpoint", &one.endpoint);
            fields.plain("Hash", one.hash.hash);
            fields.gap();
        }
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["ENDPOINT", "HASH"]);
        self.0.iter().for_each(|one| table.row([one.endpoint.clone(), one.hash.hash.to_string()]));
        Some(table)
    }
}

/// The name on the wire.
fn alarm(member: &AlarmMember) -> &'static str {
    member.alarm().as_str_name()
}

impl Show for Alarms<'_> {
    fn has_ids(&self) -> bool {
        true
    }

    fn simple(&self, text: &mut Text) {
        for member in &self.0.alarms {
            // The blank at the end is etcdctl's.
            text.line(format!("memberID:{} alarm:{} ", member.member_id, alarm(member)));
        }
    }

    fn json(&self) -> Json {
        let one =
            |member: &AlarmMember| Json::object().some("memberID", member.member_id).some("alarm", member.alarm).done();
        Json::object()
            .some("header", self.0.header.as_ref().map(|header| header_json(Some(header))))
            .some("alarms", Json::list(&self.0.alarms, one))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        for member in &self.0.alarms {
            fields.plain("MemberID", member.member_id);
            fields.plain("AlarmType", AlarmType::as_str_name(&member.alarm()));
            fields.gap();
        }
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["MEMBER", "ALARM"]);
        self.0.alarms.iter().for_each(|member| table.row([id(member.member_id), alarm(member).to_owned()]));
        Some(table)
    }
}
