//! `placement`: which member should lead the cluster.

use super::{Context, members, names::Done, wire};
use crate::{
    failure::{Failure, Result},
    output::{
        Json, Show, Table, Text, header_json, human,
        placement::{labels, labels_json},
    },
    parse,
};
use clap::{Args, Subcommand};
use conclave_client::api::{
    conclave::v1::{
        GetPlacementRequest, ListMembersRequest, ListMembersResponse, MemberPlacement, Placement,
        SetMaintenanceRequest, SetPlacementRequest,
        placement::{Rule, rule},
    },
    etcdserverpb::ResponseHeader,
};
use std::time::Duration;

/// Which member should lead the cluster
#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
A rule is about the members of a name, or with a label (conclave --member-label). The weights
of all rules that match a member add up, and the heaviest should lead. Leadership moves to it
by a planned transfer, once the cluster has been calm for a while and that member has kept up.
A member under --never hands over as soon as another one can lead; it leads while none can.

Examples:
  conclavectl placement set --prefer zone=a:10 --prefer n1:5 --never zone=c
  conclavectl placement show")]
pub(crate) enum PlacementCommand {
    /// The policy, and what it means for each member
    #[command(after_long_help = "Example:\n  conclavectl placement show -w json")]
    Show {
        /// As this member knows it, at once, also without a majority
        #[arg(long)]
        serializable: bool,
    },
    /// Set the policy; it takes the place of the one before
    Set(SetArgs),
    /// Remove the policy; leadership stays where it is
    #[command(after_long_help = "Example:\n  conclavectl placement clear")]
    Clear,
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl placement set --prefer zone=a                   a member of zone a, if one keeps up
  conclavectl placement set --prefer zone=a:10 --prefer n1:5  in zone a rather n1
  conclavectl placement set --never n3 --calm 1m")]
pub(crate) struct SetArgs {
    /// Who should lead: a member's name or LABEL=VALUE, with the weight behind it; may be repeated,
    /// or comma-separated [default weight: 1]
    #[arg(long, value_delimiter = ',', value_parser = prefer, value_name = "WHO[:WEIGHT]")]
    #[arg(required_unless_present = "never")]
    prefer: Vec<Rule>,
    /// Who should never lead, if another one can
    #[arg(long, value_delimiter = ',', value_parser = never, value_name = "WHO")]
    never: Vec<Rule>,
    /// For how long leadership must not have moved before it moves for a weight
    #[arg(long, value_parser = parse::duration, default_value = "30s", value_name = "TIME")]
    calm: Duration,
}

fn whom(text: &str) -> Result<rule::Whom, String> {
    match text {
        "" => Err("a member's name, or LABEL=VALUE".into()),
        text if text.contains('=') => Ok(rule::Whom::Label(text.into())),
        text => Ok(rule::Whom::Member(text.into())),
    }
}

fn prefer(text: &str) -> Result<Rule, String> {
    let (who, weight) = text.rsplit_once(':').unwrap_or((text, "1"));
    let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight"))?;
    Ok(Rule { whom: Some(whom(who)?), preference: Some(rule::Preference::Weight(weight)) })
}

fn never(text: &str) -> Result<Rule, String> {
    Ok(Rule { whom: Some(whom(text)?), preference: Some(rule::Preference::Never(true)) })
}

impl PlacementCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Show { serializable } => show(context, serializable).await,
            Self::Set(args) => {
                let calm_ms = u64::try_from(args.calm.as_millis()).unwrap_or(u64::MAX);
                let rules = args.prefer.into_iter().chain(args.never).collect();
                set(context, Placement { rules, calm_ms }, "the policy of placement is set").await
            }
            Self::Clear => set(context, Placement::default(), "there is no policy of placement any more").await,
        }
    }
}

async fn set(context: &Context, placement: Placement, text: &str) -> Result<()> {
    let request = SetPlacementRequest { placement: Some(placement) };
    // The same policy twice is the same policy.
    let done = context.link.repeat(|channel| wire::set_placement(channel, request.clone())).await?;
    context.out.show(&Done { header: done.header, changed: true, text: text.into() })
}

/// Puts a member in maintenance, or takes it out.
pub(super) async fn maintenance(context: &Context, member: &str, on: bool) -> Result<()> {
    let request = SetMaintenanceRequest { member: members::named(context, member).await?, on };
    let done = context.link.repeat(|channel| wire::set_maintenance(channel, request)).await;
    let done = done.map_err(|failure| failure.about(format!("member {member}")))?;
    let text = match on {
        true => format!("member {:x} is in maintenance: it gives leadership away and is not chosen", request.member),
        false => format!("member {:x} may lead again", request.member),
    };
    context.out.show(&Done { header: done.header, changed: true, text })
}

/// What is known of the members beyond etcd's list; nothing of a server that does not know more.
pub(super) async fn of_members(context: &Context, serializable: bool) -> Vec<MemberPlacement> {
    let request = ListMembersRequest { serializable };
    let found = context.link.read(|channel| wire::list_members(channel, request)).await;
    found.map(|found| found.members).unwrap_or_default()
}

async fn show(context: &Context, serializable: bool) -> Result<()> {
    let request = GetPlacementRequest { serializable };
    let found = context.link.read(|channel| wire::get_placement(channel, request)).await?;
    let request = ListMembersRequest { serializable };
    let ListMembersResponse { members, leader, .. } =
        context.link.read(|channel| wire::list_members(channel, request)).await?;
    let placement = found.placement.ok_or_else(|| Failure::odd_answer("no policy"))?;
    context.out.show(&Shown { header: found.header, placement, members, leader })
}

struct Shown {
    header: Option<ResponseHeader>,
    placement: Placement,
    members: Vec<MemberPlacement>,
    leader: u64,
}

/// `zone=a:10`, as `set` takes it, and `never`.
fn parts(rule: &Rule) -> (String, String) {
    let whom = match &rule.whom {
        Some(rule::Whom::Member(text) | rule::Whom::Label(text)) => text.clone(),
        None => "-".into(),
    };
    let preference = match rule.preference {
        Some(rule::Preference::Weight(weight)) => weight.to_string(),
        _ => "never".into(),
    };
    (whom, preference)
}

fn weight(member: &MemberPlacement) -> String {
    match (member.maintenance, member.never) {
        (true, _) => "maintenance".into(),
        (_, true) => "never".into(),
        _ => member.weight.to_string(),
    }
}

impl Shown {
    fn members_table(&self) -> Table {
        let mut table = Table::new(["MEMBER", "NAME", "LEADS", "WEIGHT", "LABELS"]);
        for member in &self.members {
            table.row([
                format!("{:x}", member.id),
                human::or_dash(&member.name),
                if member.id == self.leader { "yes".into() } else { "-".to_owned() },
                weight(member),
                human::or_dash(&labels(member).join(",")),
            ]);
        }
        table
    }
}

impl Show for Shown {
    fn has_ids(&self) -> bool {
        true
    }

    fn simple(&self, text: &mut Text) {
        if self.placement.rules.is_empty() {
            text.line("no policy: leadership stays where it is");
        } else {
            let calm = human::go_duration(Duration::from_millis(self.placement.calm_ms));
            text.line(format!("leadership moves for a weight after {calm} of calm"));
            let mut table = Table::new(["WHO", "WEIGHT"]);
            self.placement.rules.iter().map(parts).for_each(|(whom, preference)| table.row([whom, preference]));
            text.line("");
            text.table(&table);
        }
        text.line("");
        text.table(&self.members_table());
    }

    fn json(&self) -> Json {
        let rule = |rule: &Rule| {
            let (whom, preference) = parts(rule);
            let json = Json::object();
            let json = match &rule.whom {
                Some(rule::Whom::Label(_)) => json.with("label", whom),
                _ => json.with("member", whom),
            };
            match rule.preference {
                Some(rule::Preference::Weight(weight)) => json.with("weight", weight).done(),
                _ => json.with(if preference == "never" { "never" } else { "weight" }, true).done(),
            }
        };
        let member = |member: &MemberPlacement| {
            Json::object()
                .with("ID", member.id)
                .with("name", &member.name)
                .with("leads", member.id == self.leader)
                .with("labels", labels_json(member))
                .with("maintenance", member.maintenance)
                .with("never", member.never)
                .with("weight", member.weight)
                .done()
        };
        Json::object()
            .with("header", header_json(self.header.as_ref()))
            .with("calm_ms", self.placement.calm_ms)
            .with("rules", Json::list(&self.placement.rules, rule))
            .with("members", Json::list(&self.members, member))
            .done()
    }

    fn table(&self) -> Option<Table> {
        Some(self.members_table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_they_are_written() {
        let of = |text: &str| prefer(text).map(|rule| parts(&rule));
        assert_eq!(of("n1"), Ok(("n1".into(), "1".into())));
        assert_eq!(of("zone=a:10"), Ok(("zone=a".into(), "10".into())));
        assert!(matches!(prefer("zone=a").unwrap().whom, Some(rule::Whom::Label(_))));
        assert!(of("").is_err() && of("n1:").is_err() && of("n1:x").is_err() && of(":7").is_err());
        assert_eq!(never("zone=c").map(|rule| parts(&rule)), Ok(("zone=c".into(), "never".into())));
    }
}
