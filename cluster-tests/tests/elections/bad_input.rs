//! What cannot be asked for, with what is said about it.

use anyhow::Result;
use cluster_tests::client::grant;
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use conclave_api::conclave::v1::promote_request::To;
use conclave_api::conclave::v1::{
    AnointRequest, Caller, CampaignRequest, EnterRequest, EvictEverywhereRequest, EvictRequest, Expect, GetTermRequest,
    LeaveRequest, ListRequest, Name, PromoteRequest, RequestTransferRequest, WatchElectionRequest,
};
use tonic::{Code, Response, Status};

fn refused<T>(answer: Result<Response<T>, Status>, message: &str) {
    let status = answer.err().expect("it cannot be asked for");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
}

#[tokio::test]
async fn bad_fields_are_named() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut at = elections(&cluster, 0).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let good = entering("a", session);

    refused(
        at.enter(EnterRequest { caller: None, ..good.clone() }).await,
        "conclave: caller.session is 0; this operation needs a session",
    );
    refused(at.enter(EnterRequest { election: None, ..good.clone() }).await, "conclave: election is missing");
    let election = Some(Name::default());
    refused(at.enter(EnterRequest { election, ..good.clone() }).await, "conclave: election.name is empty");
    let candidate = "x".repeat(257);
    refused(
        at.enter(EnterRequest { candidate, ..good.clone() }).await,
        "conclave: candidate has 257 bytes; at most 256 are allowed",
    );
    let instance = "\n".into();
    refused(at.enter(EnterRequest { instance, ..good.clone() }).await, "conclave: instance has a control character");
    let value = vec![0; (1 << 20) + 1].into();
    refused(
        at.enter(EnterRequest { value, ..good.clone() }).await,
        "conclave: value has 1048577 bytes; at most 1048576 are allowed",
    );
    let absurd = EnterRequest { max_hold_ms: u64::MAX, ..good.clone() };
    refused(
        at.enter(absurd).await,
        "conclave: max_hold_ms is 18446744073709551615; at most 9007199254740992 is allowed",
    );
    let labels = (0..33).map(|i| (i.to_string(), String::new())).collect();
    refused(
        at.enter(EnterRequest { labels, ..good.clone() }).await,
        "conclave: labels has 33 entries; at most 32 are allowed",
    );
    let dedupe = Some(Caller { session, dedupe_id: "short".into(), expect: None });
    refused(
        at.enter(EnterRequest { caller: dedupe, ..good.clone() }).await,
        "conclave: caller.dedupe_id has 5 bytes; it must be empty or 16 bytes",
    );
    Ok(())
}

#[tokio::test]
async fn bad_fields_of_other_operations_are_named() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut at = elections(&cluster, 0).await?;
    let good = entering("a", grant(&cluster.client(0)?, LASTING).await?);

    refused(at.campaign(CampaignRequest::default()).await, "conclave: enter is missing");
    let tries = Some(EnterRequest { try_only: true, ..good.clone() });
    refused(
        at.campaign(CampaignRequest { enter: tries, ..Default::default() }).await,
        "conclave: enter.try_only is set; who campaigns waits (Enter tries)",
    );
    refused(at.leave(LeaveRequest { election: named(E), ..Default::default() }).await, "conclave: candidate is empty");
    let places = Some(To::Places(0));
    refused(
        at.promote(PromoteRequest { to: places, ..promoting("a") }).await,
        "conclave: places is 0; leave it out for 1",
    );
    let to = Some(To::Lead(false));
    refused(at.promote(PromoteRequest { to, ..promoting("a") }).await, "conclave: lead is false; leave it out");
    let reason = "x".repeat(1025);
    let evict = EvictRequest { election: named(E), candidate: "a".into(), reason, ..Default::default() };
    refused(at.evict(evict).await, "conclave: reason has 1025 bytes; at most 1024 are allowed");
    let expecting = Some(Caller { expect: Some(Expect::default()), ..Default::default() });
    let everywhere = EvictEverywhereRequest { caller: expecting, candidate: "a".into(), ..Default::default() };
    refused(
        at.evict_everywhere(everywhere).await,
        "conclave: caller.expect is set; only a request about one election or one claim has one",
    );
    let forced = RequestTransferRequest { election: named(E), to: "a".into(), force: true, ..Default::default() };
    refused(
        at.request_transfer(forced).await,
        "conclave: deadline_ms is 0; `force` is about what happens at the deadline",
    );
    let much = GetTermRequest { election: named(E), limit: 1_000_000, ..Default::default() };
    refused(at.get_term(much).await, "conclave: limit is 1000000; at most 10000 is allowed");
    let before = WatchElectionRequest { election: named(E), start_revision: -1, ..Default::default() };
    refused(at.watch(before).await, "conclave: start_revision is negative");
    refused(
        at.list(ListRequest { limit: 10_001, ..Default::default() }).await,
        "conclave: limit is 10001; at most 10000 is allowed",
    );
    Ok(())
}

#[tokio::test]
async fn unknown_names_are_said_to_be_unknown() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut at = elections(&cluster, 0).await?;
    let lapsed = enter(&mut at, "a", 12345).await.expect_err("no such session");
    assert_eq!((lapsed.code(), lapsed.message()), (Code::NotFound, "etcdserver: requested lease not found"));
    let session = grant(&cluster.client(0)?, LASTING).await?;
    enter(&mut at, "a", session).await?;
    for unknown in [
        anoint(&mut at, "b").await,
        promote(&mut at, "b").await,
        demote(&mut at, "b", 1).await,
        evict(&mut at, "b", "").await,
    ] {
        let status = unknown.expect_err("no such candidate");
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "conclave: not a candidate"));
    }
    let silently = AnointRequest { election: named(E), candidate: "b".into(), ignore_missing: true, caller: None };
    assert!(!at.anoint(silently).await?.into_inner().changed);
    Ok(())
}

#[tokio::test]
async fn evictions_and_lists() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut at = elections(&cluster, 1).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    for (namespace, name) in [("", "x"), ("", "y"), ("m", "x"), ("m", "z"), ("n", "x")] {
        let election = Some(Name { namespace: namespace.into(), name: name.into() });
        at.enter(EnterRequest { election, ..entering("a", session) }).await?;
    }
    let mut listed = Vec::new();
    let mut request = ListRequest { limit: 2, ..Default::default() };
    loop {
        let page = at.list(request.clone()).await?.into_inner();
        listed.extend(page.names.iter().map(|name| format!("{}/{}", name.namespace, name.name)));
        request.after = page.names.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, ["default/x", "default/y", "m/x", "m/z", "n/x"]);
    let of_m = at.list(ListRequest { namespace: "m".into(), ..Default::default() }).await?.into_inner();
    assert_eq!((of_m.names.len(), of_m.more), (2, false));

    let everywhere = |namespace: &str| EvictEverywhereRequest {
        namespace: namespace.into(),
        candidate: "a".into(),
        cooldown_ms: 60_000,
        ..Default::default()
    };
    assert_eq!(at.evict_everywhere(everywhere("m")).await?.into_inner().evicted, 2);
    assert_eq!(at.evict_everywhere(everywhere("")).await?.into_inner().evicted, 3);
    assert_eq!(at.evict_everywhere(everywhere("")).await?.into_inner().evicted, 0);
    let election = Some(Name { namespace: "m".into(), name: "x".into() });
    let banned = at.enter(EnterRequest { election, ..entering("a", session) }).await.expect_err("it cools down");
    assert_eq!(banned.code(), Code::FailedPrecondition);
    let left = banned.message().strip_prefix("conclave: evicted, and not to come back yet: ");
    let left = left.and_then(|left| left.strip_suffix("s left")?.parse::<u64>().ok());
    assert!(left.is_some_and(|left| (1..=60).contains(&left)), "{banned}");
    Ok(())
}
