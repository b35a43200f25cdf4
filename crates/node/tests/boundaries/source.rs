//! Reads a Rust source file as far as its imports need it: what it declares, what it imports, and
//! which paths it names. Comments, literals and what is compiled for tests alone are left out.

use std::collections::BTreeSet;

/// The parts of a path, `["crate", "keeper", "Id"]`.
pub(crate) type Names = Vec<String>;

/// One import: `use path as name`, or `use path::*` without a name.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) path: Names,
    pub(crate) name: Option<String>,
    /// `pub use`, `pub(crate) use`: for other files.
    pub(crate) passed_on: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) imports: Vec<Import>,
    /// Paths outside `use`, in the order of the text.
    pub(crate) named: Vec<Names>,
    /// The modules with a file of their own, tests left out.
    pub(crate) modules: BTreeSet<String>,
    /// The items that the file defines.
    pub(crate) defined: BTreeSet<String>,
}

const DEFINING: [&str; 9] = ["struct", "enum", "trait", "fn", "const", "static", "type", "union", "macro_rules"];

impl Source {
    pub(crate) fn read(text: &str) -> Source {
        let tokens = without_tests(tokens(text));
        let mut source = Source::default();
        let mut at = 0;
        while at < tokens.len() {
            let word = tokens[at].as_str();
            let next = tokens.get(at + 1).map_or("", String::as_str);
            if word == "use" {
                let passed_on = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
                at = source.import(&tokens, at + 1, &[], passed_on);
            } else if word == "mod" && tokens.get(at + 2).is_some_and(|token| token == ";") {
                source.modules.insert(next.to_owned());
                at += 3;
            } else if DEFINING.contains(&word) {
                let name = tokens[at + 1..].iter().find(|token| *token != "!" && *token != "mut");
                source.defined.extend(name.cloned());
                at += 1;
            } else if is_name(word) && next == "::" {
                let (path, end) = path(&tokens, at);
                source.named.push(path);
                at = end;
            } else {
                at += 1;
            }
        }
        source
    }

    /// Reads one tree of imports that begins at `at`; answers where it ends.
    fn import(&mut self, tokens: &[String], at: usize, before: &[String], passed_on: bool) -> usize {
        let (path, mut at) = path(tokens, at);
        let mut path = [before, &path].concat();
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = if tokens[at] == "," { at + 1 } else { self.import(tokens, at, &path, passed_on) };
                }
                return at + 1;
            }
            Some("*") => {
                self.imports.push(Import { path, name: None, passed_on });
                return at + 1;
            }
            _ => {}
        }
        if path.last().is_some_and(|name| name == "self") && path.len() > 1 {
            path.pop();
        }
        let mut name = path.last().cloned();
        if tokens.get(at).is_some_and(|token| token == "as") {
            name = tokens.get(at + 1).cloned();
            at += 2;
        }
        self.imports.push(Import { path, name, passed_on });
        at
    }
}

/// The path that begins at `at`, and where it ends.
fn path(tokens: &[String], mut at: usize) -> (Names, usize) {
    let mut path = Names::new();
    while at < tokens.len() {
        if is_name(&tokens[at]) {
            path.push(tokens[at].clone());
            at += 1;
        }
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
        if !tokens.get(at).is_some_and(|token| is_name(token)) {
            break;
        }
    }
    (path, at)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and other characters one by one.
fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let begin = at;
        if starts(at, "//") {
            at = end_of(&text, at, |c| c == '\n');
        } else if text[at] == '"' {
            at = end_of_literal(&text, at + 1, '"');
        } else if let Some(hashes) = raw_string(&text, at) {
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < text.len() && !starts(at, &close) {
                at += 1;
            }
            at += close.len();
        } else if text[at] == '\'' {
            // A lifetime has no second quote.
            let literal = text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'');
            at = if literal { end_of_literal(&text, at + 1, '\'') } else { at + 1 };
        } else if is_name(&text[at].to_string()) {
            at = end_of(&text, at, |c| !c.is_alphanumeric() && c != '_');
            tokens.push(text[begin..at].iter().collect());
        } else if starts(at, "::") {
            at += 2;
            tokens.push("::".to_owned());
        } else {
            if !text[at].is_whitespace() {
                tokens.push(text[at].to_string());
            }
            at += 1;
        }
    }
    tokens
}

fn end_of(text: &[char], at: usize, ends: impl Fn(char) -> bool) -> usize {
    text[at..].iter().position(|c| ends(*c)).map_or(text.len(), |length| at + length)
}

fn end_of_literal(text: &[char], mut at: usize, quote: char) -> usize {
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"`, `r#"`, `br"` …: how many `#` it has. The position is that of the `r`.
fn raw_string(text: &[char], at: usize) -> Option<usize> {
    let before_is_name = at > 0 && (text[at - 1].is_alphanumeric() && text[at - 1] != 'b' || text[at - 1] == '_');
    if text[at] != 'r' || before_is_name {
        return None;
    }
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    (text.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Drops every item under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let attribute: String = tokens[at..].iter().take(7).map(String::as_str).collect();
        if attribute.starts_with("#[cfg(test)") || attribute.starts_with("#[cfg(all(test") {
            at = end_of_item(&tokens, end_of_group(&tokens, at + 1));
        } else {
            left.push(tokens[at].clone());
            at += 1;
        }
    }
    left
}

/// The end of the item at `at`: a semicolon or comma, or a group in braces.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" | "," => return at + 1,
            "{" => return end_of_group(tokens, at),
            "(" | "[" => at = end_of_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// The end of the group that opens at `at`.
fn end_of_group(tokens: &[String], mut at: usize) -> usize {
    let mut open = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open -= 1,
            _ => {}
        }
        at += 1;
        if open == 0 {
            break;
        }
    }
    at
}
