//! Manual pages: one a command, put together from its help.

use crate::exit;
use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// A page and the name of its file.
pub(super) struct Page {
    pub(super) file: String,
    pub(super) text: String,
}

/// The pages of a command and all that are below it.
pub(super) fn all(command: Command) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    below(&command, None, &mut pages);
    pages
}

fn below(command: &Command, parent: Option<&str>, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push(Page { file: format!("{name}.1"), text: page(command, name, parent) });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        below(sub, Some(name), pages);
    }
}

fn page(command: &Command, name: &str, parent: Option<&str>) -> String {
    let source = format!("conclavectl {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(source).manual("Conclave");
    let mut text = Vec::new();
    let mut render = |part: &dyn Fn(&Man, &mut Vec<u8>) -> std::io::Result<()>| {
        // Writing to memory does not fail.
        drop(part(&man, &mut text));
    };
    render(&|man, text| man.render_title(text));
    render(&|man, text| man.render_name_section(text));
    render(&|_, text| section("SYNOPSIS", &synopsis(command)).to_writer(text));
    render(&|man, text| man.render_description_section(text));
    if command.has_subcommands() {
        render(&|man, text| man.render_subcommands_section(text));
    }
    render(&|man, text| man.render_options_section(text));
    let more = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let (examples, notes) = split(&more);
    render(&|_, text| section("NOTES", &notes).to_writer(text));
    render(&|_, text| section("EXAMPLES", &examples).to_writer(text));
    render(&|_, text| section("EXIT STATUS", exit::TABLE).to_writer(text));
    render(&|_, text| section("SEE ALSO", &see_also(command, parent)).to_writer(text));
    String::from_utf8_lossy(&text).into_owned()
}

/// Lines that stand as they are; nothing if there are none.
fn section(title: &str, lines: &str) -> Roff {
    let mut roff = Roff::new();
    if !lines.is_empty() {
        roff.control("SH", [title]).control("EX", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
    }
    roff
}

/// How it is called, with the values that its options take.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.lines().map(|line| line.trim_start_matches("Usage:").trim()).collect::<Vec<_>>().join("\n")
}

/// The examples of a help text, and the rest of it. Examples are the lines below their title that
/// are indented.
fn split(help: &str) -> (String, String) {
    let (mut examples, mut notes) = (Vec::new(), Vec::new());
    let mut in_examples = false;
    for line in help.lines() {
        if line.starts_with("Example") && line.ends_with(':') {
            in_examples = true;
            continue;
        }
        in_examples &= line.is_empty() || line.starts_with(' ');
        // The exit codes have a section of their own.
        if line == "Exit codes:" {
            break;
        }
        if in_examples { examples.push(line) } else { notes.push(line) }
    }
    let joined = |lines: Vec<&str>| lines.join("\n").trim_matches('\n').to_owned();
    (joined(examples), joined(notes))
}

fn see_also(command: &Command, parent: Option<&str>) -> String {
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let names = subcommands.filter_map(|sub| sub.get_display_name());
    let root = Some("conclavectl").filter(|root| parent.is_some_and(|parent| parent != *root));
    let pages: Vec<String> = root.into_iter().chain(parent).chain(names).map(|name| format!("{name}(1)")).collect();
    pages.join(",\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_sections() {
        let pages = all(crate::cli::command());
        assert!(pages.len() > 60, "{}", pages.len());
        for page in &pages {
            for title in ["SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
                assert!(page.text.contains(title), "{} has no {title}", page.file);
            }
            assert!(!page.text.contains("discovery"), "{} has a flag that is refused", page.file);
        }
        let transfer = pages.iter().find(|page| page.file == "conclavectl-election-transfer.1").expect("a page");
        let text = transfer.text.replace("\\-", "-");
        for part in [".SH EXAMPLES", "CONCLAVECTL-ELECTION-TRANSFER", "conclavectl 0.", "conclavectl-election(1)"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn examples_are_told_from_the_rest() {
        let help = "It prints.\n\nExamples:\n  a b\n      c\n\n  d\n\nIt ends.";
        assert_eq!(split(help), ("  a b\n      c\n\n  d".to_owned(), "It prints.\n\nIt ends.".to_owned()));
    }
}
