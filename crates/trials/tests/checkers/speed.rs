//! Long histories are judged in seconds: 200,000 operations of 20 clients on 100 registers.

use conclave_trials::{
    check::{Case, judge},
    history::{Answer, Call, Change, Entry, Fact, Kv, KvAnswer, KvCall, Process, Record, Revision, Run},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const OPS: u64 = 200_000;
const CLIENTS: u64 = 20;

/// Client after client, overlapping with its neighbours, takes effect in the middle.
fn history() -> Vec<Record> {
    let mut records = Vec::new();
    let mut keys: BTreeMap<String, Kv> = BTreeMap::new();
    let mut revision = 1;
    for i in 0..OPS {
        let process = Process::Client(i % CLIENTS);
        let line = |time, entry| Record { index: 0, process: process.clone(), time, clock: None, node: None, entry };
        let (middle, key) = (1_000_000 + i * 1000, format!("k{}", i.wrapping_mul(2_654_435_761) % 100));
        let (call, answer) = if i % 3 == 0 {
            revision += 1;
            let value = format!("v{i}");
            let kv = Kv { key: key.clone(), value: value.clone(), modified: revision, ..Kv::default() };
            let change =
                Change { key: key.clone(), value: Some(value.clone()), modified: revision, ..Change::default() };
            keys.insert(key.clone(), kv);
            let told = Revision { source: "watch n1".into(), revision, changes: vec![change] };
            let observer = Process::Harness("observer".into());
            let entry = Entry::Fact(Fact::Revision(told));
            records.push(Record { index: 0, process: observer, time: middle + 1, clock: None, node: None, entry });
            (KvCall::Put { key, value, lease: 0, prev: false }, KvAnswer::Written { revision, prev: None })
        } else {
            let kvs = keys.get(&key).cloned().into_iter().collect();
            (KvCall::Get { key, serializable: false, revision: 0 }, KvAnswer::Read { revision, kvs })
        };
        records.push(line(middle - 8_000, Entry::Invoke(Call::Kv(call))));
        records.push(line(middle + 8_000, Entry::Ok(Answer::Kv(answer))));
    }
    records
}

#[test]
fn a_long_history_is_judged_in_seconds() {
    let run = Run::new(history());
    let began = Instant::now();
    let findings = judge(&Case::new(&run), &["kv"]);
    let elapsed = began.elapsed();
    for name in ["linearizable", "wgl"] {
        let finding = findings.iter().find(|finding| finding.property == name).expect("it is judged");
        assert!(finding.verdict.is_valid(), "{finding:?}");
        assert_eq!(finding.judged, OPS as usize);
    }
    conclave_trials::figure(&format!("{OPS} operations judged in {elapsed:.1?}"));
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
}
