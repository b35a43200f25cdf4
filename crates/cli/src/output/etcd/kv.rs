//! `put`, `get`, `del`.

use crate::output::{Fields, Json, Show, Table, Text, header_fields, header_json, human, quote};
use conclave_client::api::{
    etcdserverpb::{DeleteRangeResponse, PutResponse, RangeResponse},
    mvccpb::KeyValue,
};
use prost::Message as _;

/// The answer to `get`.
pub(crate) struct Got<'a> {
    pub(crate) response: &'a RangeResponse,
    pub(crate) keys_only: bool,
    pub(crate) value_only: bool,
    pub(crate) count_only: bool,
}

/// The answer to `put`.
pub(crate) struct Put<'a>(pub(crate) &'a PutResponse);

/// The answer to `del`.
pub(crate) struct Deleted<'a>(pub(crate) &'a DeleteRangeResponse);

impl Show for Got<'_> {
    fn simple(&self, text: &mut Text) {
        if self.count_only {
            return text.line(self.response.count.to_string());
        }
        for kv in &self.response.kvs {
            if !self.value_only {
                text.value(&kv.key);
            }
            if !self.keys_only || self.value_only {
                text.value(&kv.value);
            } else {
                text.line("");
            }
        }
    }

    fn json(&self) -> Json {
        let response = self.response;
        Json::object()
            .with("header", header_json(response.header.as_ref()))
            .some("kvs", Json::list(&response.kvs, kv_json))
            .some("more", response.more)
            .some("count", response.count)
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.response.header.as_ref());
        self.response.kvs.iter().for_each(|kv| kv_fields(fields, "", kv));
        fields.plain("More", self.response.more);
        fields.plain("Count", self.response.count);
    }

    fn table(&self) -> Option<Table> {
        Some(kv_table(&self.response.kvs))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Show for Put<'_> {
    fn simple(&self, text: &mut Text) {
        text.line("OK");
        self.0.prev_kv.iter().for_each(|kv| kv_simple(text, kv));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .some("prev_kv", self.0.prev_kv.as_ref().map(kv_json))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        self.0.prev_kv.iter().for_each(|kv| kv_fields(fields, "Prev", kv));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.0.encode_to_vec())
    }
}

impl Show for Deleted<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(self.0.deleted.to_string());
        self.0.prev_kvs.iter().for_each(|kv| kv_simple(text, kv));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .some("deleted", self.0.deleted)
            .some("prev_kvs", Json::list(&self.0.prev_kvs, kv_json))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        fields.plain("Deleted", self.0.deleted);
        self.0.prev_kvs.iter().for_each(|kv| kv_fields(fields, "Prev", kv));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.0.encode_to_vec())
    }
}

/// Key and value, a line each.
pub(super) fn kv_simple(text: &mut Text, kv: &KeyValue) {
    text.value(&kv.key);
    text.value(&kv.value);
}

pub(super) fn kv_json(kv: &KeyValue) -> Json {
    Json::object()
        .some("key", Json::bytes(&kv.key))
        .some("create_revision", kv.create_revision)
        .some("mod_revision", kv.mod_revision)
        .some("version", kv.version)
        .some("value", Json::bytes(&kv.value))
        .some("lease", kv.lease)
        .done()
}

pub(super) fn kv_fields(fields: &mut Fields, prefix: &str, kv: &KeyValue) {
    fields.quoted(&format!("{prefix}Key"), &kv.key);
    fields.plain(&format!("{prefix}CreateRevision"), kv.create_revision);
    fields.plain(&format!("{prefix}ModRevision"), kv.mod_revision);
    fields.plain(&format!("{prefix}Version"), kv.version);
    fields.quoted(&format!("{prefix}Value"), &kv.value);
    fields.plain(&format!("{prefix}Lease"), kv.lease);
}

fn kv_table(kvs: &[KeyValue]) -> Table {
    let mut table = Table::new(["KEY", "VALUE", "CREATED", "MODIFIED", "VERSION", "LEASE"]);
    for kv in kvs {
        table.row([
            quote::readable(&kv.key),
            quote::readable(&kv.value),
            kv.create_revision.to_string(),
            kv.mod_revision.to_string(),
            kv.version.to_string(),
            human::lease_or_dash(kv.lease),
        ]);
    }
    table
}
