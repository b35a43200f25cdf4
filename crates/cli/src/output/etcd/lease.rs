//! `lease`.

use crate::output::{Fields, Json, Show, Table, Text, header_fields, header_json, human};
use conclave_client::api::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse,
};

/// The answer to `lease grant`.
pub(crate) struct Granted<'a>(pub(crate) &'a LeaseGrantResponse);

/// The answer to `lease revoke`.
pub(crate) struct Revoked<'a>(pub(crate) i64, pub(crate) &'a LeaseRevokeResponse);

/// The answer to `lease timetolive`.
pub(crate) struct TimeToLive<'a> {
    pub(crate) response: &'a LeaseTimeToLiveResponse,
    pub(crate) keys: bool,
}

/// The answer to `lease list`.
pub(crate) struct Leases<'a>(pub(crate) &'a LeaseLeasesResponse);

/// One answer to `lease keep-alive`.
pub(crate) struct KeptAlive<'a>(pub(crate) &'a LeaseKeepAliveResponse);

impl Show for Granted<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("lease {} granted with TTL({}s)", human::lease(self.0.id), self.0.ttl));
    }

    fn json(&self) -> Json {
        let header = header_json(self.0.header.as_ref());
        Json::object().merge(header).with("ID", self.0.id).with("TTL", self.0.ttl).with("Error", &self.0.error).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        fields.plain("ID", self.0.id);
        fields.plain("TTL", self.0.ttl);
    }
}

impl Show for Revoked<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("lease {} revoked", human::lease(self.0)));
    }

    fn json(&self) -> Json {
        Json::object().with("header", header_json(self.1.header.as_ref())).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.1.header.as_ref());
    }
}

impl Show for TimeToLive<'_> {
    fn simple(&self, text: &mut Text) {
        let lease = self.response;
        let id = human::lease(lease.id);
        if lease.granted_ttl == 0 && lease.ttl == -1 {
            return text.line(format!("lease {id} already expired"));
        }
        let mut line = format!("lease {id} granted with TTL({}s), remaining({}s)", lease.granted_ttl, lease.ttl);
        if self.keys {
            let keys: Vec<_> = lease.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
            line += &format!(", attached keys([{}])", keys.join(" "));
        }
        text.line(line);
    }

    fn json(&self) -> Json {
        let lease = self.response;
        let keys = if lease.keys.is_empty() { Json::Null } else { Json::list(&lease.keys, |key| Json::bytes(key)) };
        Json::object()
            .merge(header_json(lease.header.as_ref()))
            .with("id", lease.id)
            .with("ttl", lease.ttl)
            .with("granted-ttl", lease.granted_ttl)
            .with("keys", keys)
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.response.header.as_ref());
        fields.plain("ID", self.response.id);
        fields.plain("TTL", self.response.ttl);
        fields.plain("GrantedTTL", self.response.granted_ttl);
        self.response.keys.iter().for_each(|key| fields.quoted("Key", key));
    }
}

impl Show for Leases<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("found {} leases", self.0.leases.len()));
        self.0.leases.iter().for_each(|lease| text.line(human::lease(lease.id)));
    }

    fn json(&self) -> Json {
        Json::object()
            .merge(header_json(self.0.header.as_ref()))
            .with("leases", Json::list(&self.0.leases, |lease| Json::object().with("id", lease.id).done()))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        self.0.leases.iter().for_each(|lease| fields.plain("ID", lease.id));
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["LEASE"]);
        self.0.leases.iter().for_each(|lease| table.row([human::lease(lease.id)]));
        Some(table)
    }
}

impl Show for KeptAlive<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("lease {} keepalived with TTL({})", human::lease(self.0.id), self.0.ttl));
    }

    fn json(&self) -> Json {
        let header = header_json(self.0.header.as_ref());
        Json::object().merge(header).with("ID", self.0.id).with("TTL", self.0.ttl).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        fields.plain("ID", self.0.id);
        fields.plain("TTL", self.0.ttl);
    }
}
