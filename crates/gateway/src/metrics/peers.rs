//! What passes between this member and the others, under etcd's names and labels.

use super::Durations;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// Another member as this one counts it.
#[derive(Clone, Debug, Default)]
pub struct PeerFigures {
    pub id: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub failures: u64,
    /// Whether it was reached of late; `None` if there was nothing to reach it for.
    pub active: Option<bool>,
    pub round_trips: Durations,
}

pub(super) fn register(registry: &mut Registry, me: u64, peers: Vec<PeerFigures>) {
    let (known, active) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
    let (sent, received) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let failures = Family::<Labels, Counter>::default();
    for peer in &peers {
        let id = format!("{:x}", peer.id);
        let pair = vec![("Local", format!("{me:x}")), ("Remote", id.clone())];
        if let Some(reached) = peer.active {
            active.get_or_create(&pair).set(i64::from(reached));
        }
        known.get_or_create(&pair).set(1);
        let to = vec![("To", id.clone())];
        sent.get_or_create(&to).inc_by(peer.sent_bytes);
        failures.get_or_create(&to).inc_by(peer.failures);
        received.get_or_create(&vec![("From", id)]).inc_by(peer.received_bytes);
    }
    registry.register("etcd_network_known_peers", "The other members", known);
    registry.register("etcd_network_active_peers", "Whether another member was reached of late", active);
    registry.register("etcd_network_peer_sent_bytes", "Bytes of entries and snapshots sent", sent);
    registry.register("etcd_network_peer_received_bytes", "Bytes of entries received", received);
    registry.register("etcd_network_peer_sent_failures", "Calls that had no answer", failures);
    registry.register_collector(Box::new(RoundTrips(peers)));
}

#[derive(Debug)]
struct RoundTrips(Vec<PeerFigures>);

impl Collector for RoundTrips {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        const NAME: &str = "etcd_network_peer_round_trip_time_seconds";
        if self.0.is_empty() {
            return Ok(());
        }
        let help = "Seconds that the leader's heartbeats took there and back";
        let mut family = encoder.encode_descriptor(NAME, help, None, MetricType::Histogram)?;
        for peer in &self.0 {
            let to = [("To", format!("{:x}", peer.id))];
            peer.round_trips.encode(family.encode_family(&to)?)?;
        }
        Ok(())
    }
}
