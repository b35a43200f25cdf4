//! `auth`, `user`, `role`.

use crate::output::{Fields, Json, Show, Text, header_fields, header_json};
use crate::parse::Keys;
use conclave_client::api::authpb::{Permission, permission::Type};
use conclave_client::api::etcdserverpb::{
    AuthRoleGetResponse, AuthStatusResponse, AuthUserGetResponse, ResponseHeader,
};

/// The answer to a change: what was done.
pub(crate) struct AuthChanged<'a>(pub(crate) String, pub(crate) Option<&'a ResponseHeader>);

pub(crate) struct AuthStatus<'a>(pub(crate) &'a AuthStatusResponse);

/// The answer to `user list` and `role list`.
pub(crate) struct Names<'a>(pub(crate) &'static str, pub(crate) &'a [String], pub(crate) Option<&'a ResponseHeader>);

pub(crate) struct UserOf<'a> {
    pub(crate) user: &'a str,
    pub(crate) answer: &'a AuthUserGetResponse,
    /// Its roles, if they are to be shown.
    pub(crate) detail: Option<&'a Vec<(String, AuthRoleGetResponse)>>,
}

pub(crate) struct RoleOf<'a> {
    pub(crate) role: &'a str,
    pub(crate) answer: &'a AuthRoleGetResponse,
}

impl Show for AuthChanged<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(&self.0);
    }

    fn json(&self) -> Json {
        Json::object().with("header", header_json(self.1)).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.1);
    }
}

impl Show for AuthStatus<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("Authentication Status: {}", self.0.enabled));
        text.line(format!("AuthRevision: {}", self.0.auth_revision));
    }

    fn json(&self) -> Json {
        let header = header_json(self.0.header.as_ref());
        let object = Json::object().with("header", header);
        let object = if self.0.enabled { object.with("enabled", true) } else { object };
        object.with("authRevision", self.0.auth_revision).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.0.header.as_ref());
        fields.plain("Enabled", self.0.enabled);
        fields.plain("AuthRevision", self.0.auth_revision);
    }
}

impl Show for Names<'_> {
    fn simple(&self, text: &mut Text) {
        self.1.iter().for_each(|name| text.line(name));
    }

    fn json(&self) -> Json {
        Json::object().with("header", header_json(self.2)).some(self.0, self.1).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.2);
        self.1.iter().for_each(|name| fields.quoted(self.0, name));
    }
}

impl Show for UserOf<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("User: {}", self.user));
        match self.detail {
            None => {
                let roles: String = self.answer.roles.iter().map(|role| format!(" {role}")).collect();
                text.line(format!("Roles:{roles}"));
            }
            Some(roles) => {
                for (role, answer) in roles {
                    text.line("");
                    RoleOf { role, answer }.simple(text);
                }
            }
        }
    }

    fn json(&self) -> Json {
        let header = header_json(self.answer.header.as_ref());
        Json::object().with("header", header).some("roles", self.answer.roles.as_slice()).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.answer.header.as_ref());
        self.answer.roles.iter().for_each(|role| fields.quoted("Role", role));
    }
}

/// Keys as etcdctl shows those of a permission.
fn range(permission: &Permission) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (key, end) = (&permission.key, &permission.range_end);
    if end.is_empty() {
        return format!("\t{}", shown(key));
    }
    let range = match &end[..] {
        b"\0" => format!("\t[{}, <open ended>", shown(key)),
        end => format!("\t[{}, {})", shown(key), shown(end)),
    };
    let prefix = !key.is_empty() && Keys::prefix(key.to_vec()).end == end[..];
    if prefix { format!("{range} (prefix {})", shown(key)) } else { range }
}

impl Show for RoleOf<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("Role {}", self.role));
        for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
            text.line(title);
            let of_kind = |one: &&Permission| one.perm_type() == kind || one.perm_type() == Type::Readwrite;
            self.answer.perm.iter().filter(of_kind).for_each(|one| text.line(range(one)));
        }
    }

    fn json(&self) -> Json {
        let permission = |one: &Permission| {
            let object = Json::object();
            let kind = one.perm_type;
            let object = if kind == 0 { object } else { object.with("permType", i64::from(kind)) };
            let object = if one.key.is_empty() { object } else { object.with("key", Json::bytes(&one.key)) };
            match one.range_end.is_empty() {
                true => object.done(),
                false => object.with("range_end", Json::bytes(&one.range_end)).done(),
            }
        };
        let header = header_json(self.answer.header.as_ref());
        Json::object().with("header", header).some("perm", Json::list(&self.answer.perm, permission)).done()
    }

    fn fields(&self, fields: &mut Fields) {
        header_fields(fields, self.answer.header.as_ref());
        for one in &self.answer.perm {
            fields.quoted("PermType", one.perm_type().as_str_name());
            fields.quoted("Key", &one.key);
            fields.quoted("RangeEnd", &one.range_end);
        }
    }
}
