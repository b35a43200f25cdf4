//! Statuses of gRPC as failures of the JSON gateway.

use conclave_json::Failure;
use tonic::Status;

pub(in crate::serve) fn failure(status: Status) -> Failure {
    Failure::new(status.code() as i32, status.message())
}

pub(super) fn internal(reason: impl std::fmt::Display) -> Failure {
    failure(crate::status::internal(reason))
}
