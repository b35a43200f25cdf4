//! The settings of the audit log.

use super::problems::Problems;
use super::settings::Settings;
use std::path::PathBuf;

/// A smaller file would be replaced too often to hold anything.
const LEAST_BYTES: u64 = 4096;
const DEFAULT_BYTES: u64 = 100 << 20;
const DEFAULT_FILES: usize = 10;
/// Each one is renamed when a new one begins.
const MOST_FILES: usize = 1_000;

/// Who did what, and who was denied what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    pub output: AuditOutput,
    /// Whether values are recorded too.
    pub values: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutput {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        /// A larger file is followed by a new one; `None`: never.
        max_bytes: Option<u64>,
        /// How many older files stay.
        files: usize,
    },
}

pub(super) fn check(s: &Settings, p: &mut Problems) -> Option<AuditConfig> {
    let max_bytes = p.number("audit-log-max-bytes", s.audit_log_max_bytes.as_ref(), DEFAULT_BYTES, "bytes");
    p.require(max_bytes == 0 || max_bytes >= LEAST_BYTES, "audit-log-max-bytes", || {
        format!("{max_bytes} is less than {LEAST_BYTES}; 0 is no limit")
    });
    let files = p.number("audit-log-files", s.audit_log_files.as_ref(), DEFAULT_FILES, "files");
    p.require((1..=MOST_FILES).contains(&files), "audit-log-files", || format!("from 1 to {MOST_FILES}"));
    let values = p.switch("audit-log-values", s.audit_log_values.as_ref(), false);
    let output = match s.audit_log.as_deref() {
        None => {
            let others = [
                ("audit-log-max-bytes", s.audit_log_max_bytes.is_some()),
                ("audit-log-files", s.audit_log_files.is_some()),
                ("audit-log-values", values),
            ];
            for (name, is_set) in others {
                p.require(!is_set, name, || "has no effect without --audit-log".to_owned());
            }
            return None;
        }
        Some("stdout") => AuditOutput::Stdout,
        Some("stderr") => AuditOutput::Stderr,
        Some(path) => AuditOutput::File { path: path.into(), max_bytes: Some(max_bytes).filter(|max| *max > 0), files },
    };
    Some(AuditConfig { output, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: Settings) -> Result<Option<AuditConfig>, Vec<&'static str>> {
        let mut problems = Problems::default();
        let config = check(&settings, &mut problems);
        if problems.0.is_empty() { Ok(config) } else { Err(problems.0.into_iter().map(|(name, _)| name).collect()) }
    }

    #[test]
    fn nothing_is_recorded_by_default() {
        assert_eq!(of(Settings::default()), Ok(None));
        let values = Settings { audit_log_values: Some("true".into()), ..Settings::default() };
        assert_eq!(of(values), Err(vec!["audit-log-values"]));
    }

    #[test]
    fn a_file_has_a_size_and_followers() {
        let path = Settings { audit_log: Some("/var/log/audit".into()), ..Settings::default() };
        let output = AuditOutput::File { path: "/var/log/audit".into(), max_bytes: Some(104_857_600), files: 10 };
        assert_eq!(of(path.clone()), Ok(Some(AuditConfig { output, values: false })));
        let endless = Settings { audit_log_max_bytes: Some("0".into()), ..path.clone() };
        let Ok(Some(AuditConfig { output: AuditOutput::File { max_bytes: None, .. }, .. })) = of(endless) else {
            panic!("0 is no limit")
        };
        let small = Settings { audit_log_max_bytes: Some("1".into()), audit_log_files: Some("0".into()), ..path };
        assert_eq!(of(small), Err(vec!["audit-log-max-bytes", "audit-log-files"]));
        let stderr = Settings { audit_log: Some("stderr".into()), ..Settings::default() };
        assert_eq!(of(stderr), Ok(Some(AuditConfig { output: AuditOutput::Stderr, values: false })));
    }
}
