//! The URLs that a member listens on and gives to others.

use super::problems::Problems;
use super::settings::Settings;
use super::{HttpUrl, InitialMember, Listen, LocalUrl, tls};
use std::collections::BTreeMap;

pub(super) struct Urls {
    pub(super) listen_client: Vec<Listen>,
    pub(super) listen_local: Vec<LocalUrl>,
    pub(super) advertise_client: Vec<HttpUrl>,
    pub(super) advertise_local: Vec<LocalUrl>,
    pub(super) listen_peer: Vec<Listen>,
    pub(super) advertise_peer: Vec<HttpUrl>,
    pub(super) listen_metrics: Vec<Listen>,
}

impl Urls {
    /// What of it asks for TLS.
    pub(super) fn uses(&self, members: &[InitialMember]) -> tls::Uses {
        let hosts = |lists: &[&[Listen]]| {
            let secure = lists.iter().flat_map(|list| list.iter()).filter(|listen| listen.secure);
            secure.map(|listen| listen.address.ip().to_string()).collect::<Vec<_>>()
        };
        let peers = members.iter().flat_map(|member| &member.peer_urls);
        let told = |urls: &[HttpUrl]| urls.iter().map(|url| url.host().to_owned()).collect::<Vec<_>>();
        let local = |secure| self.listen_local.iter().filter(move |url| url.secure == secure);
        // A client of a socket verifies a name that it chooses.
        let sockets = local(true).map(|_| "localhost".to_owned());
        tls::Uses {
            client: hosts(&[&self.listen_client, &self.listen_metrics]).into_iter().chain(sockets).collect(),
            plain_clients: self.listen_client.iter().any(|listen| !listen.secure) || local(false).next().is_some(),
            peer: hosts(&[&self.listen_peer]),
            peers_are_secure: peers.clone().any(HttpUrl::is_secure),
            plain_peers: peers.clone().any(|url| !url.is_secure()) || self.listen_peer.iter().any(|it| !it.secure),
            client_names: told(&self.advertise_client),
            peer_names: told(&self.advertise_peer),
        }
    }
}

pub(super) fn check(s: &Settings, p: &mut Problems, warnings: &mut Vec<String>) -> Urls {
    let (listen_local, listen_client_urls) =
        with_local("listen-client-urls", s.listen_client_urls.as_deref().unwrap_or("http://localhost:2379"), p);
    let listen_peer_urls =
        url_list("listen-peer-urls", s.listen_peer_urls.as_deref().unwrap_or("http://localhost:2380"), p);
    let listen_metrics_urls = url_list("listen-metrics-urls", s.listen_metrics_urls.as_deref().unwrap_or_default(), p);
    let told = s.advertise_client_urls.as_deref().map(|text| with_local("advertise-client-urls", text, p));
    let (advertise_local, told) = told.map_or((listen_local.clone(), None), |(local, urls)| (local, Some(urls)));
    let advertise_client = advertised("advertise-client-urls", told, &listen_client_urls, p, warnings);
    // Nobody connects to a member that is alone, so etcd's default will do.
    let alone = s.initial_cluster.is_none() && s.discovery_srv.is_none() && s.initial_advertise_peer_urls.is_none();
    let loopback = listen_peer_urls.iter().find(|url| alone && url.is_wildcard() && url.port() != 0);
    let loopback =
        loopback.map(|url| format!("{}://localhost:{}", if url.is_secure() { "https" } else { "http" }, url.port()));
    let advertise_peer = s.initial_advertise_peer_urls.as_ref().or(loopback.as_ref());
    let advertise_peer = advertise_peer.map(|text| url_list("initial-advertise-peer-urls", text, p));
    let advertise_peer = advertised("initial-advertise-peer-urls", advertise_peer, &listen_peer_urls, p, warnings);
    let most = crate::peer::validate::MAX_URLS;
    p.require(advertise_peer.len() <= most, "initial-advertise-peer-urls", || {
        format!("{} URLs: a member has at most {most}", advertise_peer.len())
    });
    let urls = Urls {
        listen_client: addresses("listen-client-urls", &listen_client_urls, p),
        listen_local,
        advertise_client,
        advertise_local,
        listen_peer: addresses("listen-peer-urls", &listen_peer_urls, p),
        advertise_peer,
        listen_metrics: addresses("listen-metrics-urls", &listen_metrics_urls, p),
    };
    let lists = [
        ("listen-client-urls", &urls.listen_client),
        ("listen-peer-urls", &urls.listen_peer),
        ("listen-metrics-urls", &urls.listen_metrics),
    ];
    let mut seen = BTreeMap::new();
    for (name, address) in lists.iter().flat_map(|(name, list)| list.iter().map(move |listen| (*name, listen.address)))
    {
        if address.port() != 0
            && let Some(other) = seen.insert(address, name)
        {
            p.add(name, format!("{address} is listened on already (--{other})"));
        }
    }
    urls
}

/// The same for clients, who may connect to sockets in the file system as well.
fn with_local(name: &'static str, text: &str, p: &mut Problems) -> (Vec<LocalUrl>, Vec<HttpUrl>) {
    let mut local: Vec<LocalUrl> = Vec::new();
    let mut others = Vec::new();
    for part in text.split(',').map(str::trim) {
        match LocalUrl::parse(part) {
            None => others.push(part),
            Some(Ok(url)) if local.iter().any(|other| other.path == url.path) => {
                p.add(name, format!("{url} stands twice"))
            }
            Some(Ok(url)) => local.push(url),
            Some(Err(why)) => p.add(name, why),
        }
    }
    local.sort();
    (local, url_list(name, &others.join(","), p))
}

/// The URLs of a comma-separated list without duplicates.
fn url_list(name: &'static str, text: &str, p: &mut Problems) -> Vec<HttpUrl> {
    let mut urls: Vec<HttpUrl> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match HttpUrl::parse(part) {
            Ok(url) if urls.contains(&url) => p.add(name, format!("{url} stands twice")),
            Ok(url) => urls.push(url),
            Err(why) => p.add(name, why),
        }
    }
    urls.sort();
    urls
}

fn addresses(name: &'static str, urls: &[HttpUrl], p: &mut Problems) -> Vec<Listen> {
    let bound = urls.iter().map(|url| url.bind_address().map(|address| Listen { address, secure: url.is_secure() }));
    bound.filter_map(|listen| listen.map_err(|why| p.add(name, why)).ok()).collect()
}

/// The advertised URLs: as configured, or the listening address if others can connect to it.
fn advertised(
    name: &'static str,
    given: Option<Vec<HttpUrl>>,
    listen: &[HttpUrl],
    p: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<HttpUrl> {
    let is_given = given.is_some();
    let urls = given.unwrap_or_else(|| listen.to_vec());
    for url in &urls {
        let why = match (url.port() == 0, url.is_wildcard()) {
            (true, _) => "has port 0",
            (_, true) => "stands for every interface",
            _ => continue,
        };
        let why =
            format!("{url} {why}, so nobody can connect to it: name the address that others reach this member by");
        match is_given && url.port() != 0 {
            // As etcd: clients that have an address of their own get by. Members among several are
            // looked at where the initial cluster is checked.
            true => warnings.push(format!("--{name}: {why}")),
            false => p.add(name, why),
        }
    }
    urls
}
