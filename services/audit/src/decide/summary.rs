//! The facts of a message that stay when its body is erased: small, storable, by type.

use serde_json::{Map, Value};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::journal_entry::Entry;
use tocsin_wire::proto::{
    Actor, Comparison, ConfigChanged, DeadLetter, Decision, DecisionAction, Event, EventStatus,
    Journal, JournalEntry, Placement, ReplayCause, ReplayResult, RunOutcome, RunPost, RunResult,
    RunStarted, Severity, Signal, SignalKind, Usage,
};
use tocsin_wire::time;

use super::storable;

/// Longest text of one fact.
const MAX_CHARACTERS: usize = 300;

/// Most members of a list; a decision has under ten reasons, a journal message a few entries.
const MAX_MEMBERS: usize = 32;

/// What is kept of a body.
pub(super) fn summary(body: &Body) -> Value {
    let facts = match body {
        Body::Event(event) => event_facts(event),
        Body::Decision(decision) => decision_facts(decision),
        Body::Journal(journal) => journal_facts(journal),
        Body::RunStarted(started) => started_facts(started),
        Body::RunPost(post) => post_facts(post),
        Body::RunResult(result) => result_facts(result),
        Body::Signal(signal) => signal_facts(signal),
        Body::ConfigChanged(change) => config_facts(change),
        Body::DeadLetter(dead) => dead_facts(dead),
        Body::ReplayResult(result) => replay_facts(result),
        // Never on a recorded stream.
        Body::RunRequest(_)
        | Body::RoutingRecord(_)
        | Body::TeamRecord(_)
        | Body::SecretRecord(_)
        | Body::SourceRecord(_)
        | Body::SourceHealth(_)
        | Body::Claim(_)
        | Body::OpenRun(_)
        | Body::Command(_)
        | Body::Revocation(_) => Facts::default(),
    };
    Value::Object(facts.0)
}

/// An object in which nothing empty stands.
#[derive(Default)]
struct Facts(Map<String, Value>);

impl Facts {
    fn text(mut self, name: &str, text: &str) -> Self {
        if !text.is_empty() {
            self.0
                .insert(name.to_owned(), storable(text, MAX_CHARACTERS).into());
        }
        self
    }

    fn number(mut self, name: &str, number: impl Into<u64>) -> Self {
        let number = number.into();
        if number > 0 {
            self.0.insert(name.to_owned(), number.into());
        }
        self
    }

    fn flag(mut self, name: &str, flag: bool) -> Self {
        if flag {
            self.0.insert(name.to_owned(), true.into());
        }
        self
    }

    fn object(mut self, name: &str, facts: Option<Facts>) -> Self {
        if let Some(facts) = facts {
            self.0.insert(name.to_owned(), facts.value());
        }
        self
    }

    fn time(self, name: &str, at: Option<&prost_types::Timestamp>) -> Self {
        let text = at.and_then(time::from_proto).map(|at| at.to_string());
        self.text(name, &text.unwrap_or_default())
    }

    fn list(mut self, name: &str, members: impl Iterator<Item = Value>) -> Self {
        let members: Vec<Value> = members.take(MAX_MEMBERS).collect();
        if !members.is_empty() {
            self.0.insert(name.to_owned(), members.into());
        }
        self
    }

    fn usage(self, usage: Option<&Usage>) -> Self {
        let Some(usage) = usage else { return self };
        self.number("input_tokens", usage.input_tokens)
            .number("output_tokens", usage.output_tokens)
            .number("turns", usage.turns)
            .number("tool_calls", usage.tool_calls)
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

fn event_facts(event: &Event) -> Facts {
    let identifiers = event.identifiers.iter().map(|identifier| {
        Facts::default()
            .text("type", &identifier.r#type)
            .text("value", &identifier.value)
            .value()
    });
    Facts::default()
        .text("provider", &event.provider)
        .text("source", &event.source_id)
        .text("kind", &event.kind)
        .text("native_type", &event.native_type)
        .text("action", &event.action)
        .text("title", &event.title)
        .text("severity", severity_label(event.severity()))
        .text("status", status_label(event.status()))
        .text("url", &event.url)
        .text("actor", actor(event.actor.as_ref()))
        .text("delivery_id", &event.delivery_id)
        .text("delivery_key", &event.delivery_key)
        .text("semantic_key", &event.semantic_key)
        .number("attempt", event.attempt)
        .number("secret_index", event.secret_index)
        .list("identifiers", identifiers)
        .text("org", &event.org)
        .text("default_team", &event.default_team)
        .text("secret_id", &event.secret_id)
        .time("occurred_at", event.occurred_at.as_ref())
        .time("received_at", event.received_at.as_ref())
        .time("deferred_until", event.deferred_until.as_ref())
}

fn decision_facts(decision: &Decision) -> Facts {
    let reasons = decision.reasons.iter().map(|reason| {
        Facts::default()
            .text("code", &reason.code)
            .text("detail", &reason.detail)
            .value()
    });
    let candidates = decision.candidates.iter().map(|owner| {
        Facts::default()
            .text("org", &owner.org)
            .text("team", &owner.team)
            .value()
    });
    Facts::default()
        .text("action", action_label(decision.action()))
        .text("agent", &decision.agent)
        .text("matched_by", &decision.matched_by)
        .text("matched_value", &decision.matched_value)
        .text("placement", placement_label(decision.placement()))
        .text("duplicate_of", &decision.duplicate_of)
        .text("joined_event", &decision.joined_event_id)
        .number("joined", decision.joined_count)
        .number("queue_position", decision.queue_position)
        .text("provider", &decision.event_provider)
        .text("kind", &decision.event_kind)
        .number("decide_micros", decision.decide_micros)
        .number("index_entries", decision.index_entries)
        .object("replay", decision.replay.as_ref().map(cause_facts))
        .list("candidates", candidates)
        .list("reasons", reasons)
        .list(
            "tried",
            decision.tried.iter().map(|name| storable(name, 64).into()),
        )
}

/// Who had something handled once more, and why.
fn cause_facts(cause: &ReplayCause) -> Facts {
    Facts::default()
        .text("request_id", &cause.request_id)
        .text("requested_by", &cause.requested_by)
        .text("reason", &cause.reason)
        .text("target", tocsin_wire::replay::target_name(cause.target()))
}

fn replay_facts(result: &ReplayResult) -> Facts {
    let cause = result.cause.as_ref().map(cause_facts).unwrap_or_default();
    cause
        .number("decided", result.decided)
        .number("runs", result.runs)
        .number("queue_full", result.queue_full)
        .number("out_of_scope", result.out_of_scope)
        .number("untrusted", result.untrusted)
        .list(
            "missing",
            result.missing.iter().map(|id| storable(id, 64).into()),
        )
}

/// The beginning of the difference: the whole stands in the body.
fn comparison_facts(comparison: &Comparison) -> Facts {
    let original = comparison.original.as_ref();
    Facts::default()
        .text("original_run_id", &comparison.original_run_id)
        .text(
            "original_outcome",
            outcome_label(comparison.original_outcome()),
        )
        .text(
            "original_root_cause",
            original.map_or("", |findings| &findings.root_cause),
        )
        .flag("same_root_cause", comparison.same_root_cause)
        .number("likeness_percent", comparison.likeness_percent)
}

fn journal_facts(journal: &Journal) -> Facts {
    Facts::default().list("entries", journal.entries.iter().map(entry_facts))
}

fn entry_facts(entry: &JournalEntry) -> Value {
    let facts = Facts::default()
        .number("number", entry.number)
        .time("at", entry.at.as_ref())
        .text("worker", &entry.worker);
    let facts = match &entry.entry {
        None => facts.text("what", "unknown"),
        Some(Entry::Started(started)) => facts
            .text("what", "started")
            .text("agent", &started.agent)
            .text("model", &started.model),
        Some(Entry::Resumed(resumed)) => facts
            .text("what", "resumed")
            .number("at_step", resumed.at_step)
            .number("idle_ms", resumed.idle_millis)
            .text("previous_worker", &resumed.previous_worker),
        Some(Entry::ModelRequested(asked)) => facts
            .text("what", "model_requested")
            .number("turn", asked.turn),
        Some(Entry::ModelResponded(answered)) => facts
            .text("what", "model_responded")
            .number("turn", answered.turn)
            .number("ms", answered.millis)
            .usage(answered.usage.as_ref()),
        Some(Entry::ToolStarted(started)) => facts
            .text("what", "tool_started")
            .text("tool", &started.tool),
        Some(Entry::ToolFinished(finished)) => facts
            .text(
                "what",
                if finished.failed {
                    "tool_failed"
                } else {
                    "tool_finished"
                },
            )
            .text("tool", &finished.tool)
            .number("ms", finished.millis),
        Some(Entry::PostStarted(started)) => facts
            .text("what", "post_started")
            .text("destination", &started.destination),
        Some(Entry::Posted(posted)) => facts
            .text("what", "posted")
            .text("destination", &posted.destination)
            .text("message_id", &posted.message_id)
            .text("channel", &posted.channel),
        Some(Entry::SignalsHeard(heard)) => facts
            .text("what", "signals_heard")
            .number("joined", heard.joined)
            .text(
                "resolved_by",
                heard.resolved.as_ref().map_or("", |event| &event.event_id),
            ),
        Some(Entry::Finished(finished)) => facts
            .text("what", "finished")
            .text("outcome", outcome_label(finished.outcome()))
            .text("detail", &finished.detail)
            .usage(finished.usage.as_ref()),
    };
    facts.value()
}

fn started_facts(started: &RunStarted) -> Facts {
    Facts::default()
        .text("agent", &started.agent)
        .text("worker", &started.worker)
        .number("waited_ms", started.waited_millis)
        .number("resumed_at_step", started.resumed_at_step)
}

fn post_facts(post: &RunPost) -> Facts {
    Facts::default()
        .text("destination", &post.destination)
        .text("phase", &post.phase)
        .text("message_id", &post.message_id)
        .text("channel", &post.channel)
}

fn result_facts(result: &RunResult) -> Facts {
    let findings = result.findings.as_ref();
    Facts::default()
        .text("agent", &result.agent)
        .text("worker", &result.worker)
        .text("outcome", outcome_label(result.outcome()))
        .text("detail", &result.detail)
        .text(
            "root_cause",
            findings.map_or("", |findings| &findings.root_cause),
        )
        .time("started_at", result.started_at.as_ref())
        .time("finished_at", result.finished_at.as_ref())
        .number("resumed", result.resumed)
        .flag("sandbox", result.sandbox)
        .object(
            "comparison",
            result.comparison.as_ref().map(comparison_facts),
        )
        .usage(result.usage.as_ref())
}

fn signal_facts(signal: &Signal) -> Facts {
    Facts::default()
        .text("signal", signal_label(signal.kind()))
        .text("actor", actor(signal.actor.as_ref()))
        .text("text", &signal.text)
        .number("joined", signal.joined)
        .text(
            "title",
            signal.event.as_ref().map_or("", |event| &event.title),
        )
}

fn config_facts(change: &ConfigChanged) -> Facts {
    Facts::default()
        .text("node", &change.node)
        .number("version", change.version)
        .text("what", &change.what)
        .text("changed_by", &change.changed_by)
}

fn dead_facts(dead: &DeadLetter) -> Facts {
    Facts::default()
        .text("stream", &dead.stream)
        .text("consumer", &dead.consumer)
        .number("stream_sequence", dead.stream_sequence)
        .number("delivery_count", dead.delivery_count)
        .text("subject", &dead.subject)
        .text("code", &dead.code)
        .text("reason", &dead.reason)
}

fn actor(actor: Option<&Actor>) -> &str {
    actor.map_or("", |actor| {
        if actor.name.is_empty() {
            &actor.id
        } else {
            &actor.name
        }
    })
}

macro_rules! labels {
    ($($(#[$doc:meta])* $visibility:vis fn $name:ident($type:ty) { $($variant:ident => $label:literal,)* })*) => {$(
        $(#[$doc])*
        $visibility fn $name(value: $type) -> &'static str {
            match value {
                <$type>::Unspecified => "",
                $(<$type>::$variant => $label,)*
            }
        }
    )*};
}

labels! {
    /// As in answers and in the router's metrics.
    fn action_label(DecisionAction) {
        Run => "run",
        Ignore => "ignore",
        NoRoute => "no_route",
        Ambiguous => "ambiguous",
        Duplicate => "duplicate",
        QueueFull => "queue_full",
        Join => "join",
    }
    pub(crate) fn outcome_label(RunOutcome) {
        Completed => "completed",
        Partial => "partial",
        Failed => "failed",
        TimedOut => "timed_out",
        Cancelled => "cancelled",
    }
    fn severity_label(Severity) {
        Info => "info",
        Low => "low",
        Medium => "medium",
        High => "high",
        Critical => "critical",
    }
    fn status_label(EventStatus) {
        Info => "info",
        Firing => "firing",
        Acknowledged => "acknowledged",
        Resolved => "resolved",
    }
    fn placement_label(Placement) {
        Admitted => "admitted",
        Backlog => "backlog",
    }
    fn signal_label(SignalKind) {
        Cancel => "cancel",
        Interrupt => "interrupt",
        Answer => "answer",
        Approve => "approve",
        Join => "join",
        Pause => "pause",
        Resume => "resume",
        Resolved => "resolved",
        Closed => "closed",
    }
}
