//! The page of one event's life, for somebody who knows nothing of it and has no time: what it came to
//! in two lines, then question by question, and every step last.

mod course;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use super::{items, one_line, text};

/// Columns for what somebody wrote.
const TEXT_COLUMNS: usize = 160;

/// Reasons that say whose an event is; the others say what is to be done with it.
const ROUTING: &[&str] = &[
    "matched_identifier",
    "disambiguated",
    "ambiguous_identifier",
    "no_identifier",
    "no_identifier_matched",
    "other_org_ignored",
    "source_default_team",
    "claimed_before",
    "unknown_team",
    "duplicate_event",
    "duplicate_delivery",
];

/// Reasons that say what it waited for.
const WAITING: &[&str] = &["queued", "queue_full"];

/// What ingress names in place of a secret when the event came over a connection that it opened to Slack.
const SOCKET_MODE: &str = "socket_mode";

/// The whole life of one event.
pub(crate) fn life(life: &Value) -> String {
    let mut page = Page::default();
    page.headline(life);
    page.section("what came", |page| page.what_came(life));
    page.genuine(life);
    page.why(life);
    page.section("what it waited for", |page| page.waited(life));
    page.run(life);
    page.related(life);
    page.dead_letters(life);
    let steps = "every step (time, since it came, since the step before, who, what)";
    page.section(steps, |page| page.hops(life));
    page.0
}

#[derive(Default)]
struct Page(String);

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

fn object<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| value.is_object())
}

/// `org/team`; `or` when it is nobody's.
fn owner(value: &Value, or: &str) -> String {
    match (text(value, "/org"), text(value, "/team")) {
        ("", _) | (_, "") => or.to_owned(),
        (org, team) => format!("{org}/{team}"),
    }
}

/// An RFC 3339 time without what is smaller than a second.
fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// `12.3 ms`, `4.5 s`, `3.2 min`.
fn duration(milliseconds: f64) -> String {
    match milliseconds {
        short if short < 1_000.0 => format!("{short:.1} ms"),
        seconds if seconds < 120_000.0 => format!("{:.1} s", seconds / 1_000.0),
        long => format!("{:.1} min", long / 60_000.0),
    }
}

fn joined(parts: &[&str], between: &str) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(between)
}

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(self.0, "  {name:<20} {value}");
        }
    }

    fn heading(&mut self, text: &str) {
        let _infallible = writeln!(self.0, "{text}");
    }

    /// A heading with what `fill` says below it; nothing when that is nothing.
    fn section(&mut self, heading: &str, fill: impl FnOnce(&mut Self)) {
        let before = self.0.len();
        self.heading(heading);
        let empty = self.0.len();
        fill(self);
        if self.0.len() == empty {
            self.0.truncate(before);
        }
    }

    /// What came and what came of it, in two lines.
    fn headline(&mut self, life: &Value) {
        self.heading(&format!("event {}", text(life, "/event_id")));
        let at = |name: &str| text(life, &format!("/event/{name}"));
        // Many providers say the action in the type: incident.triggered.
        let action = Some(at("action")).filter(|action| !at("native_type").ends_with(action));
        let kind = joined(
            &[
                at("provider"),
                at("native_type"),
                action.unwrap_or_default(),
            ],
            " ",
        );
        let title = one_line(at("title"), TEXT_COLUMNS);
        self.line("came", &joined(&[&kind, &title], ": "));
        self.line("came of it", &outcome(life));
    }

    /// Where a body is that was too large for its event.
    fn body(&mut self, life: &Value) {
        let object = text(life, "/event/stored_body/object");
        if object.is_empty() {
            return;
        }
        let bytes = life.pointer("/event/raw_bytes").and_then(Value::as_u64);
        let bytes = bytes.unwrap_or_default();
        let id = text(life, "/event_id");
        let kept = format!("{bytes} bytes in the object store: tocsin events body {id}");
        self.line("body", &kept);
    }

    fn what_came(&mut self, life: &Value) {
        let Some(event) = object(life, "event") else {
            return;
        };
        let at = |name: &str| text(event, &format!("/{name}"));
        self.line("from", at("actor"));
        self.line("said", &one_line(at("text"), TEXT_COLUMNS));
        self.body(life);
        self.line("severity", &joined(&[at("severity"), at("status")], ", "));
        let received = joined(&["received", &to_seconds(at("received_at"))], " ");
        let happened = match at("occurred_at") {
            "" => String::new(),
            when => format!("happened {}", to_seconds(when)),
        };
        if !at("received_at").is_empty() {
            self.line("when", &joined(&[&received, &happened], ", "));
        }
        self.line("link", at("url"));
        let ids: Vec<_> = items(event, "identifiers")
            .map(|id| format!("{}={}", text(id, "/type"), text(id, "/value")))
            .collect();
        self.line("names", &ids.join("  "));
        self.line("delivery", at("delivery_key"));
        if let Some(attempt) = number(event, "/attempt").filter(|attempt| *attempt > 0.0) {
            self.line("retry", &format!("number {attempt} of the provider"));
        }
    }

    fn genuine(&mut self, life: &Value) {
        let flag = |pointer| life.pointer(pointer).and_then(Value::as_bool);
        let Some(is_genuine) = flag("/event/signature/provider/verified") else {
            return;
        };
        let answer = if is_genuine { "yes" } else { "NO" };
        self.heading(&format!("was it genuine: {answer}"));
        let source = match (text(life, "/event/source"), text(life, "/event/org")) {
            ("", _) | ("shared", _) => "the shared source".to_owned(),
            (source, "") => format!("source {source}"),
            (source, org) => format!("source {source} of {org}"),
        };
        self.line("at the door", &proof(life, is_genuine, &source));
        if flag("/event/signature/message/verified") == Some(true) {
            let (signer, key) = (
                text(life, "/event/signature/message/signer"),
                text(life, "/event/signature/message/key_id"),
            );
            self.line(
                "on the bus",
                &format!("signed by {signer} with key {key}; it held"),
            );
        }
    }

    fn why(&mut self, life: &Value) {
        let Some(decision) = object(life, "decision") else {
            self.heading("not decided yet");
            return;
        };
        let code = |reason: &Value| text(reason, "/code").to_owned();
        let reasons: Vec<&Value> = items(decision, "reasons").collect();
        self.heading(&format!("why {}", owner(decision, "nobody")));
        for reason in reasons
            .iter()
            .filter(|reason| ROUTING.contains(&code(reason).as_str()))
        {
            self.line(&code(reason), text(reason, "/detail"));
        }
        let candidates: Vec<String> = items(decision, "candidates")
            .map(|one| owner(one, ""))
            .collect();
        self.line("claimed by", &candidates.join(", "));
        let tried: Vec<_> = items(decision, "tried").filter_map(Value::as_str).collect();
        self.line("looked up, in order", &tried.join(", "));
        self.line("same as", text(decision, "/duplicate_of"));

        let agent = text(decision, "/agent");
        self.heading(&match (text(decision, "/action"), agent) {
            ("run", "") => "why a run".to_owned(),
            ("run", agent) => format!("why agent {agent}"),
            (action, _) => format!("why no run ({action})"),
        });
        let rest = |reason: &&&Value| {
            let code = code(reason);
            !ROUTING.contains(&code.as_str()) && !WAITING.contains(&code.as_str())
        };
        for reason in reasons.iter().filter(rest) {
            self.line(&code(reason), text(reason, "/detail"));
        }
        let is_by_rule = reasons
            .iter()
            .any(|reason| code(reason).starts_with("rule"));
        if !agent.is_empty() && !is_by_rule {
            let detail =
                "no rule named another: the team's entrance_agent, or planner where it names none";
            self.line(agent, detail);
        }
    }

    fn waited(&mut self, life: &Value) {
        let Some(decision) = object(life, "decision") else {
            return;
        };
        let hop = |what: &str| {
            items(life, "hops")
                .find(|hop| text(hop, "/what") == what)
                .and_then(|hop| number(hop, "/since_start_ms"))
        };
        let until = text(life, "/event/deferred_until");
        if !until.is_empty() {
            let until = to_seconds(until);
            let held =
                format!("held back until {until}: more came than the rate limit lets through");
            self.line("for its rate limit", &held);
        }
        if let Some(stored) = hop("stored") {
            self.line("to be kept", &duration(stored));
            if let Some(decided) = hop("decided") {
                self.line("for its decision", &duration(decided - stored));
            }
        }
        for reason in items(decision, "reasons") {
            if WAITING.contains(&text(reason, "/code")) {
                self.line(text(reason, "/code"), text(reason, "/detail"));
            }
        }
        let queue = match text(decision, "/placement") {
            "admitted" => "no queue: the team had room".to_owned(),
            "backlog" => queued(life),
            _ => String::new(),
        };
        self.line("for its turn", &queue);
        if let Some(waited) = number(life, "/run/waited_ms") {
            self.line("for a worker", &duration(waited));
        }
    }

    fn run(&mut self, life: &Value) {
        let Some(run) = object(life, "run") else {
            return;
        };
        let outcome = Some(text(run, "/outcome")).filter(|outcome| !outcome.is_empty());
        let workers: Vec<_> = items(run, "workers").filter_map(Value::as_str).collect();
        self.heading(&format!(
            "run {}: {} by {} on {}",
            text(run, "/run_id"),
            outcome.unwrap_or("running"),
            text(run, "/agent"),
            workers.join(", then ")
        ));
        for resumed in items(run, "resumed") {
            let step = number(resumed, "/at_step").unwrap_or_default();
            let idle = number(resumed, "/idle_ms").unwrap_or_default();
            let worker = text(resumed, "/worker");
            let detail = format!("on {worker} at step {step}, after {}", duration(idle));
            self.line("resumed", &detail);
        }
        self.line("root cause", text(run, "/findings/root_cause"));
        self.line("summary", text(run, "/findings/summary"));
        let usage = |name: &str| {
            let pointer = format!("/usage/{name}");
            run.pointer(&pointer)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        if object(run, "usage").is_some() {
            let tokens = usage("input_tokens") + usage("output_tokens");
            let (turns, calls) = (usage("turns"), usage("tool_calls"));
            self.line(
                "used",
                &format!("{turns} turns, {calls} tool calls, {tokens} tokens"),
            );
        }
        for post in items(run, "posts") {
            let place = format!("{} to {}", text(post, "/phase"), text(post, "/destination"));
            match post.get("delivered").and_then(Value::as_bool) {
                Some(false) => {
                    self.line("NOT posted", &format!("{place}: {}", text(post, "/reason")));
                }
                _ => self.line("posted", &place),
            }
        }
        self.line("detail", text(run, "/detail"));
    }
}

/// How the event proved whom it comes from.
fn proof(life: &Value, is_genuine: bool, source: &str) -> String {
    let at = |name: &str| text(life, &format!("/event/signature/provider/{name}"));
    let secret = match at("secret_id") {
        SOCKET_MODE => {
            return format!(
                "it came over a connection that Tocsin itself opened to Slack, to {source}; nothing in it is signed"
            );
        }
        "" => {
            let index = number(life, "/event/signature/provider/secret_index");
            format!("live secret number {}", index.unwrap_or_default() + 1.0)
        }
        id => format!("secret {id}"),
    };
    let proof = match at("header") {
        "" => "the sender's secret".to_owned(),
        header => format!("the signature in {header}"),
    };
    let verdict = if is_genuine { "held" } else { "did NOT hold" };
    format!("{proof} {verdict}, with {secret} of {source}")
}

/// Whose it was, who looked, and how it ended.
fn outcome(life: &Value) -> String {
    let Some(decision) = object(life, "decision") else {
        return "nothing yet: it is not decided".to_owned();
    };
    let whose = owner(decision, "nobody's");
    let Some(run) = object(life, "run") else {
        let last = items(decision, "reasons").last();
        let why = last
            .map(|reason| text(reason, "/detail"))
            .unwrap_or_default();
        return joined(
            &[
                text(decision, "/action"),
                &whose,
                &one_line(why, TEXT_COLUMNS),
            ],
            " · ",
        );
    };
    let ended = match (text(run, "/outcome"), number(run, "/duration_ms")) {
        ("", _) => "running".to_owned(),
        (outcome, None) => outcome.to_owned(),
        (outcome, Some(took)) => format!("{outcome} in {}", duration(took)),
    };
    let cause = one_line(text(run, "/findings/root_cause"), TEXT_COLUMNS);
    joined(&[&whose, text(run, "/agent"), &ended, &cause], " · ")
}

/// How long a run waited behind others: from the decision until a worker could have taken it.
fn queued(life: &Value) -> String {
    let at = |path: &str| text(life, path).parse::<Timestamp>().ok();
    let (Some(decided), Some(started)) = (at("/decision/at"), at("/run/started_at")) else {
        return "behind other runs; it has not begun yet".to_owned();
    };
    let milliseconds = started.duration_since(decided).as_secs_f64() * 1_000.0;
    let for_a_worker = number(life, "/run/waited_ms").unwrap_or_default();
    let turn = (milliseconds - for_a_worker).max(0.0);
    format!("{} behind other runs", duration(turn))
}
