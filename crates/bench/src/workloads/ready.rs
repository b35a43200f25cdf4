//! How long a start takes, as a client sees it.

use crate::{
    options::LoadArgs,
    tally::{CountBy, Tally},
    verdict::{Measured, Verdict},
};
use clap::Args;
use conclave_cli::{
    exit::Exit,
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::etcdserverpb::{RangeRequest, kv_client::KvClient};
use futures::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How often a member is asked.
const STEP: Duration = Duration::from_millis(5);

/// Wait until every member answers a linearizable read, and tell how long it took
///
/// Start it together with the members: time counts from its own start. Answers come from a leader
/// that a majority knows, so the election is part of it.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench ready --endpoints $ALL & start-the-members; wait")]
pub(crate) struct ReadyArgs {
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = conclave_cli::parse::duration)]
    patience: Duration,
    #[command(flatten)]
    load: LoadArgs,
}

impl ReadyArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let options = self.load.options(1)?;
        let started = Instant::now();
        let each = settings.endpoints.iter().map(|endpoint| async move {
            timeout(self.patience, answers(settings, endpoint, started)).await.map_err(|_| endpoint.clone())
        });
        let tally = Tally::new(CountBy::End);
        tally.open(started, None);
        let mut last = Duration::ZERO;
        for outcome in join_all(each).await {
            match outcome {
                Ok(time) => {
                    let time = time?;
                    last = last.max(time);
                    tally.record(started, started + time, Ok(None));
                }
                Err(endpoint) => {
                    let text = format!("{endpoint} did not answer a linearizable read within {:?}", self.patience);
                    return Err(Failure::new(Exit::NoConnection, text));
                }
            }
        }
        let counted = tally.close(Instant::now());
        let measured = Measured { counted, before: Vec::new(), after: Vec::new(), elections: None };
        Ok(Verdict::of(&options, "ready", 1, measured).with("ready_ms", last.as_secs_f64() * 1000.0))
    }
}

async fn answers(settings: &Settings, url: &str, started: Instant) -> Result<Duration> {
    let endpoint = settings.dialer.endpoint(url).map_err(|error| Failure::usage(error.message().to_owned()))?;
    let endpoint = endpoint.tcp_nodelay(true);
    loop {
        if let Ok(channel) = settings.dialer.connect(&endpoint).await {
            let mut client = KvClient::new(channel);
            // A read that came too early may never be answered; the next one is.
            for _ in 0..20 {
                let request = RangeRequest { key: "ready".into(), ..Default::default() };
                match timeout(Duration::from_millis(100), client.range(request)).await {
                    Ok(Ok(_)) => return Ok(started.elapsed()),
                    Ok(Err(_)) => break,
                    Err(_) => {}
                }
            }
        }
        sleep(STEP).await;
    }
}
