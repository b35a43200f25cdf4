//! `txn`.

use super::kv::{Deleted, Got, Put};
use crate::output::{Fields, Json, Show, Text, header_fields, header_json};
use conclave_client::api::etcdserverpb::{TxnResponse, response_op::Response};
use prost::Message as _;

/// The answer to `txn`.
pub(crate) struct Txn<'a>(pub(crate) &'a TxnResponse);

impl Txn<'_> {
    fn answers(&self) -> impl Iterator<Item = &Response> {
        self.0.responses.iter().filter_map(|op| op.response.as_ref())
    }
}

/// What an operation in a transaction gave, as the command of its own shows it.
fn with<R>(response: &Response, show: impl FnOnce(&dyn Shown) -> R) -> R {
    match response {
        Response::ResponseRange(response) => {
            show(&Got { response, keys_only: false, value_only: false, count_only: false })
        }
        Response::ResponsePut(response) => show(&Put(response)),
        Response::ResponseDeleteRange(response) => show(&Deleted(response)),
        Response::ResponseTxn(response) => show(&Txn(response)),
    }
}

/// The formats that nest.
trait Shown {
    fn simple(&self, text: &mut Text);
    fn json(&self) -> Json;
    fn fields(&self, fields: &mut Fields);
}

impl<T: Show> Shown for T {
    fn simple(&self, text: &mut Text) {
        Show::simple(self, text);
    }

    fn json(&self) -> Json {
        Show::json(self)
    }

    fn fields(&self, fields: &mut Fields) {
        Show::fields(self, fields);
    }
}

impl Show for Txn<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(if self.0.succeeded { "SUCCESS" } else { "FAILURE" });
        for answer in self.answers() {
            text.line("");
            with(answer, |shown| shown.simple(text));
        }
    }

    fn json(&self) -> Json {
        let wrap = |answer: &Response| {
            let name = match answer {
                Response::ResponseRange(_) => "ResponseRange",
                Response::ResponsePut(_) => "ResponsePut",
                Response::ResponseDeleteRange(_) => "ResponseDeleteRange",
                Response::ResponseTxn(_) => "ResponseTxn",
            };
            let inner = Json::object().with(name, with(answer, |shown| shown.json())).done();
            Json::object().with("Response", inner).done()
        };
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .some("succeeded", self.0.succeeded)
            .some("responses", Json::list(self.answers(), wrap))
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        fields.plain("Succeeded", self.0.succeeded);
        self.answers().for_each(|answer| with(answer, |shown| shown.fields(fields)));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.0.encode_to_vec())
    }
}
