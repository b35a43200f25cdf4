//! Fuzz targets of the configuration: flags, the file, and the texts in both.

use super::url::{HttpUrl, LocalUrl};
use super::{check, duration, etcd, file, flags};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fuzz_config_duration() {
    conclave_fuzz::target!("config_duration")
        .seeds(["1h30m", "250ms", "1.5s", "0", "2562047h", "-1s"])
        .run(|bytes| format!("{:?}", duration::parse(&text(bytes))));
}

#[test]
fn fuzz_config_url() {
    let seeds = ["http://127.0.0.1:2379", "http://[::1]:2380", "http://host.name:1/", "https://a:65535", "unix://x"];
    conclave_fuzz::target!("config_url").seeds(seeds).run(|bytes| {
        let parsed = HttpUrl::parse(&text(bytes));
        if let Ok(url) = &parsed {
            assert_eq!(HttpUrl::parse(&url.to_string()).as_ref(), Ok(url));
            return format!("{url:?} {:?} {:?}", url.authority(), url.bind_address());
        }
        let local = LocalUrl::parse(&text(bytes));
        if let Some(Ok(url)) = &local {
            assert_eq!(LocalUrl::parse(&url.to_string()).as_ref(), Some(&Ok(url.clone())));
        }
        format!("{parsed:?} {local:?}")
    });
}

#[test]
fn fuzz_config_file() {
    let seeds = [
        "name: a\nheartbeat-interval: 100\nsnapshot-count: \"5\"\ndata-dir:\n",
        "initial-cluster: a=http://a:1,b=http://b:1\ninitial-advertise-peer-urls: http://a:1\nname: a\n",
        "client-transport-security:\n  cert-file: \nauto-compaction-retention: 1h\nauto-compaction-mode: periodic\n",
        "a: &x [1, *x]\n",
    ];
    conclave_fuzz::target!("config_file").seeds(seeds).run(|bytes| match file::parse(&text(bytes)) {
        Ok(read) => format!(
            "{:?} {:?}",
            read.foreign.judge(),
            check::check(read.settings, false).map_err(|error| error.to_string())
        ),
        Err(error) => error,
    });
}

/// Arguments, one a line.
#[test]
fn fuzz_config_flags() {
    let seeds = [
        "--name\na\n--data-dir\n/tmp/x\n--listen-client-urls=http://127.0.0.1:0",
        "--initial-cluster=a=http://a:1\n--name=a\n--heartbeat-interval=100\n--election-timeout=1000",
        "-wal-dir\n/x\n--debug\n--pre-vote=f\n-feature-gates=AllBeta=1,X=0\n--proxy\non\n--version=false",
        "--auto-compaction-mode=revision\n--auto-compaction-retention=5\n--max-request-bytes=100",
    ];
    conclave_fuzz::target!("config_flags").seeds(seeds).run(|bytes| {
        let all = text(bytes);
        let arguments = std::iter::once("conclave").chain(all.lines()).map(Into::into);
        let switches = flags::Flags::switches();
        let read = etcd::arguments::Arguments::read(arguments, |name| switches.contains(name));
        let verdicts = format!("{:?}", read.foreign.judge());
        match flags::Flags::parse_from_args(read.own) {
            Ok(flags) => format!(
                "{verdicts} {:?}",
                check::check(flags.into_settings(), false).map_err(|error| error.to_string())
            ),
            Err(error) => error.to_string(),
        }
    });
}
