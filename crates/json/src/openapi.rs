//! The paths and messages as an OpenAPI document, from the same descriptors.

use crate::paths;
use crate::schema::{Field, Kind, Method, SCHEMA};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Where the document is.
pub const OPENAPI_PATH: &str = "/conclave/v1/openapi.json";

/// The document, made once.
#[must_use]
pub fn openapi() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    DOCUMENT.clone()
}

fn document() -> Value {
    let mut used = BTreeSet::new();
    let mut paths = Map::new();
    for (path, method) in paths::all() {
        reach(method.input, &mut used);
        reach(method.output, &mut used);
        paths.insert(path.clone(), json!({ "post": operation(&path, method) }));
    }
    let schemas: Map<String, Value> = used.into_iter().map(|of| (name(of).to_owned(), schema(of))).collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Conclave",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "etcd's v3 API and conclave.v1 as JSON. Values of the format byte are base64, or text with ?utf8=true.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// The messages that a message is made of, itself among them.
fn reach(message: usize, used: &mut BTreeSet<usize>) {
    let of = &SCHEMA.messages[message];
    if !of.is_entry && !used.insert(message) {
        return;
    }
    for field in &of.fields {
        if let Kind::Message(part) = field.kind {
            reach(part, used);
        }
    }
}

fn name(message: usize) -> &'static str {
    &SCHEMA.messages[message].name
}

fn reference(message: usize) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", name(message)) })
}

fn operation(path: &str, method: &Method) -> Value {
    let answer = match method.server_streams {
        false => reference(method.output),
        true => json!({
            "type": "object",
            "description": "one line for each answer",
            "properties": { "result": reference(method.output), "error": { "type": "object" } },
        }),
    };
    let utf8 = json!({
        "name": "utf8", "in": "query", "schema": { "type": "boolean" }, "description": "bytes are text instead of base64",
    });
    let refusal = json!({
        "type": "object",
        "properties": {
            "code": { "type": "integer", "description": "of gRPC" },
            "message": { "type": "string" },
            "error": { "type": "string" },
        },
    });
    json!({
        "operationId": path.trim_matches('/').replace(['/', '-'], "_"),
        "summary": method.path.trim_start_matches('/'),
        "tags": [method.path.trim_start_matches('/').split('/').next()],
        "parameters": [utf8],
        "requestBody": { "content": { "application/json": { "schema": reference(method.input) } } },
        "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": answer } } },
            "default": { "description": "refused", "content": { "application/json": { "schema": refusal } } },
        },
    })
}

fn schema(message: usize) -> Value {
    let properties = SCHEMA.messages[message].fields.iter().map(|field| (field.name.clone(), property(field)));
    json!({ "type": "object", "properties": Map::from_iter(properties) })
}

fn property(field: &Field) -> Value {
    let value = match field.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 | Kind::Uint32 => json!({ "type": "integer", "format": field.kind.name() }),
        Kind::Int64 | Kind::Sint64 => json!({ "type": "string", "format": "int64" }),
        Kind::Uint64 => json!({ "type": "string", "format": "uint64" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Enum(of) => {
            let names: Vec<&String> = SCHEMA.enums[of].values.iter().map(|(name, _)| name).collect();
            json!({ "type": "string", "enum": names })
        }
        Kind::Message(of) if SCHEMA.messages[of].is_entry => {
            let value = property(&SCHEMA.messages[of].fields[1]);
            return json!({ "type": "object", "additionalProperties": value });
        }
        Kind::Message(of) => reference(of),
    };
    if field.repeated { json!({ "type": "array", "items": value }) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference in the document, wherever it stands.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                Value::String(to) if name == "$ref" => drop(found.insert(to.clone())),
                _ => references(value, found),
            }),
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_complete() {
        let document: Value = serde_json::from_slice(&openapi()).expect("JSON");
        assert_eq!(document["paths"].as_object().map(Map::len), Some(paths::all().count()));
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a schema");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let put = &document["components"]["schemas"]["etcdserverpb.PutRequest"]["properties"];
        assert_eq!((&put["key"]["format"], &put["lease"]["type"]), (&json!("byte"), &json!("string")));
        let enter = &document["components"]["schemas"]["conclave.v1.EnterRequest"]["properties"];
        assert_eq!(enter["labels"]["additionalProperties"]["type"], "string");
    }
}
