//! Whether what happened is what was promised. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tocsin_testkit::standins::slack::Message;

use super::Kill;
use crate::load::Counts;
use crate::record::{JournalSummary, Results, TakeOver};
use crate::stack::Component;

/// Examples kept of each violation.
const EXAMPLES: usize = 5;

/// The longest time without finished work after one kill.
#[derive(Debug, Clone)]
pub struct Gap {
    /// What was killed.
    pub kill: Kill,
    /// Between two runs that ended, from the kill to the next kill.
    pub longest: Duration,
}

/// The figures of a round.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Deliveries that got 2xx.
    pub accepted: usize,
    /// Deliveries that nobody accepted, however often they were tried.
    pub given_up: usize,
    /// Tries that were refused or had no answer.
    pub refused: usize,
    /// Runs that the accepted deliveries led to.
    pub runs: usize,
    /// Final messages of those runs.
    pub final_messages: usize,
    /// Take-overs by another worker, and the longest time from a kill to one of them.
    pub resumed: (usize, Duration),
    /// Accepted deliveries without a run, without its end, or without its final message.
    pub lost: Vec<String>,
    /// More than one run, message, beginning or end.
    pub duplicates: Vec<String>,
    /// Of a sample: accepted deliveries whose life audit does not know to its end.
    pub unrecorded: Vec<String>,
    /// For the first few runs of both kinds: their journal and their messages, line by line.
    pub histories: Vec<String>,
    /// After each kill.
    pub gaps: Vec<Gap>,
    /// From the last delivery to the end of the last run; none when the time was not enough.
    pub drained_after: Option<Duration>,
}

impl Verdict {
    pub(super) fn judge(
        counts: &Counts,
        results: &Results,
        journals: &BTreeMap<String, JournalSummary>,
        messages: &[Message],
        kills: &[Kill],
    ) -> Self {
        let mut verdict = Self {
            given_up: counts.given_up.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            ..Self::default()
        };
        let mut runs_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (run, journal) in journals {
            runs_of.entry(&journal.event).or_default().insert(run);
        }
        let mut messages_of: BTreeMap<String, Vec<&Message>> = BTreeMap::new();
        for message in messages.iter().filter(|message| message.is_bot) {
            if let Some(run) = message.metadata_value("run_id") {
                messages_of.entry(run).or_default().push(message);
            }
        }
        for accepted in counts.accepted() {
            verdict.accepted += 1;
            let event = accepted.event.to_string();
            let Some(runs) = runs_of.get(event.as_str()) else {
                let decisions = results.decisions.get(&event).map_or(0, Vec::len);
                verdict
                    .lost
                    .push(format!("event {event}: no run, {decisions} decisions"));
                continue;
            };
            if runs.len() > 1 {
                verdict
                    .duplicates
                    .push(format!("event {event}: runs {runs:?}"));
            }
            for run in runs {
                verdict.runs += 1;
                let before = verdict.lost.len() + verdict.duplicates.len();
                let journal = journals.get(*run);
                if let Some(journal) = journal {
                    verdict.judge_journal(run, journal, kills);
                }
                let posted = messages_of.get(*run).map_or(&[][..], Vec::as_slice);
                verdict.judge_messages(run, &accepted.channel, posted);
                let is_sound = verdict.lost.len() + verdict.duplicates.len() == before;
                if !is_sound && verdict.histories.len() < EXAMPLES {
                    verdict.histories.push(history(run, journal, posted));
                }
            }
        }
        verdict
    }

    fn judge_journal(&mut self, run: &str, journal: &JournalSummary, kills: &[Kill]) {
        let (count, longest) = &mut self.resumed;
        for take_over in &journal.resumed {
            *count += 1;
            *longest = (*longest).max(rested(take_over, kills));
        }
        if journal.started != 1 || journal.finished > 1 {
            let (started, finished) = (journal.started, journal.finished);
            self.duplicates
                .push(format!("run {run}: {started} beginnings, {finished} ends"));
        }
        if journal.finished == 0 {
            self.lost.push(format!("run {run} has not ended"));
        }
        let repeated = journal.answers.iter().filter(|(_, count)| **count > 1);
        for (turn, count) in repeated {
            self.duplicates
                .push(format!("run {run}: turn {turn} was answered {count} times"));
        }
    }

    fn judge_messages(&mut self, run: &str, channel: &str, posted: &[&Message]) {
        match posted {
            [] => self
                .lost
                .push(format!("run {run}: no message in {channel}")),
            [message] if !is_final(message) => {
                self.lost
                    .push(format!("run {run}: its message in {channel} is not final"));
            }
            [message] if message.channel != channel => {
                let found = &message.channel;
                self.lost.push(format!(
                    "run {run}: its message is in {found}, not in {channel}"
                ));
            }
            [_] => self.final_messages += 1,
            several => {
                let count = several.len();
                self.duplicates
                    .push(format!("run {run}: {count} messages in {channel}"));
            }
        }
    }

    /// What was promised and does not hold, one line each; `longest_gap` is how long work may rest
    /// after a kill.
    pub fn violations(&self, longest_gap: Duration) -> Vec<String> {
        let mut violations = Vec::new();
        let mut examples = |what: &str, all: &[String]| {
            if !all.is_empty() {
                let shown: Vec<&String> = all.iter().take(EXAMPLES).collect();
                violations.push(format!("{} {what}, such as {shown:#?}", all.len()));
            }
        };
        examples("lost", &self.lost);
        examples("duplicates", &self.duplicates);
        examples("not recorded", &self.unrecorded);
        if self.accepted == 0 {
            violations.push("nothing was accepted".to_owned());
        }
        if self.given_up > 0 {
            violations.push(format!("{} deliveries were never accepted", self.given_up));
        }
        if self.drained_after.is_none() {
            violations.push("work was left when the time was over".to_owned());
        }
        let (_, rested) = self.resumed;
        if rested > longest_gap {
            let seconds = rested.as_secs_f64();
            violations.push(format!(
                "a run in hand was resumed {seconds:.1} s after the kill"
            ));
        }
        for gap in self.gaps.iter().filter(|gap| gap.longest > longest_gap) {
            violations.push(format!(
                "no run ended for {:.1} s after kill -9 {}",
                gap.longest.as_secs_f64(),
                gap.kill.component
            ));
        }
        violations
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let drained = self
            .drained_after
            .map_or_else(|| "never".to_owned(), seconds);
        writeln!(formatter, "accepted               {:>8}", self.accepted)?;
        writeln!(formatter, "  tries refused        {:>8}", self.refused)?;
        writeln!(formatter, "  never accepted       {:>8}", self.given_up)?;
        writeln!(formatter, "runs                   {:>8}", self.runs)?;
        writeln!(
            formatter,
            "final messages         {:>8}",
            self.final_messages
        )?;
        writeln!(
            formatter,
            "duplicates             {:>8}",
            self.duplicates.len()
        )?;
        writeln!(formatter, "lost                   {:>8}", self.lost.len())?;
        writeln!(
            formatter,
            "not in the record      {:>8}   (of a sample)",
            self.unrecorded.len()
        )?;
        let (resumed, rested) = self.resumed;
        let rested = seconds(rested);
        writeln!(
            formatter,
            "resumed                {resumed:>8}   ({rested} after the kill at most)"
        )?;
        writeln!(formatter, "all finished after     {drained:>8}")?;
        writeln!(
            formatter,
            "killed        ready again   longest without a finished run"
        )?;
        for gap in &self.gaps {
            writeln!(
                formatter,
                "{:<13} {:>11}   {}",
                gap.kill.component.to_string(),
                seconds(gap.kill.back_after),
                seconds(gap.longest)
            )?;
        }
        Ok(())
    }
}

/// From the kill that led to a take-over; a run may have written its last entry just before it.
fn rested(take_over: &TakeOver, kills: &[Kill]) -> Duration {
    let is_cause = |kill: &&Kill| {
        let name = kill.component.to_string();
        let led_to_it = name == take_over.previous || kill.component == Component::NatsServer;
        led_to_it && kill.at < take_over.at
    };
    let earlier = kills.iter().rev().find(is_cause);
    let since_kill = earlier.map(|kill| take_over.at.duration_since(kill.at));
    let since_kill = since_kill.and_then(|since| Duration::try_from(since).ok());
    since_kill.unwrap_or(Duration::from_millis(take_over.idle_millis))
}

/// What happened to one run, in the order of time.
fn history(run: &str, journal: Option<&JournalSummary>, posted: &[&Message]) -> String {
    let entries = journal.map_or(&[][..], |journal| &journal.entries);
    let entry = |(at, worker, kind): &(Timestamp, String, &str)| {
        (at.as_millisecond(), format!("journal  {worker}: {kind}"))
    };
    let mut lines: Vec<(i64, String)> = entries.iter().map(entry).collect();
    for message in posted {
        for version in &message.versions {
            let shown: String = version.shown.lines().collect::<Vec<_>>().join(" | ");
            lines.push((version.at, format!("Slack    {}: {shown}", message.ts)));
        }
    }
    lines.sort();
    let mut text = format!("run {run}\n");
    for (millisecond, line) in lines {
        let at = Timestamp::from_millisecond(millisecond).unwrap_or_default();
        text.push_str(&format!("  {at:.3}  {line}\n"));
    }
    text
}

/// Whether a message tells the end of its run, not its progress.
pub fn is_final(message: &Message) -> bool {
    ["Root cause", "Findings", "Something went wrong"]
        .iter()
        .any(|head| message.text.starts_with(head))
}

/// After each kill, the longest time in which no run ended: from the kill to the next one, or to
/// the end of the load. `began` and `until` are when deliveries were sent.
pub fn longest_gaps(
    results: &Results,
    kills: &[Kill],
    began: Timestamp,
    until: Timestamp,
) -> Vec<Gap> {
    let mut ends: Vec<Timestamp> = results.finished.values().map(|(at, _)| *at).collect();
    ends.retain(|at| *at >= began);
    ends.sort();
    let gap = |index: usize, kill: &Kill| {
        let to = kills
            .get(index + 1)
            .map_or(until, |next| next.at)
            .max(kill.at);
        let inside = ends.iter().copied().filter(|at| *at > kill.at && *at < to);
        let marks: Vec<Timestamp> = [kill.at].into_iter().chain(inside).chain([to]).collect();
        let gaps = marks.windows(2).filter_map(|pair| match pair {
            [before, after] => Duration::try_from(after.duration_since(*before)).ok(),
            _ => None,
        });
        Gap {
            kill: *kill,
            longest: gaps.max().unwrap_or_default(),
        }
    };
    kills
        .iter()
        .enumerate()
        .map(|(index, kill)| gap(index, kill))
        .collect()
}

#[cfg(test)]
mod tests;
