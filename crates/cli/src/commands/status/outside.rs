//! What is to be seen of the cluster without a login: each endpoint by itself, since who the members
//! are is told to users only.

use super::view::{Member, State, View};
use crate::{
    census, dial,
    exit::Exit,
    failure::{Failure, Result},
    output::Output,
    outside::Seen,
    settings::Settings,
};

/// Shows it, if there is anything; then the failure to see more.
pub(super) async fn show(settings: &Settings, out: Output, failure: Failure) -> Result<Exit> {
    if !is_about_login(&failure) {
        return Err(failure);
    }
    let looks = settings.endpoints.iter().map(|endpoint| dial::look(endpoint, settings));
    let looks = futures::future::join_all(looks).await;
    let seen: Vec<_> = settings.endpoints.iter().cloned().zip(looks).collect();
    if seen.iter().all(|(_, seen)| seen.is_err()) {
        return Err(failure);
    }
    out.show(&view(&seen))?;
    Err(if failure.message().contains(census::NO_LOGIN) { failure.exit(Exit::Failed) } else { failure })
}

/// Whether more is to be seen with a login.
fn is_about_login(failure: &Failure) -> bool {
    const REFUSED: [&str; 3] = ["user name is empty", "invalid user ID or password", "invalid auth token"];
    let text = failure.message();
    text.contains(census::NO_LOGIN) || REFUSED.iter().any(|words| text.contains(words))
}

fn view(seen: &[(String, Result<Seen, String>)]) -> View {
    let up = || seen.iter().filter_map(|(_, seen)| seen.as_ref().ok());
    // One that nobody confirms is in no touch with its leader.
    let leader = up().find(|seen| seen.trouble.is_none()).map(|seen| seen.leader).filter(|leader| *leader != 0);
    let member = |(endpoint, seen): &(String, Result<Seen, String>)| {
        let of = |name: &str, id, state| Member {
            id,
            name: name.to_owned(),
            address: endpoint.clone(),
            learner: false,
            state,
        };
        match seen {
            Err(reason) => of("", 0, State::Down(reason.clone())),
            Ok(seen) => {
                let state = State::Up {
                    index: seen.committed,
                    applied: seen.applied,
                    leader: seen.leader,
                    size: 0,
                    version: seen.version.clone(),
                    errors: seen.trouble.clone().unwrap_or_default(),
                };
                of(&seen.name, seen.id, state)
            }
        }
    };
    let mut view = View {
        cluster: up().map(|seen| seen.cluster).find(|id| *id != 0).unwrap_or(0),
        revision: up().map(|seen| seen.revision).max().unwrap_or(0),
        term: up().map(|seen| seen.term).max().unwrap_or(0),
        leader,
        members: seen.iter().map(member).collect(),
        outside: true,
        ..View::default()
    };
    view.elections.unknown = true;
    view.elections.note = Some("members, elections and locks are shown to users only".to_owned());
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Show as _, Text};

    fn text(view: &View) -> String {
        let mut text = Text::new(false, false);
        view.simple(&mut text);
        String::from_utf8(text.into_bytes()).expect("text")
    }

    fn seen(name: &str, id: u64, trouble: Option<&str>) -> Seen {
        let (version, trouble) = ("3.6.0".to_owned(), trouble.map(str::to_owned));
        let leader = if trouble.is_none() { 0xb2 } else { 0 };
        let name = name.to_owned();
        Seen { name, id, cluster: 0xc, leader, term: 7, committed: 12, applied: 11, revision: 5, version, trouble }
    }

    #[test]
    fn without_a_login_the_endpoints_are_shown_with_what_they_say() {
        let lost = view(&[
            ("a:1".into(), Ok(seen("n1", 0xa1, Some("RAFT NO LEADER")))),
            ("b:1".into(), Err("connection refused".into())),
        ]);
        let words = text(&lost);
        for part in [
            "cluster c, without a login: 1 of 2 endpoints answers; NO LEADER: a majority of the members is needed",
            "revision 5",
            "up, knows no leader",
            "DOWN: connection refused",
            "shown to users only",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let json = serde_json::to_value(lost.json()).expect("json");
        assert_eq!(
            (&json["login"], &json["leader"], &json["members"][0]["name"]),
            (&false.into(), &().into(), &"n1".into())
        );
        let led =
            text(&view(&[("a:1".into(), Ok(seen("n1", 0xa1, None))), ("b:1".into(), Ok(seen("n2", 0xb2, None)))]));
        assert!(led.contains("2 of 2 endpoints answer; n2 leads in term 7"), "{led}");
    }

    #[test]
    fn only_what_a_login_would_change_is_looked_at_without_one() {
        let is = |text: &str| is_about_login(&Failure::new(Exit::NoConnection, text));
        assert!(is(&census::without_login(1, 3)) && is("etcdserver: user name is empty"));
        assert!(!is("no endpoint can be used:\n    a:1: connection refused"));
    }
}
