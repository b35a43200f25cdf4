//! Which version of Conclave the cluster is: what its members may write, so that each of them can
//! read it.
//!
//! A member announces which cluster versions it can serve in. The leader raises the cluster's
//! version to the lowest that all members have as their newest, and nothing but an explicit
//! downgrade lowers it.
//!
//! 1. The version is one that every member that announced itself supports: an announcement that
//!    excludes it is refused, and so is a version that an announcement excludes.
//! 2. It only rises, except by [`VersionChange::Downgrade`], and not while a downgrade is under
//!    way.
//! 3. A removed member's announcement is gone with it, in the entry that removes it.
//!
//! | Row of the table meta | Value |
//! |---|---|
//! | `state/version` | the version (4 bytes), the version that a downgrade leads to (4 bytes, 0: none) |
//! | `state/supports/`, member | oldest and newest version, peer protocol, command form, format on disk: 4 bytes each |

use crate::keys::{self, removed_row, supports_row};
use crate::machine::Batch;
use crate::meta::scan_meta;
use crate::version::{ClusterVersion, Supports, Version, VersionChange};
use crate::view::{Fault, Table, View};
use crate::{Response, VersionAnswer};

impl<V: View> Batch<'_, V> {
    pub(crate) fn version_change(&mut self, change: VersionChange) -> Result<Response, Fault> {
        let mut now = cluster_version(&self.rows)?;
        let before = now;
        let answer = match change {
            VersionChange::Announce { member, supports } => self.supports(member, supports, now)?,
            VersionChange::Raise { to } => {
                let possible = supported(&self.rows)?.iter().all(|(_, member)| member.includes(to));
                if possible && now.downgrade.is_none() && now.decided.is_none_or(|decided| decided < to) {
                    now.decided = Some(to);
                }
                VersionAnswer::Done
            }
            VersionChange::Downgrade { to } => {
                let answer = judge(now, to, &supported(&self.rows)?);
                if answer == VersionAnswer::Done {
                    now = ClusterVersion { decided: Some(to), downgrade: Some(to) };
                }
                answer
            }
            VersionChange::CancelDowngrade => {
                now.downgrade = None;
                VersionAnswer::Done
            }
            VersionChange::EndDowngrade => {
                let arrived = |target| supported(&self.rows).map(|all| all.iter().all(|(_, m)| m.newest <= target));
                if now.downgrade.map(arrived).transpose()? == Some(true) {
                    now.downgrade = None;
                }
                VersionAnswer::Done
            }
        };
        if now != before {
            let row = encode_version(now);
            self.machine.digest.other(25, &row);
            self.rows.put(Table::Meta, keys::VERSION.to_vec(), row);
            self.version = Some(now);
        }
        Ok(Response::Version(answer))
    }

    fn supports(&mut self, member: u64, supports: Supports, now: ClusterVersion) -> Result<VersionAnswer, Fault> {
        match now.decided {
            Some(version) if version > supports.newest => return Ok(VersionAnswer::TooOld { version }),
            Some(version) if version < supports.oldest => return Ok(VersionAnswer::TooNew { version }),
            _ => {}
        }
        // What a removed member still says has no effect.
        if self.rows.get(Table::Meta, &removed_row(member))?.is_none() {
            let row = encode_supports(&supports);
            self.machine.digest.other(26, &[&member.to_be_bytes()[..], &row].concat());
            self.rows.put(Table::Meta, supports_row(member), row);
        }
        Ok(VersionAnswer::Done)
    }
}

/// Whether a cluster of that version can go back to `to`.
fn judge(now: ClusterVersion, to: Version, members: &[(u64, Supports)]) -> VersionAnswer {
    match now.decided {
        None => VersionAnswer::Undecided,
        Some(_) if now.downgrade.is_some() => VersionAnswer::UnderWay,
        Some(now) if now.before() != Some(to) => VersionAnswer::InvalidTarget,
        Some(_) if members.iter().any(|(_, member)| member.oldest > to) => VersionAnswer::InvalidTarget,
        Some(_) => VersionAnswer::Done,
    }
}

/// The version of the cluster.
pub fn cluster_version<V: View>(view: &V) -> Result<ClusterVersion, Fault> {
    Ok(view.decoded(Table::Meta, keys::VERSION, |row| decode_version(row))?.unwrap_or_default())
}

/// What each member announced, by id.
pub fn supported<V: View>(view: &V) -> Result<Vec<(u64, Supports)>, Fault> {
    let mut all = Vec::new();
    scan_meta(view, keys::SUPPORTS, |row, value| {
        let id = row.strip_prefix(keys::SUPPORTS).and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| Fault::Corrupt("a row of a member's versions cannot be read".into()))?;
        all.push((u64::from_be_bytes(id), decode_supports(value)?));
        Ok(())
    })?;
    Ok(all)
}

/// Whether the cluster can go back to this version now.
pub fn judge_downgrade<V: View>(view: &V, to: Version) -> Result<VersionAnswer, Fault> {
    Ok(judge(cluster_version(view)?, to, &supported(view)?))
}

fn encode_version(version: ClusterVersion) -> Vec<u8> {
    let packed = |version: Option<Version>| version.map_or(0, Version::packed).to_be_bytes();
    [packed(version.decided), packed(version.downgrade)].concat()
}

pub(crate) fn decode_version(row: &[u8]) -> Result<ClusterVersion, Fault> {
    let (decided, rest) = row.split_first_chunk::<4>().ok_or_else(cut)?;
    let (downgrade, _) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let unpacked = |number: &[u8; 4]| Version::unpacked(u32::from_be_bytes(*number));
    Ok(ClusterVersion { decided: unpacked(decided), downgrade: unpacked(downgrade) })
}

fn cut() -> Fault {
    Fault::Corrupt("a row of versions is too short".into())
}

fn encode_supports(supports: &Supports) -> Vec<u8> {
    let Supports { oldest, newest, peer_protocol, command_form, disk_format } = supports;
    let numbers = [oldest.packed(), newest.packed(), *peer_protocol, *command_form, *disk_format];
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Later versions may add numbers at the end.
pub(crate) fn decode_supports(row: &[u8]) -> Result<Supports, Fault> {
    let (numbers, _) = row.as_chunks::<4>();
    let number = |at: usize| numbers.get(at).map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(cut);
    let version = |at| Version::unpacked(number(at)?).ok_or_else(cut);
    Ok(Supports {
        oldest: version(0)?,
        newest: version(1)?,
        peer_protocol: number(2)?,
        command_form: number(3)?,
        disk_format: number(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::TestStore;
    use crate::{Command, NoVersion};

    fn version(minor: u16) -> Version {
        Version { major: 0, minor }
    }

    fn between(oldest: u16, newest: u16) -> Supports {
        let (oldest, newest) = (version(oldest), version(newest));
        Supports { oldest, newest, peer_protocol: 1, command_form: 1, disk_format: 1 }
    }

    /// The answer, and the version that the batch told its followers.
    fn change(store: &mut TestStore, change: VersionChange) -> (VersionAnswer, Option<ClusterVersion>) {
        match store.apply(&Command::Version(change)) {
            (Response::Version(answer), changes) => (answer, changes.version),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn announce(store: &mut TestStore, member: u64, supports: Supports) -> VersionAnswer {
        change(store, VersionChange::Announce { member, supports }).0
    }

    fn raise(store: &mut TestStore, minor: u16) -> Option<Version> {
        change(store, VersionChange::Raise { to: version(minor) });
        now(store).decided
    }

    fn now(store: &TestStore) -> ClusterVersion {
        cluster_version(&store.view).unwrap()
    }

    #[test]
    fn texts_of_versions() {
        assert_eq!("0.1".parse(), Ok(version(1)));
        assert_eq!("3.6.12".parse(), Ok(Version { major: 3, minor: 6 }));
        for bad in ["", "x", "1", "0.0", "0.1.", "0.1.2.3", "v0.1", "0.+1", "0.70000", "-0.1", "0.1.x"] {
            assert_eq!(bad.parse::<Version>(), Err(NoVersion), "{bad:?}");
        }
        assert_eq!(version(2).to_string(), "0.2");
        assert_eq!((version(2).before(), version(1).before()), (Some(version(1)), None));
        assert_eq!(Version::unpacked(Version { major: 7, minor: 9 }.packed()), Some(Version { major: 7, minor: 9 }));
    }

    #[test]
    fn the_version_is_the_lowest_of_all_members_and_only_rises() {
        let mut store = TestStore::new();
        assert_eq!(now(&store).version(), Version::FIRST);
        assert_eq!(announce(&mut store, 1, between(1, 3)), VersionAnswer::Done);
        assert_eq!(announce(&mut store, 2, between(1, 2)), VersionAnswer::Done);
        assert_eq!(raise(&mut store, 3), None, "member 2 does not support it");
        assert_eq!(raise(&mut store, 2), Some(version(2)));
        assert_eq!(raise(&mut store, 1), Some(version(2)));
        assert_eq!(announce(&mut store, 2, between(1, 3)), VersionAnswer::Done);
        assert_eq!(raise(&mut store, 3), Some(version(3)));
        // A member with another program must support what is written.
        assert_eq!(announce(&mut store, 2, between(1, 2)), VersionAnswer::TooOld { version: version(3) });
        assert_eq!(announce(&mut store, 4, between(4, 5)), VersionAnswer::TooNew { version: version(3) });
        let known = supported(&store.view).unwrap();
        assert_eq!(known, [(1, between(1, 3)), (2, between(1, 3))], "what is refused has no effect");
    }

    #[test]
    fn a_change_is_told_once() {
        let mut store = TestStore::new();
        assert_eq!(change(&mut store, VersionChange::Announce { member: 1, supports: between(1, 2) }).1, None);
        let raised = ClusterVersion { decided: Some(version(2)), downgrade: None };
        assert_eq!(change(&mut store, VersionChange::Raise { to: version(2) }).1, Some(raised));
        assert_eq!(change(&mut store, VersionChange::Raise { to: version(2) }).1, None);
    }

    #[test]
    fn a_removed_member_holds_nobody_back() {
        let mut store = TestStore::new();
        announce(&mut store, 1, between(1, 2));
        announce(&mut store, 2, between(1, 1));
        assert_eq!(raise(&mut store, 2), None);
        store.step(|batch| batch.members_changed(&[], &[2]));
        assert_eq!(raise(&mut store, 2), Some(version(2)));
        assert_eq!(announce(&mut store, 2, between(1, 2)), VersionAnswer::Done);
        assert_eq!(supported(&store.view).unwrap().len(), 1, "a late announcement has no effect");
    }

    #[test]
    fn a_downgrade_goes_back_by_one_and_ends_when_all_have_arrived() {
        let mut store = TestStore::new();
        let down = |store: &mut TestStore, minor| change(store, VersionChange::Downgrade { to: version(minor) }).0;
        assert_eq!(down(&mut store, 1), VersionAnswer::Undecided);
        for member in [1, 2] {
            announce(&mut store, member, between(2, 3));
        }
        raise(&mut store, 3);
        for target in [1, 3, 4] {
            assert_eq!(down(&mut store, target), VersionAnswer::InvalidTarget, "{target}");
        }
        assert_eq!(judge_downgrade(&store.view, version(2)).unwrap(), VersionAnswer::Done);
        assert_eq!(now(&store).downgrade, None, "to judge is to do nothing");
        assert_eq!(down(&mut store, 2), VersionAnswer::Done);
        let under_way = ClusterVersion { decided: Some(version(2)), downgrade: Some(version(2)) };
        assert_eq!(now(&store), under_way);
        assert_eq!(down(&mut store, 1), VersionAnswer::UnderWay);
        raise(&mut store, 3);
        assert_eq!(now(&store), under_way, "it does not rise meanwhile");
        announce(&mut store, 1, between(1, 2));
        change(&mut store, VersionChange::EndDowngrade);
        assert_eq!(now(&store), under_way, "member 2 is still there");
        announce(&mut store, 2, between(1, 2));
        change(&mut store, VersionChange::EndDowngrade);
        assert_eq!(now(&store), ClusterVersion { decided: Some(version(2)), downgrade: None });
    }

    #[test]
    fn a_downgrade_that_was_cancelled_lets_the_version_rise() {
        let mut store = TestStore::new();
        announce(&mut store, 1, between(1, 2));
        raise(&mut store, 2);
        change(&mut store, VersionChange::Downgrade { to: version(1) });
        change(&mut store, VersionChange::CancelDowngrade);
        assert_eq!(now(&store), ClusterVersion { decided: Some(version(1)), downgrade: None });
        assert_eq!(raise(&mut store, 2), Some(version(2)));
    }

    #[test]
    fn a_target_that_a_member_cannot_serve_is_none() {
        let mut store = TestStore::new();
        announce(&mut store, 1, between(2, 2));
        raise(&mut store, 2);
        let answer = change(&mut store, VersionChange::Downgrade { to: version(1) }).0;
        assert_eq!(answer, VersionAnswer::InvalidTarget);
    }

    #[test]
    fn the_leader_waits_for_every_member() {
        let undecided = ClusterVersion::default();
        let raise = |minor| Some(VersionChange::Raise { to: version(minor) });
        assert_eq!(undecided.due(&[Some(between(1, 2)), None]), None);
        assert_eq!(undecided.due(&[]), None);
        assert_eq!(undecided.due(&[Some(between(1, 2)), Some(between(1, 3))]), raise(2));
        let now = ClusterVersion { decided: Some(version(2)), downgrade: None };
        assert_eq!(now.due(&[Some(between(1, 2)), Some(between(1, 3))]), None);
        assert_eq!(now.due(&[Some(between(1, 3)), Some(between(3, 4))]), raise(3));
        assert_eq!(now.due(&[Some(between(1, 3)), Some(between(4, 4))]), None, "no version suits both");
        let back = ClusterVersion { decided: Some(version(1)), downgrade: Some(version(1)) };
        assert_eq!(back.due(&[Some(between(1, 2)), Some(between(1, 1))]), None);
        assert_eq!(back.due(&[Some(between(1, 1)); 2]), Some(VersionChange::EndDowngrade));
    }

    #[test]
    fn rows_read_back_as_written() {
        let version = ClusterVersion { decided: Some(version(7)), downgrade: Some(version(6)) };
        for version in [version, ClusterVersion::default(), ClusterVersion { downgrade: None, ..version }] {
            assert_eq!(decode_version(&encode_version(version)).unwrap(), version);
        }
        assert!(decode_version(&[0; 7]).is_err());
        let supports = Supports { peer_protocol: 2, command_form: 3, disk_format: 4, ..between(1, 9) };
        assert_eq!(decode_supports(&encode_supports(&supports)).unwrap(), supports);
        assert!(decode_supports(&[0; 20]).is_err() && decode_supports(&[1; 19]).is_err());
    }
}
