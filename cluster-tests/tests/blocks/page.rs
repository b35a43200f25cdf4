//! A document as the test sees it: its code blocks, and the marks before them.
//!
//! A mark is an HTML comment on a line of its own. Readers do not see it. There are five:
//!
//! | mark | where | meaning |
//! |---|---|---|
//! | `<!-- not run: REASON -->` | before an `sh` block | The block is not run, for this reason. |
//! | `<!-- file: PATH -->` | before any block | The block is the content of this file. |
//! | `<!-- prints -->` | before any block | The commands so far have printed each of its lines. |
//! | `<!-- needs: COMMAND... -->` | anywhere | The page runs only where these commands are installed. |
//! | `<!-- cluster: none -->` | anywhere | The page starts its own cluster. Other pages find one of three members. |
//!
//! 1. An `sh` block without a mark runs. So a block that is forgotten is a block that is tested.
//! 2. A comment that looks like a mark and is none is an error: a typing error must not disable a
//!    test.

use anyhow::{Context as _, Result, bail, ensure};

/// What the test does with a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    Skip,
    Write(String),
    Expect,
}

/// A code block, and the line of its first command.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) action: Action,
}

/// The blocks of a document, in order. Blocks that the test has nothing to do with are left out.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<Block>,
    pub(crate) needs: Vec<String>,
    pub(crate) own_cluster: bool,
}

impl Page {
    /// Reads a document.
    pub(crate) fn parse(markdown: &str) -> Result<Self> {
        let mut page = Self::default();
        let mut mark = None;
        let mut lines = markdown.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.trim();
            let place = || format!("line {}", number + 1);
            if let Some(language) = line.strip_prefix("```") {
                let inside: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
                if let Some(action) = action(language, mark.take()).with_context(place)? {
                    page.blocks.push(Block { line: number + 2, text: inside.join("\n") + "\n", action });
                }
            } else if let Some(comment) = line.strip_prefix("<!--").and_then(|line| line.strip_suffix("-->")) {
                ensure!(mark.is_none(), "line {}: two marks before one block", number + 1);
                mark = page.comment(comment.trim()).with_context(place)?;
            } else if !line.is_empty() {
                ensure!(mark.is_none(), "line {}: a mark stands directly before its block", number + 1);
            }
        }
        ensure!(mark.is_none(), "a mark stands at the end, without a block");
        Ok(page)
    }

    /// Takes a mark of the whole page; returns a mark of the next block.
    fn comment(&mut self, comment: &str) -> Result<Option<Action>> {
        let (name, value) = comment.split_once(':').unwrap_or((comment, ""));
        let value = value.trim();
        match name {
            "not run" if value.len() > 3 => return Ok(Some(Action::Skip)),
            "not run" => bail!("`not run` needs a reason"),
            "file" if !value.is_empty() => return Ok(Some(Action::Write(value.to_owned()))),
            "prints" => return Ok(Some(Action::Expect)),
            "needs" => self.needs.extend(value.split_whitespace().map(str::to_owned)),
            "cluster" if value == "none" => self.own_cluster = true,
            _ => bail!("`<!-- {comment} -->` is not a mark of this test (cluster-tests/tests/blocks/page.rs)"),
        }
        Ok(None)
    }
}

/// What to do with a block of this language after this mark.
fn action(language: &str, mark: Option<Action>) -> Result<Option<Action>> {
    ensure!(!matches!(language, "bash" | "shell" | "zsh"), "call a block of commands `sh`, so that it runs");
    let runs = language == "sh";
    match mark {
        None => Ok(runs.then_some(Action::Run)),
        Some(Action::Skip) if !runs => bail!("a block of `{language}` never runs: it needs no `not run`"),
        mark => Ok(mark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(markdown: &str) -> Vec<Action> {
        Page::parse(markdown).unwrap().blocks.into_iter().map(|block| block.action).collect()
    }

    #[test]
    fn an_unmarked_block_runs() {
        let page = Page::parse("text\n\n```sh\none\n\ntwo\n```\n\n```console\n$ three\n```\n").unwrap();
        assert_eq!(page.blocks.len(), 1);
        assert_eq!((page.blocks[0].line, page.blocks[0].text.as_str()), (4, "one\n\ntwo\n"));
    }

    #[test]
    fn marks_say_what_to_do() {
        assert_eq!(actions("<!-- not run: it takes an hour -->\n\n```sh\nx\n```"), [Action::Skip]);
        assert_eq!(actions("<!-- file: a.go -->\n```go\nx\n```"), [Action::Write("a.go".to_owned())]);
        assert_eq!(actions("<!-- prints -->\n```text\nx\n```"), [Action::Expect]);
        let page = Page::parse("<!-- needs: go mvn -->\n<!-- cluster: none -->\n").unwrap();
        assert!(page.own_cluster && page.needs == ["go", "mvn"]);
    }

    #[test]
    fn a_mark_that_would_silently_do_nothing_is_an_error() {
        for wrong in [
            "<!-- not run: -->\n```sh\nx\n```",
            "<!-- norun: reason -->\n```sh\nx\n```",
            "<!-- not run: reason -->\ntext\n```sh\nx\n```",
            "<!-- not run: reason -->\n```console\nx\n```",
            "<!-- not run: reason -->\n",
            "```bash\nit would look as if it ran\n```",
        ] {
            assert!(Page::parse(wrong).is_err(), "{wrong}");
        }
    }
}
