//! The fields format: one `"Name" : value` a line.

use super::{Json, Show, Table, quote};
use std::fmt::Display;

/// Lines that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A number or a flag, as it prints.
    pub(crate) fn plain(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// A byte string or a text, quoted.
    pub(crate) fn quoted(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), quote::go(value.as_ref())));
    }

    /// An empty line, which ends a group.
    pub(crate) fn gap(&mut self) {
        self.0.push((String::new(), String::new()));
    }

    /// Every member of a JSON value under its path, such as `term.leader` or `candidates.0.id`.
    pub(crate) fn flatten(&mut self, json: &Json) {
        self.flatten_at("", json);
    }

    fn flatten_at(&mut self, path: &str, json: &Json) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match json {
            Json::Object(members) => members.iter().for_each(|(name, value)| self.flatten_at(&below(name), value)),
            Json::Map(members) => members.iter().for_each(|(name, value)| self.flatten_at(&below(name), value)),
            Json::List(items) => {
                items.iter().enumerate().for_each(|(i, item)| self.flatten_at(&below(&i.to_string()), item));
            }
            Json::Text(text) => self.quoted(path, text),
            Json::Null => self.plain(path, ""),
            Json::Bool(value) => self.plain(path, value),
            Json::Int(value) => self.plain(path, value),
            Json::UInt(value) => self.plain(path, value),
        }
    }

    pub(crate) fn into_text(self) -> String {
        let line = |(name, value): (String, String)| {
            if name.is_empty() { "\n".to_owned() } else { format!("\"{name}\" : {value}\n") }
        };
        self.0.into_iter().map(line).collect()
    }
}

/// What has no rows of its own, as a table of its fields.
pub(super) fn table(item: &impl Show) -> Table {
    let mut fields = Fields::default();
    item.fields(&mut fields);
    let mut table = Table::new(["FIELD", "VALUE"]);
    fields.0.into_iter().filter(|(name, _)| !name.is_empty()).for_each(|(name, value)| table.row([name, value]));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_their_path() {
        let inner = Json::object().with("leader", "a").done();
        let json = Json::object().with("term", inner).with("names", vec![Json::from("x"), Json::from("y")]).done();
        let mut fields = Fields::default();
        fields.flatten(&json);
        let expected = "\"term.leader\" : \"a\"\n\"names.0\" : \"x\"\n\"names.1\" : \"y\"\n";
        assert_eq!(fields.into_text(), expected);
    }
}
