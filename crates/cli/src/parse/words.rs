//! A line cut into words, as a shell does: quotes keep blanks, backslashes keep what follows.

/// The words of a line.
pub(crate) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '"' => double_quoted(&mut chars, word.get_or_insert_default(), line)?,
            '\'' => single_quoted(&mut chars, word.get_or_insert_default(), line)?,
            '\\' => word.get_or_insert_default().push(chars.next().ok_or_else(|| open(line))?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn open(line: &str) -> String {
    format!("a quote is not closed: {line}")
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String, line: &str) -> Result<(), String> {
    loop {
        match chars.next().ok_or_else(|| open(line))? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String, line: &str) -> Result<(), String> {
    loop {
        match chars.next().ok_or_else(|| open(line))? {
            '"' => return Ok(()),
            '\\' => word.push(match chars.next().ok_or_else(|| open(line))? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c => c,
            }),
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        let of = |line: &str| words(line).expect(line);
        assert_eq!(of(r#"put a "two words" 'a "b"' x\ y "#), ["put", "a", "two words", "a \"b\"", "x y"]);
        assert_eq!(of(r#"put "" x"#), ["put", "", "x"]);
        assert_eq!(of(r#"put k "a\nb""#), ["put", "k", "a\nb"]);
        assert_eq!(of("  "), Vec::<String>::new());
        assert!(words("put 'a").is_err());
        assert!(words("put \"a").is_err());
    }
}
