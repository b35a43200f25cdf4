//! Queue elections over gRPC, with the generated client alone.

mod bad_input;
mod campaigns;
mod retries;
mod scenario;
mod tokens;
mod transfers;
mod watches;
