//! EDN, Jepsen's notation: `{:index 3, :type :invoke, :process 4, :f :kv, :value {:op :get, :key
//! "a"}, :time 12}`.
//!
//! Made from the JSON of a record: names become keywords, and so do the words that stand for one of
//! a few (`type`, `f`, `op`, `is`). Lines that Jepsen has no word for (events, faults, facts)
//! become `:info`, as its nemesis operations are.

use super::Record;
use serde_json::Value;
use std::fmt::Write;

/// One record as EDN.
#[must_use]
pub fn to_edn(record: &Record) -> String {
    let mut text = String::new();
    let value = serde_json::to_value(record).unwrap_or(Value::Null);
    write_value(&mut text, "", &value);
    text
}

fn write_value(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => write_display(text, value),
        Value::String(word) => match name {
            "type" if !matches!(word.as_str(), "invoke" | "ok" | "fail" | "info") => text.push_str(":info"),
            "type" | "f" | "op" | "is" | "stage" | "process" => write_display(text, format_args!(":{word}")),
            _ => write_display(text, value),
        },
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                write_value(text, "", item);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (i, (name, value)) in fields.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                write_name(text, name);
                text.push(' ');
                write_value(text, name, value);
            }
            text.push('}');
        }
    }
}

/// A keyword where the name is a word; else (an effect's `dropped packets`) a string.
fn write_name(text: &mut String, name: &str) {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        write_display(text, format_args!(":{}", name.replace('_', "-")));
    } else {
        write_display(text, format_args!("{name:?}"));
    }
}

fn write_display(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
}
