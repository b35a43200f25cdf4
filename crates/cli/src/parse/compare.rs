//! The compares of a transaction, one a line: `mod("key") > "5"`, `value("key") = "text"`.

use conclave_client::api::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

const FORM: &str = "write it as mod(\"key\") > \"5\"; create, mod, version, value or lease; =, !=, < or >";

/// One compare.
pub(crate) fn compare(line: &str) -> Result<Compare, String> {
    let malformed = || format!("malformed comparison: {line}; {FORM}");
    let (target, rest) = line.trim().split_once('(').ok_or_else(malformed)?;
    let (key, rest) = quoted(rest.trim_start()).ok_or_else(malformed)?;
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(malformed)?.trim_start();
    let quote = rest.find('"').ok_or_else(malformed)?;
    let (operand, end) = quoted(&rest[quote..]).ok_or_else(malformed)?;
    if !end.trim().is_empty() {
        return Err(malformed());
    }
    let result = match rest[..quote].trim() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        _ => return Err(malformed()),
    };
    let (target, operand) = target_of(target.trim(), operand).ok_or_else(malformed)??;
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(operand),
        ..Compare::default()
    })
}

type Target = (CompareTarget, TargetUnion);

/// `None` if there is no such target.
fn target_of(name: &str, operand: String) -> Option<Result<Target, String>> {
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("{text:?} is not a number"));
    let lease = |text: &str| super::lease(text);
    Some(match name {
        "ver" | "version" => number(&operand).map(|n| (CompareTarget::Version, TargetUnion::Version(n))),
        "c" | "create" => number(&operand).map(|n| (CompareTarget::Create, TargetUnion::CreateRevision(n))),
        "m" | "mod" => number(&operand).map(|n| (CompareTarget::Mod, TargetUnion::ModRevision(n))),
        "val" | "value" => Ok((CompareTarget::Value, TargetUnion::Value(operand.into()))),
        "lease" => lease(&operand).map(|n| (CompareTarget::Lease, TargetUnion::Lease(n))),
        _ => return None,
    })
}

/// A text in double quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let words = super::words(&text[..end + 2]).ok()?;
    Some((words.into_iter().next()?, &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_and_relation() {
        let of = |line: &str| compare(line).expect(line);
        let one = of(r#"mod("a b") > "5""#);
        assert_eq!(
            (one.key.as_ref(), one.result(), one.target()),
            (&b"a b"[..], CompareResult::Greater, CompareTarget::Mod)
        );
        assert_eq!(one.target_union, Some(TargetUnion::ModRevision(5)));
        assert_eq!(of(r#"value("k")="a \"b\"""#).target_union, Some(TargetUnion::Value("a \"b\"".into())));
        assert_eq!(of(r#"lease("k") != "1f""#).target_union, Some(TargetUnion::Lease(31)));
        assert_eq!(of(r#"c("k") < "9""#).target(), CompareTarget::Create);
        assert_eq!(of(r#"ver("k") = "0""#).target(), CompareTarget::Version);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "bogus",
            "mod(a) = \"1\"",
            "mod(\"a\") = 1",
            "mod(\"a\") ~ \"1\"",
            "mod(\"a\") = \"x\"",
            "age(\"a\") = \"1\"",
            "mod(\"a\") = \"1\" x",
        ] {
            assert!(compare(line).is_err(), "{line}");
        }
    }
}
