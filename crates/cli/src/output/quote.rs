//! Bytes as text on one line: quoted as Go's `%q` does, in hexadecimal, or readable.

/// `"text"`, with what is not printable escaped as Go does.
pub(crate) fn go(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| escape(&mut text, c));
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

fn escape(text: &mut String, c: char) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\x0c' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\x0b' => text.push_str("\\v"),
        // What Rust's own debug form leaves alone is printable.
        c if c == '\'' || c.escape_debug().len() == 1 => text.push(c),
        c if u32::from(c) < 0x20 || c == '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if u32::from(c) < 0x1_0000 => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// `\x61\x62`, as etcdctl's `--hex` does.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Itself if that is readable, else quoted.
pub(crate) fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => text.to_owned(),
        _ => go(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_go_does() {
        for (bytes, text) in [
            (&b"a"[..], r#""a""#),
            ("<&>\"é".as_bytes(), "\"<&>\\\"é\""),
            (b"it's\n\x00\xff", r#""it's\n\x00\xff""#),
            ("\u{200b}".as_bytes(), r#""\u200b""#),
            (b"", r#""""#),
        ] {
            assert_eq!(go(bytes), text);
        }
        assert_eq!(hex(b"a2"), r"\x61\x32");
        assert_eq!((readable(b"job/1").as_str(), readable(b"\x00").as_str()), ("job/1", r#""\x00""#));
    }
}
