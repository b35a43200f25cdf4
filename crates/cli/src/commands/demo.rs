//! `demo`: an election with a failover, played by two candidates in this process, each step with
//! its explanation.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::signals::Signals,
    output, parse,
};
use clap::Args;
use conclave_client::{Client, Held, Put, QueueElection, QueueLeadership, Session, Token, queue::Progress};
use std::time::{Duration, Instant};

/// How many steps there are.
const STEPS: usize = 6;

/// An election with a failover in this cluster, step by step, each explained
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl demo
  conclavectl demo --ttl 5s    the cluster waits longer for a candidate that is silent

Two candidates of its own, alice and bob, take part in an election that nobody else uses. The
election and the one key that is written are deleted at the end. Nothing else is changed.")]
pub(crate) struct DemoArgs {
    /// How long a candidate may be silent before the cluster takes it out
    #[arg(long, default_value = "2s", value_parser = parse::ttl, value_name = "TIME")]
    ttl: Duration,
}

impl DemoArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let mut signals = Signals::new()?;
        let client = context.link.client().await?;
        // A number of its own: two may play at the same time.
        let name = format!("conclave-demo-{:08x}", rand::random::<u32>());
        let play =
            Play { election: QueueElection::new(&client, name.as_str()), key: format!("{name}/written"), name, client };
        let played = tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            played = play.all(self.ttl) => played,
        };
        // In every case; what went wrong before is the better explanation.
        let cleaned = play.clean().await;
        played.and(cleaned)
    }
}

/// What all steps use.
struct Play {
    client: Client,
    name: String,
    election: QueueElection,
    key: String,
}

impl Play {
    async fn all(&self, ttl: Duration) -> Result<()> {
        self.cluster().await?;
        let alice = self.session(ttl).await?;
        let bob = self.session(ttl).await?;
        let first = self.alice_leads(&alice).await?;
        let proof = first.token();
        let mut waiting = self.election.candidate(&bob, "bob").campaigning();
        while !matches!(waiting.next().await.map_err(Failure::of_client)?, Progress::Waiting { .. }) {}
        step(
            3,
            "bob is a candidate too",
            "He waits in line: the cluster keeps the line, so his place outlives the failure of any member.",
        )?;
        self.line().await?;
        self.alice_writes(proof.clone()).await?;
        step(
            5,
            "alice falls silent",
            "Her process does not answer any more, as after a crash: nothing tells the cluster but the time that passes. When her \
             session has run out, one command in the cluster's log takes her out and makes bob the leader.",
        )?;
        let silent = Instant::now();
        // Her lease is left to itself.
        let _ = alice.orphan();
        drop(first);
        let second = loop {
            if let Progress::Won(leadership) = waiting.next().await.map_err(Failure::of_client)? {
                break leadership;
            }
        };
        show(&format!("bob leads after {:.1} s, with fence {}", silent.elapsed().as_secs_f64(), second.fence()))?;
        self.alice_is_late(proof, second.token()).await?;
        bob.close().await.map_err(Failure::of_client)
    }

    async fn session(&self, ttl: Duration) -> Result<Session> {
        Session::open_precisely(&self.client, ttl).await.map_err(Failure::of_client)
    }

    async fn cluster(&self) -> Result<()> {
        let status = self.client.status().await.map_err(Failure::of_client)?;
        let members = self.client.members().await.map_err(Failure::of_client)?.members;
        step(
            1,
            "the cluster",
            "Its members keep the same log. Whatever follows is decided by commands in that log, once, for all of them.",
        )?;
        let leader = members.iter().find(|member| member.id == status.leader).map_or("nobody", |member| &member.name);
        show(&format!("{} members; {leader} leads the cluster", members.len()))
    }

    async fn alice_leads(&self, session: &Session) -> Result<QueueLeadership> {
        let won = self.election.candidate(session, "alice").try_lead().await.map_err(Failure::of_client)?;
        let leadership = won.ok_or_else(|| Failure::new(Exit::Failed, "somebody else plays under the same name"))?;
        step(
            2,
            &format!("alice is a candidate in the election {}", self.name),
            "Nobody leads it, so she does at once. She gets a fence: a number greater than that of every leader before her.",
        )?;
        show(&format!("alice leads, with fence {}; she confirms her session again and again", leadership.fence()))?;
        Ok(leadership)
    }

    /// Who leads and who waits.
    async fn line(&self) -> Result<()> {
        let term = self.election.candidates(10, 0).await.map_err(Failure::of_client)?;
        let waiting: Vec<_> = term.candidates.iter().skip(1).map(|candidate| candidate.id.as_str()).collect();
        show(&format!("{} leads; in line: {}", term.leader.as_deref().unwrap_or("nobody"), waiting.join(" ")))
    }

    async fn alice_writes(&self, token: Token) -> Result<()> {
        step(
            4,
            "alice writes, as the leader",
            "Her transaction carries the proof of her leadership, which the cluster checks at the moment of the write.",
        )?;
        let written = self.client.guarded(token).then([Put::new(self.key.clone(), "by alice")]).commit().await;
        let revision = written.map_err(Failure::of_client)?.header.revision;
        show(&format!("{} = \"by alice\", at revision {revision}", self.key))
    }

    async fn alice_is_late(&self, hers: Token, his: Token) -> Result<()> {
        step(
            6,
            "alice wakes up and writes once more",
            "She does not know yet that she leads no longer; no program can, at every moment. Her proof does not hold any more, so \
             nothing is written. bob's does.",
        )?;
        match self.client.guarded(hers).then([Put::new(self.key.clone(), "by alice, too late")]).commit().await {
            Err(error) if error.is_final() => show(&format!("alice's write is refused: {error}"))?,
            Err(error) => return Err(Failure::of_client(error)),
            Ok(_) => {
                return Err(Failure::new(Exit::Failed, "the cluster accepted a write of a leader that was replaced"));
            }
        }
        let written = self.client.guarded(his).then([Put::new(self.key.clone(), "by bob")]).commit().await;
        let revision = written.map_err(Failure::of_client)?.header.revision;
        show(&format!("{} = \"by bob\", at revision {revision}", self.key))?;
        output::raw("\nMore of it: conclavectl election --help, conclavectl lock --help, conclavectl status --watch\n")
    }

    /// What is left of it goes.
    async fn clean(&self) -> Result<()> {
        if let Err(error) = self.election.delete().await
            && !error.is_final()
        {
            return Err(Failure::of_client(error));
        }
        self.client.delete(self.key.clone()).await.map(drop).map_err(Failure::of_client)
    }
}

/// The heading of a step, and what happens in it.
fn step(number: usize, title: &str, why: &str) -> Result<()> {
    let mut text = format!("\n{number}/{STEPS}  {title}\n");
    for line in wrapped(why, 92) {
        text += &format!("     {line}\n");
    }
    output::raw(&text)
}

/// What is seen of it.
fn show(line: &str) -> Result<()> {
    output::raw(&format!("     -> {line}\n"))
}

/// A text in lines of at most so many characters, unless a word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable a", 3), ["unbreakable", "a"]);
        assert!(wrapped("", 3).is_empty());
    }
}
