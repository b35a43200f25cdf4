//! No endpoint can be used: why, and which option helps.

use crate::{census, dial::Unusable, exit::Exit, failure::Failure, outside::Seen};

/// `encrypted`: whether endpoints without a scheme are.
pub(super) fn unreachable(endpoints: &[String], encrypted: bool, mut reasons: Vec<(usize, Unusable)>) -> Failure {
    if let Some(at) = reasons.iter().position(|(_, reason)| matches!(reason, Unusable::Login(_)))
        && let (_, Unusable::Login(refusal)) = reasons.swap_remove(at)
    {
        return refusal;
    }
    let reason = |(index, reason): &(usize, Unusable)| format!("\n    {}: {reason}", endpoints[*index]);
    let list: String = reasons.iter().map(reason).collect();
    let seen = reasons.iter().filter_map(|(_, reason)| match reason {
        Unusable::NoLogin { seen, .. } => Some(seen.as_ref()),
        _ => None,
    });
    let seen: Vec<_> = seen.collect();
    if let Some(failure) = without_login(&seen, reasons.len(), &list) {
        return failure;
    }
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

/// Members are there, and nobody can log in.
fn without_login(seen: &[Option<&Seen>], endpoints: usize, list: &str) -> Option<Failure> {
    if seen.is_empty() {
        return None;
    }
    if seen.iter().flatten().any(|seen| seen.trouble.is_none()) {
        let failure =
            Failure::new(Exit::NoConnection, format!("the cluster works, but no login was answered in time:{list}"));
        return Some(failure.hint("--dial-timeout gives it more time"));
    }
    let cause = census::without_login(seen.len(), endpoints);
    Some(Failure::new(Exit::NoConnection, format!("{cause}:{list}")).hint(
        "start the other members, or connect them: a majority must be up. `conclavectl status` shows what each says \
         without a login",
    ))
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
            ("a:1", "connection refused", "--dial-timeout"),
        ] {
            let words = of(endpoint, reason);
            assert!(words.contains(option), "{reason}: {words}");
        }
    }

    #[test]
    fn without_a_majority_it_is_said_that_nobody_can_log_in_and_what_the_members_say() {
        let no_login = |trouble: Option<&str>| {
            let trouble = trouble.map(str::to_owned);
            let seen = Seen { name: "n1".into(), revision: 5, trouble, ..Seen::default() };
            Unusable::NoLogin { said: "no answer in time".into(), seen: Some(seen) }
        };
        let of = |first| {
            let second = Unusable::Endpoint("connection refused".into());
            unreachable(&["a:1".into(), "b:1".into()], false, vec![(0, first), (1, second)])
        };
        let lost = of(no_login(Some("RAFT NO LEADER")));
        let words = lost.to_string();
        for part in [
            "the cluster has no leader: 1 of 2 endpoints answers, and a login needs a majority of the members",
            "a:1: n1 knows no leader, and has revision 5, but does not log anybody in (no answer in time)",
            "b:1: connection refused",
            "start the other members",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(census::is_named(lost.message()) && lost.exit == Exit::NoConnection);
        let unseen = of(Unusable::NoLogin { said: "etcdserver: no leader".into(), seen: None }).to_string();
        assert!(unseen.contains("a login needs a majority") && unseen.contains("it is there"), "{unseen}");
        let slow = of(no_login(None)).to_string();
        assert!(slow.contains("the cluster works") && slow.contains("--dial-timeout"), "{slow}");
    }
}
