//! What the commands of elections, locks and claims have in common: names, callers, pages of names.

use super::Context;
use crate::{
    failure::Result,
    output::{Json, Show, Table, Text, header_json, human},
    parse,
};
use clap::{Args, builder::NonEmptyStringValueParser};
use conclave_client::Channel;
use conclave_client::api::{
    conclave::v1::{Caller, Expect, ListRequest, LockRequestState, Name},
    etcdserverpb::ResponseHeader,
};
use tonic::{Response, Status};

/// This process, as a name that no other has: host name and process id.
pub(crate) fn own_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}

/// The same with the user, for people who look at what is held: `user@host/process`.
pub(crate) fn own_signature() -> String {
    let named =
        ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    // It comes from outside, and becomes part of what others print.
    let user: String = user.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("{user}@{}", own_name())
}

/// A name and where it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct NameArgs {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// The namespace of the name [default: "default"]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
}

impl NameArgs {
    pub(crate) fn name(&self) -> Option<Name> {
        Some(Name { namespace: self.namespace.clone(), name: self.name.clone() })
    }
}

/// Who asks, and on which condition.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CallerArgs {
    /// Only if this is the fence at that moment; else nothing is done, and the exit code is 8
    #[arg(long, value_name = "FENCE")]
    expect_fence: Option<i64>,
    /// Only if nothing has changed since this revision
    #[arg(long, value_name = "REVISION")]
    expect_revision: Option<i64>,
    /// Only if this one leads or holds it; '' for nobody
    #[arg(long, value_name = "NAME")]
    expect_holder: Option<String>,
}

impl CallerArgs {
    /// As an operator, without a session.
    pub(crate) fn caller(&self) -> Option<Caller> {
        self.caller_of(0)
    }

    pub(crate) fn caller_of(&self, session: i64) -> Option<Caller> {
        let expect =
            Expect { fence: self.expect_fence, revision: self.expect_revision, holder: self.expect_holder.clone() };
        let any = expect != Expect::default();
        Some(Caller { session, dedupe_id: dedupe_id(), expect: any.then_some(expect) })
    }
}

/// One operation's, the same in all of its attempts.
pub(crate) fn dedupe_id() -> bytes::Bytes {
    rand::random::<[u8; 16]>().to_vec().into()
}

/// Which names to list.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ListArgs {
    /// Only of this namespace [default: of all]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// As this member knows them, at once, also without a majority
    #[arg(long)]
    pub(crate) serializable: bool,
}

/// One page of names.
pub(crate) struct Page {
    pub(crate) header: Option<ResponseHeader>,
    pub(crate) names: Vec<Name>,
    pub(crate) more: bool,
}

/// All names, page by page, with the header of the first: a watch that starts there misses nothing.
pub(crate) async fn all_names<A: Into<Page>, F>(
    context: &Context,
    args: &ListArgs,
    call: impl Fn(Channel, ListRequest) -> F,
) -> Result<(Option<ResponseHeader>, Vec<Name>)>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let serializable = args.serializable;
    let mut request = ListRequest { namespace: args.namespace.clone(), serializable, ..ListRequest::default() };
    let (mut header, mut names) = (None, Vec::new());
    loop {
        let page: Page = context.link.read(|channel| call(channel, request.clone())).await?.into();
        header = header.or(page.header);
        request.after = page.names.last().cloned();
        names.extend(page.names);
        if !page.more || request.after.is_none() {
            return Ok((header, names));
        }
    }
}

/// The answer to an order that only says whether something changed.
pub(crate) struct Done {
    pub(crate) header: Option<ResponseHeader>,
    pub(crate) changed: bool,
    pub(crate) text: String,
}

impl Show for Done {
    fn simple(&self, text: &mut Text) {
        text.line(&self.text);
    }

    fn json(&self) -> Json {
        Json::object().with("header", header_json(self.header.as_ref())).with("changed", self.changed).done()
    }
}

/// A session that another process keeps alive.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SessionArg {
    /// Under this session (in hexadecimal), which another process keeps alive; see
    /// `conclavectl session`
    #[arg(long, value_parser = parse::lease, value_name = "SESSION")]
    pub(crate) session: Option<i64>,
}

/// Rows of anything, with what programs get.
pub(crate) struct Listing {
    pub(crate) table: Table,
    pub(crate) json: Json,
    /// What people are told if there is no row.
    pub(crate) none: &'static str,
}

impl Show for Listing {
    fn simple(&self, text: &mut Text) {
        if self.table.is_empty() {
            // Not an answer, but not nothing.
            return text.line(self.none);
        }
        text.table(&self.table);
    }

    fn json(&self) -> Json {
        self.json.clone()
    }

    fn table(&self) -> Option<Table> {
        Some(self.table.clone())
    }
}

/// `default`, or what it is.
pub(crate) fn namespace(name: &Name) -> String {
    if name.namespace.is_empty() { "default".into() } else { name.namespace.clone() }
}

/// A name with its namespace, if that is not the default one.
pub(crate) fn full(name: &Name) -> String {
    match namespace(name).as_str() {
        "default" => name.name.clone(),
        namespace => format!("{} (in {namespace})", name.name),
    }
}

/// Who asked for a lock.
pub(crate) fn owner(request: &LockRequestState) -> String {
    if request.owner.is_empty() { human::lease(request.session) } else { request.owner.clone() }
}
