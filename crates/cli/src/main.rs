//! `conclavectl`, the command line of Conclave.

fn main() {
    conclave_cli::main();
}
