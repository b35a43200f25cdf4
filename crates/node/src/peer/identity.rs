//! Sender, receiver and cluster: three ids on every peer call.
//!
//! A wrong address, a restored copy of another cluster, or a member started under another's address
//! must not be able to vote or append. The ids are compared before anything else in a call is read.
//!
//! A refusal does not reveal the right ids, because a stranger could use them to speak as a member.

use super::PeerError;
use super::validate::Refusal;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

const CLUSTER: &str = "conclave-cluster";
const FROM: &str = "conclave-from";
const TO: &str = "conclave-to";

/// The ids of one direction between two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub cluster: u64,
    pub from: u64,
    pub to: u64,
}

/// [`Ids`] encoded for the requests.
#[derive(Clone)]
pub(super) struct Stamp {
    values: [(&'static str, MetadataValue<Ascii>); 3],
}

impl Stamp {
    pub(super) fn new(ids: Ids) -> Stamp {
        let value = |id: u64| format!("{id:x}").parse().expect("hexadecimal digits are valid metadata");
        Stamp { values: [(CLUSTER, value(ids.cluster)), (FROM, value(ids.from)), (TO, value(ids.to))] }
    }
}

impl tonic::service::Interceptor for Stamp {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        for (name, value) in &self.values {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

pub(super) fn read(metadata: &MetadataMap) -> Result<Ids, PeerError> {
    let id = |name: &str| {
        let text = metadata.get(name).and_then(|v| v.to_str().ok());
        let id = text.and_then(|t| u64::from_str_radix(t, 16).ok());
        id.ok_or_else(|| PeerError::Refused(format!("a peer call without a valid {name}")))
    };
    Ok(Ids { cluster: id(CLUSTER)?, from: id(FROM)?, to: id(TO)? })
}

impl Ids {
    /// Checks the ids of a call for the receiver `me` of `cluster`. The sender may be a member that
    /// the receiver has not heard of yet: a leader or candidate of a later membership.
    pub(super) fn check(&self, cluster: u64, me: u64, was_removed: impl Fn(u64) -> bool) -> Result<(), Refusal> {
        self.check_address(cluster, me)?;
        if was_removed(self.from) {
            return Err(Refusal("the caller was removed from this cluster"));
        }
        Ok(())
    }

    /// Whether the call is for this member, from another one.
    pub(super) fn check_address(&self, cluster: u64, me: u64) -> Result<(), Refusal> {
        if self.cluster != cluster {
            return Err(Refusal("the call is for another cluster"));
        }
        if self.to != me {
            return Err(Refusal("the call is for another member"));
        }
        if self.from == me || self.from == 0 {
            return Err(Refusal("the caller is not another member of this cluster"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::service::Interceptor;

    #[test]
    fn stamped_ids_are_read_back() {
        let ids = Ids { cluster: 0xabc, from: u64::MAX, to: 7 };
        let request = Stamp::new(ids).call(tonic::Request::new(())).unwrap();
        assert_eq!(read(request.metadata()), Ok(ids));
        assert!(read(&MetadataMap::new()).is_err());
    }

    #[test]
    fn strangers_are_refused() {
        let ids = Ids { cluster: 1, from: 2, to: 3 };
        let member = |id| id == 8;
        assert_eq!(ids.check(1, 3, member), Ok(()));
        assert_eq!(Ids { from: 5, ..ids }.check(1, 3, member), Ok(()), "a member that was added since");
        assert!(ids.check(9, 3, member).is_err(), "another cluster");
        assert!(ids.check(1, 2, member).is_err(), "meant for another member");
        assert!(Ids { from: 8, ..ids }.check(1, 3, member).is_err(), "it was removed");
        assert!(Ids { from: 8, ..ids }.check_address(1, 3).is_ok(), "it may ask");
        assert!(Ids { from: 0, ..ids }.check(1, 3, member).is_err(), "nobody");
        assert!(Ids { from: 3, ..ids }.check(1, 3, member).is_err(), "two of one id");
        let told = Ids { cluster: 9, from: 8, to: 7 }.check(1, 3, member).unwrap_err().to_string();
        assert!(!told.contains(|c: char| c.is_ascii_digit()), "{told}");
    }
}
