//! `conclave-trials`: see `conclave_trials::command`.

fn main() -> std::process::ExitCode {
    conclave_trials::command::main()
}
