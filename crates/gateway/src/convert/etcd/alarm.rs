//! Alarms.

use crate::status::Invalid;
use conclave_api::etcdserverpb::alarm_request::AlarmAction;
use conclave_api::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType};
use conclave_state::{Alarm, AlarmKind};

/// What to do, and with which kind of alarm (`None`: with all of them when reading, with none when
/// changing).
pub fn alarm(request: &AlarmRequest) -> Result<(AlarmAction, Option<AlarmKind>), Invalid> {
    let action = AlarmAction::try_from(request.action).map_err(|_| Invalid::Alarm)?;
    let kind = match AlarmType::try_from(request.alarm).map_err(|_| Invalid::Alarm)? {
        AlarmType::None => None,
        AlarmType::Nospace => Some(AlarmKind::NoSpace),
        AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    };
    Ok((action, kind))
}

fn alarm_type(kind: AlarmKind) -> AlarmType {
    match kind {
        AlarmKind::NoSpace => AlarmType::Nospace,
        AlarmKind::Corrupt => AlarmType::Corrupt,
    }
}

#[must_use]
pub fn alarm_member(alarm: Alarm) -> AlarmMember {
    AlarmMember { member_id: alarm.member, alarm: alarm_type(alarm.kind).into() }
}

/// As tools for etcd show it in a status.
#[must_use]
pub fn alarm_text(alarm: Alarm) -> String {
    format!("memberID:{} alarm:{} ", alarm.member, alarm_type(alarm.kind).as_str_name())
}
