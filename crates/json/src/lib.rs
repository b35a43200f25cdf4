//! The public wire as JSON: what etcd's gateway (grpc-gateway) makes of the gRPC services.
//!
//! Nothing here knows a socket or a service. A request's path names a [`Method`] ([`paths`]);
//! [`Method::request`] turns its JSON into the bytes of a message, and [`Method::response`] the
//! bytes of an answer into JSON. Both go by the descriptors that reflection serves ([`SCHEMA`]), so
//! every method of the wire has a JSON form, and no code is generated for it
//! (docs/decisions/0019-json-by-descriptors.md).

mod access;
mod decode;
mod encode;
mod errors;
mod frames;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod observed_tests;
mod openapi;
mod paths;
mod schema;
mod values;

pub use access::{Access, host_refused};
pub use encode::{Malformed, Pieces};
pub use errors::{Failure, http_status};
pub use frames::{Frames, framed};
pub use openapi::{OPENAPI_PATH, openapi};
pub use paths::{Found, find};
pub use schema::{Method, SCHEMA, Schema};
pub use values::{TooLarge, Values};

use bytes::Bytes;

/// How values of the type `bytes` (keys and values) stand in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As protobuf's JSON has them.
    #[default]
    Base64,
    /// As text. What is no text has a name with [`IN_BASE64`] behind it.
    Text,
}

/// `value_base64` is the value in base64 where [`Form::Text`] is asked for.
pub(crate) const IN_BASE64: &str = "_base64";

impl Method {
    /// The message that a client sends. An error is the text for it.
    pub fn request(&self, json: &[u8], form: Form) -> Result<Vec<u8>, String> {
        decode::message(self.input, json, form)
    }

    /// An answer of a unary call.
    #[must_use]
    pub fn response(&self, message: Bytes, form: Form) -> Pieces {
        Pieces::new(self.output, message, form, "", "")
    }

    /// One of the answers of a stream, which is a line.
    #[must_use]
    pub fn line(&self, message: Bytes, form: Form) -> Pieces {
        Pieces::new(self.output, message, form, "{\"result\":", "}\n")
    }
}
