//! The table of verdicts; a violation with its sentence and the records that show it.

use super::{
    super::check::{Case, Finding, Verdict},
    escape, push, thousands,
    window::window,
};

pub(super) fn section(case: &Case<'_>, findings: &[Finding]) -> String {
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| match finding.verdict {
        Verdict::Violation(_) => 0,
        Verdict::Unknown { .. } => 1,
        Verdict::Valid => 2,
    });
    let mut text = String::from("<table><tr><th>property</th><th></th><th>judged</th><th>says</th></tr>");
    for finding in sorted {
        let (class, more) = match &finding.verdict {
            Verdict::Valid => ("valid", String::new()),
            Verdict::Unknown { why } => ("unknown", format!("<div class=\"why\">{}</div>", escape(why))),
            Verdict::Violation(violation) => {
                let sentence = format!("<div class=\"sentence\">{}</div>", escape(&violation.sentence));
                ("violation", sentence + &window(case, violation))
            }
        };
        push(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td><span class=\"badge {class}\">{class}</span></td><td class=\"n\">{}</td><td>{}{more}</td></tr>",
                escape(&finding.property),
                // It ended where the violation is, and counted nothing.
                if finding.verdict.is_violation() { String::new() } else { thousands(finding.judged as u64) },
                escape(&finding.says)
            ),
        );
    }
    text.push_str("</table>");
    text
}
