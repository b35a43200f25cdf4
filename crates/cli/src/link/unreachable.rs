//! No endpoint can be used: why, and which option helps.

use crate::{
    dial::{NO_LOGIN, Unusable},
    exit::Exit,
    failure::Failure,
};

/// `encrypted`: whether endpoints without a scheme are.
pub(super) fn unreachable(endpoints: &[String], encrypted: bool, mut reasons: Vec<(usize, Unusable)>) -> Failure {
    if let Some(at) = reasons.iter().position(|(_, reason)| matches!(reason, Unusable::Login(_)))
        && let (_, Unusable::Login(refusal)) = reasons.swap_remove(at)
    {
        return refusal;
    }
    let reason = |(index, reason): &(usize, Unusable)| format!("\n    {}: {reason}", endpoints[*index]);
    let list: String = reasons.iter().map(reason).collect();
    let failure = Failure::new(Exit::NoConnection, format!("no endpoint can be used:{list}"));
    let tls = |endpoint: &str| endpoint.starts_with("https://") || (encrypted && !endpoint.contains("://"));
    match reasons.iter().find_map(|(index, reason)| of_tls(tls(&endpoints[*index]), &reason.to_string())) {
        Some(advice) => failure.hint(advice),
        None => failure.hint(
            "are these the client addresses of running members? Set them with --endpoints or CONCLAVECTL_ENDPOINTS; \
             --dial-timeout gives them more time",
        ),
    }
}

/// Which option helps, if one side expects TLS and the other does not, or does not trust it.
fn of_tls(encrypted: bool, reason: &str) -> Option<&'static str> {
    let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if has(&["UnknownIssuer"]) {
        Some("the members' certificates come from an authority that is not known here: --cacert FILE names it")
    } else if has(&["NotValidForName", "not valid for name"]) {
        Some("the certificate is for other names: use one of them with --endpoints")
    } else if has(&["InvalidContentType", "corrupt message"]) {
        Some("the endpoint does not speak TLS: write http:// before it, and leave out --cacert, --cert and --key")
    } else if has(&["TLS is refused", "CertificateRequired"]) {
        Some("the members want a certificate of an authority that they know: --cert FILE and --key FILE")
    } else if !encrypted && has(&["but not a member of a cluster", "was closed while it was asked"]) {
        Some("does the endpoint speak TLS? Then write https:// before it, and name its authority with --cacert FILE")
    } else if encrypted && has(&["was closed while it was asked"]) {
        Some("perhaps the members want a certificate of an authority that they know: --cert FILE and --key FILE")
    } else if has(&[NO_LOGIN]) {
        Some("start the other members: a majority must answer")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_with_tls_names_the_option_that_helps() {
        let of = |endpoint: &str, reason: &str| {
            unreachable(&[endpoint.to_owned()], false, vec![(0, Unusable::Endpoint(reason.to_owned()))]).to_string()
        };
        let unknown = "invalid peer certificate: UnknownIssuer";
        for (endpoint, reason, option) in [
            ("https://a:1", unknown, "--cacert FILE"),
            ("https://a:1", "received corrupt message of type InvalidContentType", "write http://"),
            ("a:1", "the connection was closed while it was asked", "write https://"),
            ("https://a:1", "TLS is refused: received fatal alert: CertificateRequired", "--cert FILE"),
            ("https://a:1", "the connection was closed while it was asked", "--cert FILE"),
            ("https://a:1", NO_LOGIN, "start the other members"),
            ("a:1", "connection refused", "--dial-timeout"),
        ] {
            let words = of(endpoint, reason);
            assert!(words.contains(option), "{reason}: {words}");
        }
    }
}
