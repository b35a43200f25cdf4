//! The members of a first start from DNS, by etcd's records: `_etcd-server-ssl._tcp.DOMAIN` for
//! `https` and `_etcd-server._tcp.DOMAIN` for `http`; with a name, `_etcd-server-ssl-NAME._tcp` and
//! so on.
//!
//! 1. Only an empty data directory asks. Later the directory knows its members.
//! 2. Every member makes ids of what is found, and writes the same first membership. So members are
//!    named by host and port, as the records have them, and an answer that is in doubt is an error:
//!    half of the records would be another cluster.
//! 3. This member is the one record that leads to one of its own peer URLs, by text or by address.

use crate::config::{Config, Discovery, HttpUrl, InitialMember};
use async_trait::async_trait;
use conclave_dns::Resolver;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::task::spawn_blocking;

#[derive(Debug, Error)]
pub enum DiscoveryError {
    #[error("--discovery-srv: {0}")]
    NoResolver(String),
    #[error("--discovery-srv: {name} cannot be looked up: {why}")]
    Failed { name: String, why: String },
    #[error("--discovery-srv: there are no records {names}: they name the members")]
    NoRecords { names: String },
    #[error("--discovery-srv: the record of {host} is no peer URL: {why}")]
    BadRecord { host: String, why: String },
    #[error("--discovery-srv: {host} has records for http and for https: a member has one of them")]
    TwoSchemes { host: String },
    #[error(
        "--discovery-srv: none of the members {known} is at --initial-advertise-peer-urls {own}: it must be the host and port of one \
         record, or have the same address"
    )]
    NotListed { known: String, own: String },
    #[error("--discovery-srv: {one} and {other} both lead to --initial-advertise-peer-urls {own}")]
    Ambiguous { one: String, other: String, own: String },
    #[error("--discovery-srv: the records name members with https, which needs --peer-cert-file and --peer-key-file")]
    NoTls,
}

/// What is asked of DNS.
#[async_trait]
trait Dns: Send + Sync {
    /// Hosts and ports; none if there is no such record.
    async fn services(&self, name: &str) -> Result<Vec<(String, u16)>, String>;

    async fn addresses(&self, url: &HttpUrl) -> BTreeSet<SocketAddr>;
}

#[async_trait]
impl Dns for Resolver {
    async fn services(&self, name: &str) -> Result<Vec<(String, u16)>, String> {
        let (resolver, name) = (self.clone(), name.to_owned());
        let asking = spawn_blocking(move || Resolver::services(&resolver, &name));
        asking.await.map_err(|error| error.to_string())?
    }

    async fn addresses(&self, url: &HttpUrl) -> BTreeSet<SocketAddr> {
        lookup_host(url.authority()).await.map(Iterator::collect).unwrap_or_default()
    }
}

/// Asks the system's name servers, if DNS is to name the members.
///
/// # Errors
/// They do not answer, or what they say is in doubt.
pub async fn discover_by_system(config: &mut Config) -> Result<(), DiscoveryError> {
    let resolver = Resolver::of_system().map_err(DiscoveryError::NoResolver)?;
    discover(config, &resolver).await
}

/// Puts what DNS says of the members into the configuration.
async fn discover(config: &mut Config, dns: &dyn Dns) -> Result<(), DiscoveryError> {
    let Some(discovery) = config.discovery.clone() else { return Ok(()) };
    let found = members(&discovery, dns).await?;
    if found.iter().any(HttpUrl::is_secure) && config.peer_tls.is_none() {
        return Err(DiscoveryError::NoTls);
    }
    let own = own(&found, &config.initial_advertise_peer_urls, dns).await?;
    tracing::info!(own = %own, members = %listed(&found), "DNS names the members");
    config.discovered_as = Some(own.authority());
    config.initial_advertise_peer_urls = vec![own];
    config.initial_cluster =
        found.into_iter().map(|url| InitialMember { name: url.authority(), peer_urls: vec![url] }).collect();
    Ok(())
}

fn listed(urls: &[HttpUrl]) -> String {
    urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The URLs of all members, sorted.
async fn members(discovery: &Discovery, dns: &dyn Dns) -> Result<Vec<HttpUrl>, DiscoveryError> {
    let end = discovery.name.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
    let domain = discovery.domain.trim_end_matches('.');
    let mut found: BTreeMap<String, HttpUrl> = BTreeMap::new();
    let mut names = Vec::new();
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        // The dot at the end: no search domain is put behind it.
        let name = format!("_{service}{end}._tcp.{domain}.");
        let services = dns.services(&name).await;
        let services = services.map_err(|why| DiscoveryError::Failed { name: name.clone(), why })?;
        for (host, port) in services {
            let url = HttpUrl::parse(&format!("{scheme}://{}:{port}", host.trim_end_matches('.')))
                .and_then(|url| if url.port() == 0 { Err("its port is 0".to_owned()) } else { Ok(url) })
                .map_err(|why| DiscoveryError::BadRecord { host, why })?;
            let before = found.insert(url.authority(), url.clone());
            if before.is_some_and(|before| before != url) {
                return Err(DiscoveryError::TwoSchemes { host: url.authority() });
            }
        }
        names.push(name);
    }
    match found.is_empty() {
        true => Err(DiscoveryError::NoRecords { names: names.join(" and ") }),
        false => Ok(found.into_values().collect()),
    }
}

/// Which of them this member is.
async fn own(found: &[HttpUrl], advertised: &[HttpUrl], dns: &dyn Dns) -> Result<HttpUrl, DiscoveryError> {
    let named: Vec<&HttpUrl> =
        found.iter().filter(|url| advertised.iter().any(|own| own.authority() == url.authority())).collect();
    let mut candidates = named;
    if candidates.is_empty() {
        let mut here = BTreeSet::new();
        for url in advertised {
            here.extend(dns.addresses(url).await);
        }
        for url in found {
            if !dns.addresses(url).await.is_disjoint(&here) {
                candidates.push(url);
            }
        }
    }
    let own = listed(advertised);
    match candidates[..] {
        [url] => Ok(url.clone()),
        [] => Err(DiscoveryError::NotListed { known: listed(found), own }),
        [one, other, ..] => Err(DiscoveryError::Ambiguous { one: one.to_string(), other: other.to_string(), own }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Plan;
    use std::net::{IpAddr, Ipv4Addr};

    #[derive(Default)]
    struct Fake {
        services: BTreeMap<&'static str, Vec<(&'static str, u16)>>,
        addresses: BTreeMap<&'static str, Ipv4Addr>,
        broken: bool,
    }

    #[async_trait]
    impl Dns for Fake {
        async fn services(&self, name: &str) -> Result<Vec<(String, u16)>, String> {
            if self.broken && name.contains("ssl") {
                return Err("no answer".into());
            }
            let found = self.services.get(name).into_iter().flatten();
            Ok(found.map(|(host, port)| ((*host).to_owned(), *port)).collect())
        }

        async fn addresses(&self, url: &HttpUrl) -> BTreeSet<SocketAddr> {
            let literal = url.host().parse::<IpAddr>().ok();
            let known = literal.or_else(|| self.addresses.get(url.host()).copied().map(IpAddr::V4));
            known.map(|ip| SocketAddr::new(ip, url.port())).into_iter().collect()
        }
    }

    const PLAIN: &str = "_etcd-server._tcp.example.org.";

    fn three() -> Fake {
        let services = BTreeMap::from([(
            PLAIN,
            vec![("c.example.org.", 2380), ("A.example.org.", 2380), ("b.example.org.", 2380)],
        )]);
        let addresses = BTreeMap::from([
            ("a.example.org", Ipv4Addr::new(10, 0, 0, 1)),
            ("b.example.org", Ipv4Addr::new(10, 0, 0, 2)),
        ]);
        Fake { services, addresses, broken: false }
    }

    fn config(own: &str, name: Option<&str>) -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::single("infra", "/nonexistent", any, any);
        config.initial_advertise_peer_urls = vec![HttpUrl::parse(own).unwrap()];
        config.discovery = Some(Discovery { domain: "example.org".into(), name: name.map(str::to_owned) });
        config
    }

    async fn found(own: &str, dns: &Fake) -> Result<Config, String> {
        let mut config = config(own, None);
        discover(&mut config, dns).await.map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[tokio::test]
    async fn every_member_finds_the_same_cluster_and_itself() {
        let by_name = found("http://b.example.org:2380", &three()).await.unwrap();
        let names: Vec<&str> = by_name.initial_cluster.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a.example.org:2380", "b.example.org:2380", "c.example.org:2380"]);
        assert_eq!(by_name.discovered_as.as_deref(), Some("b.example.org:2380"));
        let by_address = found("http://10.0.0.1:2380", &three()).await.unwrap();
        assert_eq!(by_address.initial_cluster, by_name.initial_cluster);
        assert_eq!(by_address.initial_advertise_peer_urls[0].to_string(), "http://a.example.org:2380");
        // Each is another member of one cluster, under the name that it has itself.
        let (one, other) = (Plan::new(&by_name).unwrap(), Plan::new(&by_address).unwrap());
        assert_eq!((one.identity.cluster_id, &one.members), (other.identity.cluster_id, &other.members));
        assert_ne!(one.identity.member_id, other.identity.member_id);
        assert_eq!(one.identity.name, "infra");
    }

    #[tokio::test]
    async fn what_is_in_doubt_is_an_error() {
        let error = async |own: &str, dns: Fake| found(own, &dns).await.unwrap_err();
        assert!(error("http://10.0.0.9:2380", three()).await.contains("none of the members"));
        assert!(error("http://10.0.0.1:2381", three()).await.contains("none of the members"), "another port");
        assert!(error("http://a:1", Fake::default()).await.contains("no records _etcd-server-ssl._tcp.example.org."));
        assert!(error("http://b.example.org:2380", Fake { broken: true, ..three() }).await.contains("no answer"));
        let mut same = three();
        same.addresses.insert("c.example.org", Ipv4Addr::new(10, 0, 0, 1));
        assert!(error("http://10.0.0.1:2380", same).await.contains("both lead to"));
        let mut secure = three();
        secure.services.insert("_etcd-server-ssl._tcp.example.org.", vec![("d.example.org.", 2380)]);
        assert!(error("http://b.example.org:2380", secure).await.contains("--peer-cert-file"));
        let mut both = three();
        both.services.insert("_etcd-server-ssl._tcp.example.org.", vec![("a.example.org.", 2380)]);
        assert!(error("http://b.example.org:2380", both).await.contains("http and for https"));
        let odd = Fake { services: BTreeMap::from([(PLAIN, vec![("a b.", 2380)])]), ..Fake::default() };
        assert!(error("http://b.example.org:2380", odd).await.contains("no peer URL"));
    }

    #[tokio::test]
    async fn several_clusters_of_one_domain_have_names() {
        let services = BTreeMap::from([("_etcd-server-blue._tcp.example.org.", vec![("a.example.org.", 2380)])]);
        let dns = Fake { services, ..Fake::default() };
        let mut config = config("http://a.example.org:2380", Some("blue"));
        discover(&mut config, &dns).await.unwrap();
        assert_eq!(config.initial_cluster.len(), 1);
    }
}
