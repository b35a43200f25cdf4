//! What a response holds.

use super::*;
use conclave_api::etcdserverpb::watch_create_request::FilterType;

#[tokio::test(start_paused = true)]
async fn a_revision_comes_whole_and_in_the_order_of_its_operations() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch_all()).await;
    client.created(watch("b")).await;
    world.apply(&[
        txn(vec![Op::Put(op_put("b", "1")), Op::Put(op_put("a", "1"))]),
        txn(vec![Op::DeleteRange(op_delete("b")), Op::Put(op_put("c", "1"))]),
    ]);
    let mut both = [client.next().await, client.next().await];
    both.sort_by_key(|response| response.watch_id);
    let [all, one] = both;
    assert_eq!(events(&all), ["b@2", "a@2", "-b@3", "c@3"]);
    assert_eq!((all.watch_id, all.header.unwrap().revision), (0, 3));
    assert_eq!((one.watch_id, events(&one)), (1, vec!["b@2".to_owned(), "-b@3".to_owned()]));
    let deleted = all.events[2].kv.clone().unwrap();
    assert_eq!((deleted.create_revision, deleted.version, deleted.lease, deleted.value.len()), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_response_is_cut_at_revisions_or_into_fragments_if_wanted() {
    let world = World::with(WatchConfig { response_bytes: 1000, ..Default::default() });
    let mut client = world.client();
    client.created(watch_all()).await;
    client.created(WatchCreateRequest { fragment: true, ..watch_all() }).await;
    let value = "v".repeat(400);
    let keys = ["a", "b", "c", "d", "e"];
    world.apply(&[put("x", &value), txn(keys.iter().map(|key| Op::Put(op_put(key, &value))).collect())]);
    for id in [0, 1] {
        let response = client.next().await;
        assert_eq!((response.watch_id, response.fragment, events(&response)), (id, false, vec!["x@2".to_owned()]));
        let mut seen = Vec::new();
        loop {
            let response = client.next().await;
            assert_eq!(response.watch_id, id);
            seen.push(response.events.len());
            if !response.fragment {
                break;
            }
        }
        assert_eq!(seen, if id == 0 { vec![5] } else { vec![2, 2, 1] });
    }
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn catch_up_has_the_header_of_the_present_and_may_join_revisions() {
    let world = World::new();
    for _ in 0..3 {
        world.apply(&[put("a", "")]);
    }
    world.apply(&[put("b", "")]);
    let mut client = world.client();
    client.created(from(3, watch("a"))).await;
    let response = client.next().await;
    assert_eq!((events(&response), response.header.unwrap().revision), (vec!["a@3".to_owned(), "a@4".to_owned()], 5));
}

#[tokio::test(start_paused = true)]
async fn previous_values_live_and_from_history() {
    let world = World::new();
    let mut live = world.client();
    live.created(WatchCreateRequest { prev_kv: true, ..watch("a") }).await;
    live.created(watch("a")).await;
    world.apply(&[put("a", "1"), put("a", "2")]);
    world.apply(&[delete("a")]);
    world.apply(&[put("a", "3")]);
    let mut late = world.client();
    late.created(WatchCreateRequest { prev_kv: true, ..from(2, watch("a")) }).await;
    for client in [&mut live, &mut late] {
        let mut previous = Vec::new();
        while previous.len() < 4 {
            let response = client.next().await;
            for event in &response.events {
                let value = event.prev_kv.as_ref().map(|kv| (kv.value.to_vec(), kv.mod_revision));
                match response.watch_id {
                    0 => previous.push(value),
                    _ => assert_eq!(value, None),
                }
            }
        }
        assert_eq!(previous, [None, Some((b"1".to_vec(), 2)), Some((b"2".to_vec(), 3)), None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_previous_value_that_is_compacted_is_left_out() {
    let world = World::new();
    world.apply(&[put("a", "1"), put("a", "2"), put("a", "3")]);
    world.compact(3);
    let mut client = world.client();
    client.created(WatchCreateRequest { prev_kv: true, ..from(3, watch("a")) }).await;
    let response = client.next().await;
    assert_eq!(events(&response), ["a@3", "a@4"]);
    assert_eq!(response.events[0].prev_kv, None);
    assert_eq!(response.events[1].prev_kv.as_ref().unwrap().value, "2");
}

#[tokio::test(start_paused = true)]
async fn filters_and_nothing_when_all_is_filtered() {
    let world = World::new();
    let filtered = |filter: FilterType| WatchCreateRequest { filters: vec![filter.into()], ..watch("a") };
    let mut client = world.client();
    client.created(filtered(FilterType::Noput)).await;
    client.created(filtered(FilterType::Nodelete)).await;
    world.apply(&[put("a", "1")]);
    assert_eq!(client.next().await.watch_id, 1);
    client.quiet().await;
    world.apply(&[delete("a")]);
    let response = client.next().await;
    assert_eq!((response.watch_id, events(&response)), (0, vec!["-a@3".to_owned()]));
    client.created(from(2, filtered(FilterType::Noput))).await;
    assert_eq!(events(&client.next().await), ["-a@3"]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn ranges_and_single_keys() {
    let world = World::new();
    let mut client = world.client();
    let range =
        |key: &str, end: &str| WatchCreateRequest { range_end: Bytes::copy_from_slice(end.as_bytes()), ..watch(key) };
    client.created(watch("b")).await;
    client.created(range("a", "c")).await;
    client.created(range("b", "\0")).await;
    client.created(range("c", "d")).await;
    world.apply(&[put("a", ""), put("b", ""), put("ba", ""), put("c", "")]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let response = client.next().await;
        seen.push((response.watch_id, events(&response).join(" ")));
    }
    seen.sort();
    let expected = ["b@3", "a@2 b@3 ba@4", "b@3 ba@4 c@5", "c@5"];
    assert_eq!(seen, (0..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn watchers_of_one_interest_share_their_bytes() {
    let world = World::new();
    let mut clients: Vec<Client> = (0..3).map(|_| world.client()).collect();
    for client in &mut clients {
        client.created(watch("a")).await;
    }
    world.apply(&[put("a", "1"), put("a", "2")]);
    let mut at = Vec::new();
    for client in &mut clients {
        let frame = client.responses.next().await.unwrap().unwrap();
        at.push(frame.data.as_ptr());
    }
    assert_eq!(at, vec![at[0]; 3]);
}

#[tokio::test(start_paused = true)]
async fn previous_values_of_a_large_batch_are_not_read_by_apply() {
    const MANY: usize = 3000;
    let world = World::new();
    let name = |n| format!("k{n:05}");
    world.apply(&(0..MANY).map(|n| put(&name(n), "before")).collect::<Vec<_>>());
    let mut client = world.client();
    client.created(WatchCreateRequest { prev_kv: true, ..watch_all() }).await;
    client.created(watch(&name(7))).await;
    world.inline.take();
    world.apply(&[txn((0..MANY).map(|n| Op::DeleteRange(op_delete(&name(n)))).collect())]);
    assert_eq!(world.inline.take(), 0);
    assert_eq!((world.hub.stats().behind, world.hub.stats().delivered), (1, 1));
    let mut seen = 0;
    while seen < MANY {
        let response = client.responses.next().await.unwrap().unwrap();
        let mut wire = Vec::new();
        Reply { header: ResponseHeader::default(), frame: response }.encode(&mut wire);
        let response = WatchResponse::decode(&wire[..]).unwrap();
        if response.watch_id == 0 {
            seen += response.events.len();
            assert!(response.events.iter().all(|event| event.prev_kv.as_ref().unwrap().value == "before"));
        }
    }
    assert_eq!(seen, MANY);
}
