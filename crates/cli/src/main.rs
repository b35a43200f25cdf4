//! The command line of Conclave.

fn main() {}
