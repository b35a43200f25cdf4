//! A stop that was asked for is no error. openraft takes each call to its core that comes
//! afterwards for one: of the look at the leader, of a peer that hands leadership over. What ends
//! consensus otherwise is told by this program.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// From here on consensus ends because it was asked to.
pub fn stopping() {
    STOPPING.store(true, Ordering::Relaxed);
}

/// Another format, without what openraft says of the end.
pub(super) struct Quiet<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Quiet<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match event.metadata().target().starts_with("openraft") && STOPPING.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.0.format_event(context, writer, event),
        }
    }
}
