//! What it was measured on.

use serde::Deserialize;

/// As `scripts/bench` writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: u32,
    pub(super) memory_gb: f64,
    pub(super) kernel: String,
    pub(super) filesystem: String,
    /// Mean of a small write with a sync.
    pub(super) sync_ms: f64,
    pub(super) etcd: String,
    pub(super) conclave: String,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    /// A short run, whose figures prove nothing.
    pub(super) quick: bool,
    /// What else ran: the load average before the first round.
    pub(super) load_before: f64,
}

impl Machine {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("machine.json: {error}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn machine() -> Machine {
        let text = r#"{"processor":"a processor","cores":2,"memory_gb":23.5,"kernel":"6.1","filesystem":"ext4","sync_ms":0.15,
            "etcd":"3.4.23","conclave":"0.1.0","rounds":5,"seconds":5,"quick":true,"load_before":0.1}"#;
        Machine::parse(text).expect("well-formed")
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(machine().cores, 2);
        assert!(Machine::parse("{}").expect_err("nothing there").contains("processor"));
    }
}
