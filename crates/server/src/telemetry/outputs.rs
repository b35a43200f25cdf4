//! Where records go: each to all outputs.

use conclave_node::config::LogOutput;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone)]
enum Output {
    Stderr,
    Stdout,
    File(Arc<File>),
}

/// Outputs that are open.
#[derive(Clone)]
pub(super) struct Outputs(Arc<[Output]>);

impl Outputs {
    pub(super) fn open(outputs: &[LogOutput]) -> io::Result<Outputs> {
        let open = |output: &LogOutput| {
            Ok(match output {
                LogOutput::Stderr => Output::Stderr,
                LogOutput::Stdout => Output::Stdout,
                LogOutput::File(path) => {
                    let file = OpenOptions::new().create(true).append(true).open(path);
                    let named = |error: io::Error| {
                        io::Error::new(error.kind(), format!("--log-outputs: {}: {error}", path.display()))
                    };
                    Output::File(Arc::new(file.map_err(named)?))
                }
            })
        };
        outputs.iter().map(open).collect::<io::Result<_>>().map(Outputs)
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Outputs;

    fn make_writer(&'a self) -> Outputs {
        self.clone()
    }
}

/// A record is one write. An output that takes nothing does not keep it from the others.
impl Write for Outputs {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        for output in self.0.iter() {
            let _ = match output {
                Output::Stderr => io::stderr().write_all(record),
                Output::Stdout => io::stdout().write_all(record).and_then(|()| io::stdout().flush()),
                Output::File(file) => file.as_ref().write_all(record),
            };
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_to() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        std::fs::write(&paths[1], "before\n").expect("write");
        let outputs = paths.clone().map(LogOutput::File);
        let mut writer = Outputs::open(&outputs).expect("files").make_writer().clone();
        writer.write_all(b"record\n").expect("always");
        assert_eq!(std::fs::read_to_string(&paths[0]).expect("read"), "record\n");
        assert_eq!(std::fs::read_to_string(&paths[1]).expect("read"), "before\nrecord\n");
        let error =
            Outputs::open(&[LogOutput::File(dir.path().join("no/such"))]).err().expect("no directory").to_string();
        assert!(error.contains("--log-outputs") && error.contains("no/such"), "{error}");
    }
}
