//! What the messages and services of the public wire look like, read from the descriptors that
//! reflection serves too.
//!
//! 1. Everything that JSON needs of a message is here: nothing is generated for it, and a field
//!    that is added to a `.proto` file is in the JSON form without another line of code.
//! 2. The schema is a constant of the program. That it can be read, and uses only what [`Kind`]
//!    has, is shown by a test.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The schema of `proto/`.
pub static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(conclave_api::FILE_DESCRIPTOR_SET));

#[derive(Debug, Default)]
pub struct Schema {
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
    /// By their gRPC paths, such as `/etcdserverpb.KV/Put`.
    pub(crate) methods: HashMap<String, Method>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    /// In the order of the declaration.
    pub(crate) fields: Vec<Field>,
    by_name: HashMap<String, usize>,
    /// An entry of a map: its fields are the key and the value.
    pub(crate) is_entry: bool,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// As the `.proto` file has it, which is the name in answers.
    pub(crate) name: String,
    /// In camel case: accepted too, and the name in errors.
    pub(crate) json_name: String,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Whether a zero differs from no value.
    pub(crate) has_presence: bool,
    /// At most one field with the same number here has a value.
    pub(crate) oneof: Option<i32>,
}

/// The types that the wire uses. Messages and enumerations are places in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint64,
    String,
    Bytes,
    Enum(usize),
    Message(usize),
}

#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) values: Vec<(String, i32)>,
}

/// A method of a service, and the messages it takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    pub path: String,
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// The client sends any number of messages.
    pub client_streams: bool,
    /// The server sends any number of messages.
    pub server_streams: bool,
}

impl Message {
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn numbered(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

impl Kind {
    /// As errors name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::Sint64 => "sint64",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(_) => "enum",
            Kind::Message(_) => "message",
        }
    }
}

impl Schema {
    fn read(descriptors: &[u8]) -> Schema {
        let set = FileDescriptorSet::decode(descriptors).expect("the build wrote the descriptors");
        let mut found = Found::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| found.message(&package, message));
            file.enum_type.iter().for_each(|of| found.enumeration(&package, of));
        }
        let mut schema = found.schema();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let message = |name| *found.messages.get(name).expect("protoc has resolved every name");
                    let method = Method {
                        path: path.clone(),
                        input: message(method.input_type()),
                        output: message(method.output_type()),
                        client_streams: method.client_streaming(),
                        server_streams: method.server_streaming(),
                    };
                    schema.methods.insert(path, method);
                }
            }
        }
        schema
    }

    /// The method of a gRPC path, such as `/etcdserverpb.KV/Put`.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    /// Every method, in no order.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values()
    }

    #[cfg(test)]
    pub(crate) fn message(&self, name: &str) -> usize {
        self.messages.iter().position(|message| message.name == name).expect("there is such a message")
    }
}

/// The types by their full names, which begin with a dot, and their descriptors in the same order.
#[derive(Default)]
struct Found<'a> {
    messages: HashMap<String, usize>,
    bodies: Vec<(String, &'a DescriptorProto)>,
    enums: HashMap<String, usize>,
    values: Vec<&'a EnumDescriptorProto>,
}

impl<'a> Found<'a> {
    fn message(&mut self, scope: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        self.messages.insert(name.clone(), self.bodies.len());
        self.bodies.push((name.clone(), message));
        message.nested_type.iter().for_each(|nested| self.message(&name, nested));
        message.enum_type.iter().for_each(|of| self.enumeration(&name, of));
    }

    fn enumeration(&mut self, scope: &str, of: &'a EnumDescriptorProto) {
        let name = format!("{scope}.{}", of.name());
        self.enums.insert(name, self.values.len());
        self.values.push(of);
    }

    fn schema(&self) -> Schema {
        let messages = self.bodies.iter().map(|(name, message)| {
            let fields: Vec<Field> = message.field.iter().map(|field| self.field(field)).collect();
            let mut by_name = HashMap::new();
            for (place, field) in fields.iter().enumerate() {
                by_name.insert(field.json_name.clone(), place);
                by_name.insert(field.name.clone(), place);
            }
            let is_entry = message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
            Message { name: name.trim_start_matches('.').to_owned(), fields, by_name, is_entry }
        });
        let enums = self.values.iter().map(|of| Enum {
            values: of.value.iter().map(|value| (value.name().to_owned(), value.number())).collect(),
        });
        Schema { messages: messages.collect(), enums: enums.collect(), methods: HashMap::new() }
    }

    fn field(&self, field: &FieldDescriptorProto) -> Field {
        let kind = match field.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Sint64 => Kind::Sint64,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum => Kind::Enum(*self.enums.get(field.type_name()).expect("protoc has resolved every name")),
            Type::Message => Kind::Message(*self.messages.get(field.type_name()).expect("protoc has resolved it")),
            other => unreachable!("no message of proto/ has a field of type {other:?}"),
        };
        let repeated = field.label() == Label::Repeated;
        Field {
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            number: u32::try_from(field.number()).expect("field numbers are positive"),
            kind,
            repeated,
            has_presence: !repeated && (field.oneof_index.is_some() || matches!(kind, Kind::Message(_))),
            oneof: field.oneof_index.filter(|_| !field.proto3_optional()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_can_be_read() {
        assert!(SCHEMA.messages.len() > 150, "{}", SCHEMA.messages.len());
        for message in &SCHEMA.messages {
            assert!(message.fields.len() <= 64, "{} has more fields than a set of 64 bits holds", message.name);
            assert!(message.fields.iter().all(|field| !field.json_name.is_empty()), "{}", message.name);
            // Entries of maps are read as a key that is a string, and a value.
            assert!(!message.is_entry || message.fields[0].kind == Kind::String, "{}", message.name);
        }
        for of in &SCHEMA.enums {
            assert!(of.values.iter().any(|(_, number)| *number == 0), "{of:?}");
        }
        let watch = &SCHEMA.methods["/etcdserverpb.Watch/Watch"];
        assert!(watch.client_streams && watch.server_streams);
        assert_eq!(SCHEMA.messages[watch.input].name, "etcdserverpb.WatchRequest");
    }

    #[test]
    fn a_field_has_two_names() {
        let put = &SCHEMA.messages[SCHEMA.message("etcdserverpb.PutRequest")];
        assert_eq!(put.named("prev_kv"), put.named("prevKv"));
        assert_eq!(put.named("PrevKv"), None);
        let grant = &SCHEMA.messages[SCHEMA.message("etcdserverpb.LeaseGrantRequest")];
        assert!(grant.named("TTL").is_some() && grant.named("ttl").is_none());
    }
}
