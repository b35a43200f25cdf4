//! A running cluster changes to TLS member by member: the membership keeps the URLs with which its
//! members were added, and each member's own `--initial-cluster` says which of them it reaches by
//! TLS.

use super::transport::{Link, Transport};
use crate::config::Config;
use conclave_storage::types::MemberNode;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) struct Schemes<T> {
    transport: T,
    /// Addresses with `https` in the configuration.
    secure: BTreeSet<String>,
}

impl<T: Transport> Schemes<T> {
    pub(crate) fn new(config: &Config, transport: T) -> Schemes<T> {
        let urls = config.initial_cluster.iter().flat_map(|member| &member.peer_urls);
        let texts = urls.map(ToString::to_string);
        let secure = texts.filter_map(|url| url.strip_prefix("https://").map(str::to_owned)).collect();
        Schemes { transport, secure }
    }
}

impl<T: Transport> Transport for Schemes<T> {
    fn link(&self, to: u64, node: &MemberNode) -> Arc<dyn Link> {
        let mut node = node.clone();
        for url in &mut node.peer_urls {
            if let Some(address) = url.strip_prefix("http://")
                && self.secure.contains(address)
            {
                *url = format!("https://{address}");
            }
        }
        self.transport.link(to, &node)
    }
}
