//! Watches of the registers, some of which reconnect.

use super::{MS, Sim};
use conclave_trials::history::{Answer, Call, Change, Event, WatchAnswer, WatchCall, WatchEvent, WatchMessage};

pub(super) fn start(sim: &mut Sim) {
    for number in 0..3_u64 {
        let process = sim.process();
        sim.after(number * 50 * MS, move |sim| open(sim, process, format!("s{number}"), 0, false, 60));
    }
}

fn open(sim: &mut Sim, process: u64, stream: String, start: i64, resumes: bool, left: u32) {
    let call = WatchCall { key: "kv".into(), prefix: true, start, prev: true, resumes, stream: stream.clone() };
    sim.call(
        process,
        Call::Watch(call),
        0,
        Box::new(move |sim| Ok(Answer::Watch(WatchAnswer { revision: sim.store.revision }))),
        Box::new(move |sim, process, answer| {
            let Some(Answer::Watch(created)) = answer else { return };
            let next = if start > 0 { start } else { created.revision + 1 };
            poll(sim, process, stream, next, left);
        }),
    );
}

/// Brings what has happened since, then comes again.
fn poll(sim: &mut Sim, process: u64, stream: String, next: i64, left: u32) {
    let wanted: Vec<Vec<Change>> = sim
        .store
        .history
        .iter()
        .filter(|(revision, _)| *revision >= next)
        .map(|(_, changes)| changes.iter().filter(|change| change.key.starts_with("kv")).cloned().collect::<Vec<_>>())
        .filter(|changes| !changes.is_empty())
        .collect();
    let revision = sim.store.revision;
    let send =
        |sim: &mut Sim, what| sim.event(process, Event::Watch(WatchEvent { stream: stream.clone(), revision, what }));
    let mut message = Vec::new();
    for changes in wanted {
        message.extend(changes);
        if sim.random(3) == 0 {
            send(sim, WatchMessage::Changes { changes: std::mem::take(&mut message), fragment: false });
        }
    }
    if !message.is_empty() {
        send(sim, WatchMessage::Changes { changes: message, fragment: false });
    }
    if sim.random(3) == 0 {
        send(sim, WatchMessage::Progress);
    }
    if left == 0 {
        return;
    }
    let rest = 5 * MS + sim.random(20 * MS);
    let again = sim.random(6) == 0;
    sim.after(rest, move |sim| {
        if again {
            let process = sim.process();
            open(sim, process, stream, revision + 1, true, left - 1);
        } else {
            poll(sim, process, stream, revision + 1, left - 1);
        }
    });
}
