//! Bytes from outside as text that a person can read, and that is not longer than it may be.

use std::fmt::Write;

/// The most characters of a name on a page.
pub(crate) const NAME: usize = 160;

/// The most bytes of a text where somebody types.
const MOST_EDITED: usize = 1_024;

/// Bytes as text of at most `most` characters. What is no printable character is written as `\xNN`
/// or `\u{NNNN}`, the signs that turn the direction of writing among them: two names that differ
/// never look the same because of such a sign.
#[must_use]
pub fn shown(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    let mut count = 0;
    for chunk in bytes.utf8_chunks() {
        for sign in chunk.valid().chars() {
            if count >= most {
                return cut(text, bytes.len());
            }
            count += 1;
            match sign {
                '\\' => text.push_str("\\\\"),
                sign if is_plain(sign) => text.push(sign),
                sign if sign.is_ascii() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(sign));
                }
                sign => {
                    let _ = write!(text, "{}", sign.escape_unicode());
                }
            }
        }
        for byte in chunk.invalid() {
            if count >= most {
                return cut(text, bytes.len());
            }
            count += 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn cut(mut text: String, bytes: usize) -> String {
    let _ = write!(text, "… ({bytes} bytes)");
    text
}

/// Whether a character is seen as itself.
fn is_plain(sign: char) -> bool {
    !sign.is_control() && !is_format(sign)
}

/// Characters without a shape of their own: those for directions, joiners, and other spaces than
/// the usual one.
fn is_format(sign: char) -> bool {
    matches!(sign,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || (sign != ' ' && sign.is_whitespace())
}

/// Whether bytes are text that is worth showing as such: lines of printable characters.
#[must_use]
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars().all(|sign| matches!(sign, '\n' | '\r' | '\t') || is_plain(sign)).then_some(text)
}

/// What can be edited as a line of text; nothing else is put where somebody types.
#[must_use]
pub(crate) fn editable(bytes: &[u8]) -> &str {
    let text = as_text(bytes).filter(|text| text.len() <= MOST_EDITED && !text.contains(['\n', '\r', '\t']));
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        for (bytes, expected) in [
            (&b"plain name"[..], "plain name"),
            (b"a\0b\x7f\n", "a\\x00b\\x7f\\x0a"),
            (b"\xff\xc3", "\\xff\\xc3"),
            ("größe\u{202e}gpj.exe".as_bytes(), "größe\\u{202e}gpj.exe"),
            ("a\u{200b}\u{a0}b\\".as_bytes(), "a\\u{200b}\\u{a0}b\\\\"),
            (b"", ""),
        ] {
            assert_eq!(shown(bytes, 99), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(shown(&[b'x'; 1_000], 3), "xxx… (1000 bytes)");
        assert_eq!(shown(&[0xff; 4], 3), "\\xff\\xff\\xff… (4 bytes)");
        assert_eq!(shown("äöü".as_bytes(), 3), "äöü");
    }

    #[test]
    fn text_is_lines_of_what_can_be_seen() {
        assert_eq!(as_text(b"a\n\tb\r\n"), Some("a\n\tb\r\n"));
        for other in [&b"\0"[..], b"\xff", "\u{202e}".as_bytes(), b"\x1b[31m"] {
            assert_eq!(as_text(other), None);
        }
    }
}
