//! Colours: on a terminal, unless `NO_COLOR` or `--color` says otherwise. Nothing is told by colour
//! alone.

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

/// For what needs somebody's attention.
pub(crate) const ALARM: Style = AnsiColor::Red.on_default().bold();

/// Follows `--color`; without it, the terminal and `NO_COLOR` decide.
pub fn choose(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Whether standard output has colours.
pub(crate) fn on_stdout() -> bool {
    AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// Whether standard error has colours.
pub(crate) fn on_stderr() -> bool {
    AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// Text in a style, if colours are on.
pub(crate) fn paint(on: bool, style: Style, text: &str) -> String {
    if on { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// A line cut to so many columns; colours take none.
pub(crate) fn cut(line: &str, columns: usize) -> String {
    let mut kept = String::new();
    let (mut used, mut escape, mut coloured) = (0, false, false);
    let shown = |c: char, escape: &mut bool| match (c, *escape) {
        ('\u{1b}', _) => {
            *escape = true;
            false
        }
        (_, true) => {
            *escape = c != 'm';
            false
        }
        _ => true,
    };
    let mut probe = false;
    let width = line.chars().filter(|c| shown(*c, &mut probe)).count();
    for c in line.chars() {
        if shown(c, &mut escape) {
            if width > columns && used + 1 >= columns {
                if columns > 0 {
                    kept.push('…');
                }
                return if coloured { kept + "\u{1b}[0m" } else { kept };
            }
            used += 1;
        } else {
            coloured = true;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_would_wrap() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("abc", 0), "");
        let red = paint(true, ALARM, "DOWN");
        assert_eq!(cut(&red, 4), red);
        let cut = cut(&format!("{red} for long"), 6);
        assert!(cut.ends_with("…\u{1b}[0m") && cut.contains("DOWN"), "{cut:?}");
        assert_eq!(paint(false, ALARM, "DOWN"), "DOWN");
    }
}
