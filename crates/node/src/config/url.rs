//! The URLs of the flags: `http://host:port` or `https://host:port`, and for clients `unix://PATH`
//! and `unixs://PATH`.
//!
//! Kept in one canonical spelling (lower-case host, no trailing slash), so that comparing them,
//! hashing them into ids and sorting them are the comparisons of their texts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A checked `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpUrl {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// Whether it is `https`.
    secure: bool,
}

impl HttpUrl {
    pub fn parse(text: &str) -> Result<HttpUrl, String> {
        let (rest, secure) = match text.split_once("://") {
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some(("unix" | "unixs", _)) => {
                return Err(format!("{text:?}: unix sockets are for clients alone (--listen-client-urls)"));
            }
            Some((scheme, _)) => {
                return Err(format!("{text:?} has the unknown scheme {scheme:?}: use http://host:port"));
            }
            None => return Err(format!("{text:?} is not a URL: use http://host:port")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} has more than a host and a port: use http://host:port"));
        }
        let (host, port) = split(authority).ok_or_else(|| format!("{text:?} has no port: use http://host:port"))?;
        let port = port.parse().map_err(|_| format!("{text:?} has a bad port {port:?}: a number up to 65535"))?;
        if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            let ip: std::net::Ipv6Addr =
                address.parse().map_err(|_| format!("{text:?} has a bad IPv6 address {address:?}"))?;
            return Ok(HttpUrl { host: ip.to_string(), port, secure });
        }
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(name) {
            return Err(format!("{text:?} has a bad host {host:?}: a name, an IPv4 address, or [IPv6]"));
        }
        Ok(HttpUrl { host: host.to_ascii_lowercase(), port, secure })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it asks for TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// `host:port` as a connector wants it.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether the host is the address of all interfaces, which no client can connect to from
    /// elsewhere.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// The address to bind: an IP address or `localhost`. Names are refused, as etcd does: what
    /// they resolve to is not ours to say.
    pub fn bind_address(&self) -> Result<SocketAddr, String> {
        let ip = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().map_err(|_| {
                format!("\"{self}\" cannot be listened on: the host must be an IP address or localhost (0.0.0.0 for all interfaces)")
            })?,
        };
        Ok(SocketAddr::new(ip, self.port))
    }
}

/// A socket in the file system: `unix://PATH`, or `unixs://PATH` for TLS inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalUrl {
    pub path: PathBuf,
    /// Whether it is `unixs`.
    pub secure: bool,
}

/// Systems have room for 108 bytes with the last zero, and the socket is bound under a longer name
/// first.
const LONGEST_PATH: usize = 100;

impl LocalUrl {
    /// `None`: it is none of these, by its scheme.
    pub fn parse(text: &str) -> Option<Result<LocalUrl, String>> {
        let (path, secure) = match text.split_once("://")? {
            ("unix", path) => (path, false),
            ("unixs", path) => (path, true),
            _ => return None,
        };
        let sound = !path.is_empty() && !path.ends_with('/') && !path.contains('\0') && path.len() <= LONGEST_PATH;
        Some(match sound {
            true => Ok(LocalUrl { path: path.into(), secure }),
            false => Err(format!("{text:?} has no path of a file with 1 to {LONGEST_PATH} bytes")),
        })
    }
}

impl fmt::Display for LocalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix{}://{}", if self.secure { "s" } else { "" }, self.path.display())
    }
}

/// Host (with brackets) and port.
fn split(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    (!port.is_empty() && !port.contains(']') && !bare_v6).then_some((host, port))
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        HttpUrl::parse(text).expect_err(text)
    }

    #[test]
    fn canonical_spelling() {
        for (text, canonical) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://Node-1.Example:2380/", "http://node-1.example:2380"),
            ("http://[0:0::1]:1", "http://[::1]:1"),
            ("https://A:1/", "https://a:1"),
        ] {
            assert_eq!(HttpUrl::parse(text).expect(text).to_string(), canonical);
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert!(error("a:1").contains("not a URL"));
        assert!(error("http://a").contains("no port"));
        assert!(error("http://[::1]").contains("no port"));
        assert!(error("http://a:70000").contains("bad port"));
        assert!(error("http://:1").contains("bad host"));
        assert!(error("http://a b:1").contains("bad host"));
        assert!(error("http://a:1/path").contains("more than"));
        assert!(error("ftp://a:1").contains("ftp"));
    }

    #[test]
    fn sockets_of_the_file_system() {
        for (text, path, secure) in [
            ("unix:///run/conclave/sock", "/run/conclave/sock", false),
            ("unixs://sock", "sock", true),
            ("unix://localhost:12379", "localhost:12379", false),
        ] {
            let url = LocalUrl::parse(text).expect(text).expect(text);
            assert_eq!((url.path.to_str(), url.secure, url.to_string().as_str()), (Some(path), secure, text));
        }
        assert!(LocalUrl::parse("http://a:1").is_none() && LocalUrl::parse("/run/sock").is_none());
        let long = format!("unix:///{}", "x".repeat(LONGEST_PATH));
        for wrong in ["unix://", "unix:///run/", &long, "unix://a\0b"] {
            assert!(LocalUrl::parse(wrong).expect(wrong).is_err(), "{wrong}");
        }
        assert!(error("unix:///run/sock").contains("clients alone"));
    }

    #[test]
    fn only_addresses_can_be_bound() {
        let bind = |text| HttpUrl::parse(text).expect(text).bind_address();
        assert_eq!(bind("http://localhost:1"), Ok("127.0.0.1:1".parse().expect("constant")));
        assert_eq!(bind("http://[::]:1"), Ok("[::]:1".parse().expect("constant")));
        assert!(bind("http://example.org:1").expect_err("a name").contains("IP address"));
    }
}
