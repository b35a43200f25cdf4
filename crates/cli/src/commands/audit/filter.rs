//! Which records are wanted.

use super::record::Record;
use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub(super) struct FilterArgs {
    /// Only calls of this user
    #[arg(long = "by", value_name = "USER")]
    by: Option<String>,
    /// Only calls from this address, or from addresses that begin so
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Only this kind, or kinds that begin so: kv., elections.evict
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only what is about keys that begin so, ranges that cover such keys among it
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only what is about elections, locks and claims whose NAMESPACE/NAME begins so
    #[arg(long, value_name = "PREFIX")]
    name: Option<String>,
    /// Only what is about this candidate, holder, user, role or member
    #[arg(long)]
    target: Option<String>,
    /// Only from this time on, in UTC: 2026-11-30, 2026-11-30T12:00, …
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<String>,
    /// Only what was denied
    #[arg(long)]
    denied: bool,
    /// Only what failed, denials among it
    #[arg(long)]
    failed: bool,
}

impl FilterArgs {
    pub(super) fn admits(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let begins = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|word| found.starts_with(word));
        is(&self.by, &record.user)
            && is(&self.target, &record.target)
            && begins(&self.from, &record.from)
            && begins(&self.kind, &record.kind)
            && self.name.as_ref().is_none_or(|prefix| record.names.iter().any(|name| name.starts_with(prefix)))
            && self.prefix.as_ref().is_none_or(|prefix| record.ops.iter().any(|op| op.touches(prefix)))
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time < *until)
            && (!self.denied || record.denied)
            && (!self.failed || record.code != "OK")
    }
}

/// The beginning of a time as it stands in the log: what stands there is ordered as text.
fn time(text: &str) -> Result<String, String> {
    const FORM: &str = "dddd-dd-ddTdd:dd:dd.dddddd";
    let given = text.strip_suffix('Z').unwrap_or(text);
    let fits = |(form, c): (char, char)| if form == 'd' { c.is_ascii_digit() } else { c == form };
    let right = (10..=FORM.len()).contains(&given.len()) && FORM.chars().zip(given.chars()).all(fits);
    let ends_well = given.ends_with(|c: char| c.is_ascii_digit());
    match right && ends_well {
        true => Ok(given.to_owned()),
        false => Err(format!("{text:?} is not a time in UTC such as 2026-11-30 or 2026-11-30T12:00:00")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        Record::read(line.as_bytes()).expect("a record")
    }

    #[test]
    fn each_filter_leaves_out_what_it_says() {
        let line = r#"{"time":"2026-11-30T12:00:00.000001Z","user":"al","from":"10.0.0.7:1","kind":"kv.put","ops":[{"op":"put","key":"/a/b"}],"names":["default/e"],"target":"t","code":"PermissionDenied","denied":true}"#;
        let fine = record(&line.replace(r#""code":"PermissionDenied","denied":true"#, r#""code":"OK""#));
        let record = record(line);
        let some = |text: &str| Some(text.to_owned());
        let none = FilterArgs::default;
        for (right, wrong) in [
            (FilterArgs { by: some("al"), ..none() }, FilterArgs { by: some("alice"), ..none() }),
            (FilterArgs { from: some("10.0."), ..none() }, FilterArgs { from: some("10.1."), ..none() }),
            (FilterArgs { kind: some("kv."), ..none() }, FilterArgs { kind: some("lease."), ..none() }),
            (FilterArgs { prefix: some("/a/"), ..none() }, FilterArgs { prefix: some("/b/"), ..none() }),
            (FilterArgs { name: some("default/"), ..none() }, FilterArgs { name: some("other/"), ..none() }),
            (FilterArgs { target: some("t"), ..none() }, FilterArgs { target: some("u"), ..none() }),
            (
                FilterArgs { since: some("2026-11-30"), ..none() },
                FilterArgs { since: some("2026-11-30T12:01"), ..none() },
            ),
            (FilterArgs { until: some("2026-12-01"), ..none() }, FilterArgs { until: some("2026-11-30"), ..none() }),
        ] {
            assert!(right.admits(&record) && !wrong.admits(&record), "{right:?} {wrong:?}");
        }
        for strict in [FilterArgs { denied: true, ..none() }, FilterArgs { failed: true, ..none() }] {
            assert!(strict.admits(&record) && !strict.admits(&fine), "{strict:?}");
        }
    }

    #[test]
    fn times_are_those_of_the_log() {
        for right in ["2026-11-30", "2026-11-30T12:00", "2026-11-30T12:00:00.000001Z"] {
            assert_eq!(time(right).as_deref(), Ok(right.trim_end_matches('Z')));
        }
        for wrong in ["", "yesterday", "2026", "2026-11-30T", "2026-11-30 12:00", "2026-11-30T12:00:00+01:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
