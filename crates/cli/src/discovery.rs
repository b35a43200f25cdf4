//! Endpoints from DNS, by etcd's records: `_etcd-client-ssl._tcp.DOMAIN` for `https` and
//! `_etcd-client._tcp.DOMAIN` for `http`; with a name, `_etcd-client-ssl-NAME._tcp` and so on.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};
use conclave_dns::Resolver;

/// The endpoints of a domain, encrypted ones first. `insecure`: whether the others count.
///
/// # Errors
/// No name server answers, or there are no records.
pub(crate) fn endpoints_of(domain: &str, name: &str, insecure: bool) -> Result<Vec<String>> {
    let resolver = Resolver::of_system().map_err(failed)?;
    found(domain, name, insecure, |name| resolver.services(name))
}

fn found(
    domain: &str,
    name: &str,
    insecure: bool,
    services: impl Fn(&str) -> Result<Vec<(String, u16)>, String>,
) -> Result<Vec<String>> {
    let end = if name.is_empty() { String::new() } else { format!("-{name}") };
    let asked: &[_] = match insecure {
        true => &[("https", "etcd-client-ssl"), ("http", "etcd-client")],
        false => &[("https", "etcd-client-ssl")],
    };
    let (mut endpoints, mut names) = (Vec::new(), Vec::new());
    for (scheme, service) in asked {
        // The dot at the end: no search domain is put behind it.
        let name = format!("_{service}{end}._tcp.{}.", domain.trim_end_matches('.'));
        let services = services(&name).map_err(|why| failed(format!("{name} cannot be looked up: {why}")))?;
        let url = |(host, port): (String, u16)| format!("{scheme}://{}:{port}", host.trim_end_matches('.'));
        endpoints.extend(services.into_iter().map(url));
        names.push(name);
    }
    if endpoints.is_empty() {
        return Err(failed(format!("there are no records {}: they name the endpoints", names.join(" and "))));
    }
    Ok(endpoints)
}

fn failed(why: String) -> Failure {
    Failure::new(Exit::NoConnection, format!("--discovery-srv: {why}")).hint("--endpoints names them without DNS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> Result<Vec<(String, u16)>, String> {
        match name {
            "_etcd-client-ssl._tcp.example.org." => Ok(vec![("a.example.org".into(), 2379)]),
            "_etcd-client._tcp.example.org." | "_etcd-client-blue._tcp.example.org." => {
                Ok(vec![("b.example.org.".into(), 2379)])
            }
            name if name.contains("broken") => Err("10.0.0.1:53: timed out".into()),
            _ => Ok(vec![]),
        }
    }

    #[test]
    fn encrypted_endpoints_come_first_and_others_only_if_they_count() {
        let all = |domain, name, insecure| found(domain, name, insecure, dns).map_err(|failure| failure.to_string());
        let (encrypted, plain) = ("https://a.example.org:2379", "http://b.example.org:2379");
        assert_eq!(all("example.org", "", true).unwrap(), [encrypted, plain]);
        assert_eq!(all("example.org.", "", false).unwrap(), [encrypted]);
        assert_eq!(all("example.org", "blue", true).unwrap(), [plain]);
        let none = all("example.org", "blue", false).unwrap_err();
        assert!(none.contains("no records _etcd-client-ssl-blue._tcp.example.org.:"), "{none}");
        assert!(all("broken.org", "", true).unwrap_err().contains("timed out"));
    }
}
