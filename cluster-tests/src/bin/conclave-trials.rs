//! `conclave-trials`: see `cluster_tests::trials::command`.

fn main() -> std::process::ExitCode {
    cluster_tests::trials::command::main()
}
