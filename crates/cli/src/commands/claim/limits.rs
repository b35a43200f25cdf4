//! `claim limits`: what claims of a namespace may ask for.

use super::super::{
    Context,
    names::{CallerArgs, Done},
    wire,
};
use crate::{
    failure::{Failure, Result},
    output::{Json, Show, Text, header_json, human},
    parse,
};
use clap::{Args, Subcommand};
use conclave_client::api::{
    conclave::v1::{Limits, ListRequest, SetLimitsRequest},
    etcdserverpb::{RangeRequest, ResponseHeader},
};
use std::{fmt::Write as _, time::Duration};

/// Where nothing was set.
const DEFAULTS: Limits = Limits { min_ms: 5_000, max_ms: 300_000, max_waiting: 100_000 };

#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
Claims that are held stay as they are; the limits are for what is asked from now on.

Examples:
  conclavectl claim limits show                          of the namespace \"default\"
  conclavectl claim limits set billing --min 1s --max 1h
  conclavectl claim limits reset billing                 back to the defaults")]
pub(crate) enum LimitsCommand {
    /// The limits of a namespace
    #[command(after_long_help = "Example:\n  conclavectl claim limits show billing")]
    Show(NamespaceArg),
    /// Set limits; those that are left out stay as they are
    #[command(after_long_help = "Example:\n  conclavectl claim limits set billing --min 1s --max 1h")]
    Set(SetArgs),
    /// Back to the defaults: 5s to 5m, 100000 waiting
    #[command(after_long_help = "Example:\n  conclavectl claim limits reset billing")]
    Reset(NamespaceArg),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct NamespaceArg {
    /// Of which namespace
    #[arg(default_value = "default")]
    namespace: String,
}

#[derive(Args, Clone, Debug)]
#[group(id = "limit", required = true, multiple = true, args = ["min", "max", "max_waiting"])]
pub(crate) struct SetArgs {
    #[command(flatten)]
    namespace: NamespaceArg,
    /// The shortest duration that a claim may be for
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    min: Option<Duration>,
    /// The longest
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    max: Option<Duration>,
    /// How many may wait for one claim
    #[arg(long, value_name = "COUNT")]
    max_waiting: Option<u32>,
}

struct Shown {
    header: Option<ResponseHeader>,
    namespace: String,
    limits: Limits,
    set: bool,
}

fn words(limits: &Limits) -> String {
    let Limits { min_ms, max_ms, max_waiting } = *limits;
    format!("for {} to {}, at most {max_waiting} waiting", human::millis(min_ms), human::millis(max_ms))
}

impl Show for Shown {
    fn simple(&self, text: &mut Text) {
        let defaults = if self.set { "" } else { " (the defaults)" };
        text.line(format!("{}: {}{defaults}", self.namespace, words(&self.limits)));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.header.as_ref()))
            .with("namespace", &self.namespace)
            .with("min_ms", self.limits.min_ms)
            .with("max_ms", self.limits.max_ms)
            .with("max_waiting", self.limits.max_waiting)
            .with("set", self.set)
            .done()
    }
}

impl LimitsCommand {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Show(NamespaceArg { namespace }) => {
                context.out.show(&read(context, namespace).await?)?;
                Ok(())
            }
            Self::Reset(NamespaceArg { namespace }) => set(context, namespace, None).await,
            Self::Set(SetArgs { namespace: NamespaceArg { namespace }, min, max, max_waiting }) => {
                let now = read(context, namespace.clone()).await?.limits;
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let limits = Limits {
                    min_ms: min.map_or(now.min_ms, millis),
                    max_ms: max.map_or(now.max_ms, millis),
                    max_waiting: max_waiting.unwrap_or(now.max_waiting),
                };
                if limits.min_ms > limits.max_ms {
                    return Err(Failure::usage(format!("nothing is left between {}", words(&limits)))
                        .hint("the shortest duration must not be above the longest; give both --min and --max"));
                }
                set(context, namespace, Some(limits)).await
            }
        }
    }
}

async fn set(context: &Context, namespace: String, limits: Option<Limits>) -> Result<()> {
    let request = SetLimitsRequest { caller: CallerArgs::default().caller(), namespace: namespace.clone(), limits };
    let response = context.link.repeat(|channel| wire::set_limits(channel, request.clone())).await?;
    let before = if response.changed { "" } else { " (as before)" };
    let text = format!("{namespace}: {}{before}", words(&limits.unwrap_or(DEFAULTS)));
    context.out.show(&Done { header: response.header, changed: response.changed, text })?;
    Ok(())
}

/// They are read from the key that shows them; there is none where nothing was set.
async fn read(context: &Context, namespace: String) -> Result<Shown> {
    // A server without claims has no such key either.
    let claims = ListRequest { namespace: namespace.clone(), limit: 1, ..ListRequest::default() };
    context.link.read(|channel| wire::list_claims(channel, claims.clone())).await?;
    let request = RangeRequest { key: key(&namespace).into(), ..RangeRequest::default() };
    let response = context.link.read(|channel| wire::range(channel, request.clone())).await?;
    let limits = match response.kvs.first() {
        None => None,
        Some(kv) => Some(parsed(&kv.value).ok_or_else(|| Failure::odd_answer("limits that can be read"))?),
    };
    Ok(Shown { header: response.header, namespace, set: limits.is_some(), limits: limits.unwrap_or(DEFAULTS) })
}

fn parsed(json: &[u8]) -> Option<Limits> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(Limits {
        min_ms: json["min_ms"].as_u64()?,
        max_ms: json["max_ms"].as_u64()?,
        max_waiting: u32::try_from(json["max_waiting"].as_u64()?).ok()?,
    })
}

/// `/_conclave/n/` and the namespace, with what cannot stand in a part of a key escaped.
fn key(namespace: &str) -> String {
    let mut key = "/_conclave/n/".to_owned();
    for c in namespace.chars() {
        match c {
            '/' | '%' | '\0'..=' ' | '\x7f' => {
                write!(key, "%{:02x}", u32::from(c)).expect("writing to a text does not fail")
            }
            c => key.push(c),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_shown() {
        let limits = parsed(br#"{"min_ms":1000,"max_ms":60000,"max_waiting":7}"#);
        assert_eq!(limits, Some(Limits { min_ms: 1000, max_ms: 60_000, max_waiting: 7 }));
        assert_eq!(parsed(b"{}"), None);
        assert_eq!(key("a/b c"), "/_conclave/n/a%2fb%20c");
    }
}
