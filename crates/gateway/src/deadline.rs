//! How long a client waits for an answer, as it says in `grpc-timeout`. It counts for the head of
//! the response, and for what follows it (`serve/timed.rs`).

use crate::status::text;
use http::HeaderMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// The moment up to which the client waits. `None`: it set none, or one so far away that it makes
/// no difference.
pub(crate) fn of(headers: &HeaderMap) -> Option<Instant> {
    Instant::now().checked_add(timeout(headers)?)
}

/// The answer, or the status for a deadline that passed before there was one.
pub(crate) async fn within<T>(deadline: Instant, answer: impl Future<Output = T>) -> Result<T, Status> {
    timeout_at(deadline, answer).await.map_err(|_| text::DEADLINE_EXCEEDED.into())
}

/// At most eight digits and a unit. What cannot be read counts as not set.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok().filter(|number| *number < 100_000_000)?;
    Some(match unit {
        "H" => Duration::from_secs(3_600) * number,
        "M" => Duration::from_secs(60) * number,
        "S" => Duration::from_secs(1) * number,
        "m" => Duration::from_millis(1) * number,
        "u" => Duration::from_micros(1) * number,
        "n" => Duration::from_nanos(1) * number,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn read(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", http::HeaderValue::from_static(text));
        timeout(&headers)
    }

    #[test]
    fn fuzz_grpc_timeout() {
        conclave_fuzz::target!("grpc_timeout").seeds(["5S", "99999999H", "250m"]).run(|bytes| {
            let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return "no header".to_owned() };
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]);
            format!("{}", timeout(&headers).is_some())
        });
    }

    #[test]
    fn timeouts() {
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for wrong in ["", "S", "5", "5s", "-5S", "100000000S", "5 S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_passed_is_named_as_such() {
        let soon = Instant::now() + Duration::from_millis(7);
        assert_eq!(within(soon, ready(7)).await.ok(), Some(7));
        let status = within(soon, pending::<()>()).await.expect_err("nobody answers");
        assert_eq!((status.code(), status.message()), (tonic::Code::DeadlineExceeded, "context deadline exceeded"));
        assert_eq!(Instant::now(), soon);
    }
}
