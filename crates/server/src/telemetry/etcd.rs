//! JSON with the keys of etcd's logs (zap): level, ts, caller, msg, and the fields.

use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) struct Format;

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let mut now = String::new();
        SystemTime.format_time(&mut Writer::new(&mut now))?;
        let mut record = Record::default();
        event.record(&mut record);
        let caller = meta.file().map_or_else(String::new, |file| {
            // The crate's folder and what is below, as Go has it.
            let file = file.trim_start_matches("crates/").replacen("/src/", "/", 1);
            format!("{file}:{}", meta.line().unwrap_or_default())
        });
        let head =
            [("level", level(*meta.level()).to_owned()), ("ts", now), ("caller", caller), ("msg", record.message)];
        let head = head.map(|(key, value)| format!("\"{key}\":{}", Value::String(value)));
        write!(writer, "{{{}", head.join(","))?;
        for (key, value) in &record.fields {
            write!(writer, ",{}:{value}", Value::String(key.clone()))?;
        }
        writeln!(writer, "}}")
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

#[derive(Default)]
struct Record {
    message: String,
    fields: Map<String, Value>,
}

impl Record {
    fn add(&mut self, field: &Field, value: Value) {
        // etcd's names are written with dashes.
        self.fields.insert(field.name().replace('_', "-"), value);
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}").into()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value.into()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_keys_are_those_of_etcd() {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::fmt().event_format(Format).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(member_id = %"a\"b", number = 5, "it {}", "happened");
        });
        let text = String::from_utf8(page.0.lock().expect("not poisoned").clone()).expect("text");
        assert!(text.starts_with("{\"level\":\"warn\",\"ts\":\"") && text.ends_with("}\n"), "{text}");
        let record: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&record["msg"], &record["member-id"], &record["number"]),
            (&"it happened".into(), &"a\"b".into(), &5.into())
        );
        assert!(record["caller"].as_str().expect("text").starts_with("server/telemetry/etcd.rs:"), "{text}");
    }
}
