//! `watch`.

use super::kv::{kv_fields, kv_json, kv_simple};
use crate::output::{Fields, Json, Show, Table, Text, header_fields, header_json, quote};
use conclave_client::api::{
    etcdserverpb::WatchResponse,
    mvccpb::{Event, event::EventType},
};
use prost::Message as _;

/// One message of a watch.
pub(crate) struct Watched<'a>(pub(crate) &'a WatchResponse);

/// `PUT` or `DELETE`.
pub(crate) fn kind(event: &Event) -> &'static str {
    if event.r#type() == EventType::Put { "PUT" } else { "DELETE" }
}

impl Show for Watched<'_> {
    fn simple(&self, text: &mut Text) {
        for event in &self.0.events {
            text.line(kind(event));
            event.prev_kv.iter().chain(&event.kv).for_each(|kv| kv_simple(text, kv));
        }
    }

    fn json(&self) -> Json {
        let event = |event: &Event| {
            Json::object()
                .some("type", event.r#type)
                .some("kv", event.kv.as_ref().map(kv_json))
                .some("prev_kv", event.prev_kv.as_ref().map(kv_json))
                .done()
        };
        let response = self.0;
        Json::object()
            .with("Header", header_json(response.header.as_ref()))
            .with("Events", Json::list(&response.events, event))
            .with("CompactRevision", response.compact_revision)
            .with("Canceled", response.canceled)
            .with("Created", response.created)
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        for event in &self.0.events {
            fields.plain("Type", kind(event));
            event.prev_kv.iter().for_each(|kv| kv_fields(fields, "Prev", kv));
            event.kv.iter().for_each(|kv| kv_fields(fields, "", kv));
        }
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["EVENT", "KEY", "VALUE", "REVISION"]);
        for event in &self.0.events {
            let kv = event.kv.clone().unwrap_or_default();
            let row = [
                kind(event).to_owned(),
                quote::readable(&kv.key),
                quote::readable(&kv.value),
                kv.mod_revision.to_string(),
            ];
            table.row(row);
        }
        Some(table)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.0.encode_to_vec())
    }
}
