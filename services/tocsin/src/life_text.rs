//! What audit answers, as people read it in a terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// Columns for the text of a hop before it is cut.
const DETAIL_COLUMNS: usize = 110;

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Cuts to `columns` characters and keeps one line.
pub(crate) fn one_line(text: &str, columns: usize) -> String {
    let flat: String = text
        .chars()
        .map(|symbol| if symbol.is_control() { ' ' } else { symbol })
        .collect();
    if flat.chars().count() <= columns {
        return flat;
    }
    let cut: String = flat.chars().take(columns.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// `12:04:05.678` of an RFC 3339 time.
fn clock(time: &str) -> &str {
    time.split_once('T')
        .map_or(time, |(_, rest)| rest.get(..12).unwrap_or(rest))
}

/// A line per event.
pub(crate) fn list(answer: &Value) -> String {
    let mut lines = format!(
        "{:<36}  {:<12}  {:<10}  {:<22}  {:<10}  {:<20}  {}\n",
        "EVENT", "AT", "PROVIDER", "KIND", "DECISION", "TEAM", "TITLE"
    );
    for event in items(answer, "events") {
        let team = match (text(event, "/org"), text(event, "/team")) {
            ("", "") => "-".to_owned(),
            (org, team) => format!("{org}/{team}"),
        };
        let action = Some(text(event, "/action")).filter(|action| !action.is_empty());
        let outcome = Some(text(event, "/outcome")).filter(|outcome| !outcome.is_empty());
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            lines,
            "{:<36}  {:<12}  {:<10}  {:<22}  {:<10}  {:<20}  {}",
            text(event, "/event_id"),
            clock(text(event, "/at")),
            text(event, "/provider"),
            text(event, "/kind"),
            outcome.or(action).unwrap_or("-"),
            team,
            one_line(text(event, "/title"), 60)
        );
    }
    lines
}

/// The whole life of one event.
pub(crate) fn life(life: &Value) -> String {
    let mut page = Page::default();
    page.event(life);
    page.decision(life);
    page.run(life);
    page.dead_letters(life);
    page.hops(life);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let _infallible = writeln!(self.0, "  {name:<18} {value}");
        }
    }

    fn heading(&mut self, text: &str) {
        let _infallible = writeln!(self.0, "{text}");
    }

    fn event(&mut self, life: &Value) {
        let at = |name: &str| text(life, &format!("/event/{name}"));
        self.heading(&format!("event {}", text(life, "/event_id")));
        self.line(
            "what",
            &format!("{} {}: {}", at("provider"), at("native_type"), at("title")),
        );
        self.line("severity", at("severity"));
        self.line("link", at("url"));
        let ids: Vec<_> = life
            .pointer("/event/identifiers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|id| format!("{}={}", text(id, "/type"), text(id, "/value")))
            .collect();
        self.line("identifiers", &ids.join("  "));
        self.line("delivery", at("delivery_key"));
        self.body(life);
        self.signature(life);
    }

    /// Where a body is that was too large for its event.
    fn body(&mut self, life: &Value) {
        let object = text(life, "/event/stored_body/object");
        if object.is_empty() {
            return;
        }
        let bytes = life.pointer("/event/raw_bytes").and_then(Value::as_u64);
        let store = text(life, "/event/stored_body/store");
        self.line(
            "body",
            &format!(
                "{} bytes in the object store: nats object get {store} {object}",
                bytes.unwrap_or_default()
            ),
        );
    }

    fn signature(&mut self, life: &Value) {
        let flag = |pointer| life.pointer(pointer).and_then(Value::as_bool);
        let provider = match flag("/event/signature/provider/verified") {
            Some(true) => "the provider's signature held",
            Some(false) => "the provider's signature did NOT hold",
            None => return,
        };
        let message = match flag("/event/signature/message/verified") {
            Some(true) => format!(
                "; signed on the bus by {} with key {}",
                text(life, "/event/signature/message/signer"),
                text(life, "/event/signature/message/key_id")
            ),
            _ => String::new(),
        };
        self.line("signatures", &format!("{provider}{message}"));
    }

    fn decision(&mut self, life: &Value) {
        let Some(decision) = life.get("decision").filter(|decision| decision.is_object()) else {
            self.heading("not decided yet");
            return;
        };
        let owner = match (text(decision, "/org"), text(decision, "/team")) {
            ("", "") => String::new(),
            (org, team) => format!(" for {org}/{team}"),
        };
        self.heading(&format!("decision: {}{owner}", text(decision, "/action")));
        for reason in items(decision, "reasons") {
            self.line(text(reason, "/code"), text(reason, "/detail"));
        }
        let tried: Vec<_> = items(decision, "tried").filter_map(Value::as_str).collect();
        self.line("tried", &tried.join(", "));
        self.line("duplicate", text(decision, "/duplicate_of"));
    }

    fn run(&mut self, life: &Value) {
        let Some(run) = life.get("run").filter(|run| run.is_object()) else {
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
            let step = resumed
                .get("at_step")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let idle = resumed
                .get("idle_ms")
                .and_then(Value::as_f64)
                .unwrap_or_default();
            self.line(
                "resumed",
                &format!(
                    "on {} at step {step}, {:.1} s",
                    text(resumed, "/worker"),
                    idle / 1_000.0
                ),
            );
        }
        self.line("root cause", text(run, "/findings/root_cause"));
        self.line("summary", text(run, "/findings/summary"));
        let usage = |name: &str| {
            run.pointer(&format!("/usage/{name}"))
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        if run.get("usage").is_some_and(Value::is_object) {
            let used = format!(
                "{} turns, {} tool calls, {} tokens",
                usage("turns"),
                usage("tool_calls"),
                usage("input_tokens") + usage("output_tokens")
            );
            self.line("used", &used);
        }
        for post in items(run, "posts") {
            let delivered = post
                .get("delivered")
                .and_then(Value::as_bool)
                .unwrap_or(true);
            let why = if delivered {
                String::new()
            } else {
                format!(": {}", text(post, "/reason"))
            };
            let done = if delivered { "posted" } else { "not posted" };
            self.line(
                done,
                &format!(
                    "{} to {}{why}",
                    text(post, "/phase"),
                    text(post, "/destination")
                ),
            );
        }
        self.line("detail", text(run, "/detail"));
    }

    fn dead_letters(&mut self, life: &Value) {
        for dead in items(life, "dead_letters") {
            self.heading(&format!("dead letter: {}", text(dead, "/code")));
            self.line(
                "where",
                &format!("{} of {}", text(dead, "/subject"), text(dead, "/consumer")),
            );
            self.line("why", text(dead, "/reason"));
        }
    }

    fn hops(&mut self, life: &Value) {
        self.heading("hops");
        let milliseconds =
            |hop: &Value, name: &str| hop.get(name).and_then(Value::as_f64).unwrap_or_default();
        for hop in items(life, "hops") {
            let _infallible = writeln!(
                self.0,
                "  {}  {:>10.1} ms  {:>+9.1}  {:<14} {:<16} {}",
                clock(text(hop, "/at")),
                milliseconds(hop, "since_start_ms"),
                milliseconds(hop, "since_previous_ms"),
                text(hop, "/who"),
                text(hop, "/what"),
                one_line(text(hop, "/detail"), DETAIL_COLUMNS)
            );
        }
        let left_out = life
            .get("hops_left_out")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        if left_out > 0 {
            self.line("", &format!("and {left_out} more"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_life_reads_from_top_to_bottom() {
        let answer = json!({
            "event_id": "e1",
            "event": { "provider": "pagerduty", "native_type": "incident.triggered", "title": "checkout: 5xx",
                "severity": "high", "identifiers": [{ "type": "pagerduty_service_id", "value": "P1" }],
                "delivery_key": "pagerduty:shared:01",
                "signature": { "provider": { "verified": true },
                    "message": { "verified": true, "signer": "ingress", "key_id": "0123456789abcdef" } } },
            "decision": { "action": "run", "org": "acme", "team": "pay", "tried": ["pagerduty_service_id"],
                "reasons": [{ "code": "matched_identifier", "detail": "P1 belongs to acme/pay" }] },
            "run": { "run_id": "r1", "agent": "planner", "workers": ["worker-1", "worker-2"], "outcome": "completed",
                "resumed": [{ "worker": "worker-2", "at_step": 4, "idle_ms": 2100 }],
                "findings": { "root_cause": "pool exhausted" },
                "usage": { "turns": 5, "tool_calls": 4, "input_tokens": 1000, "output_tokens": 200 },
                "posts": [{ "phase": "final", "destination": "slack:C1", "delivered": true }] },
            "dead_letters": [],
            "hops": [
                { "at": "2026-01-02T03:04:05.678901Z", "since_start_ms": 0.0, "since_previous_ms": 0.0,
                  "who": "ingress", "what": "stored", "detail": "a\nb" }
            ],
            "hops_left_out": 0
        });
        insta::assert_snapshot!(life(&answer));
    }

    #[test]
    fn a_large_body_is_said_to_be_in_the_object_store() {
        let answer = json!({ "event_id": "e1", "event": { "raw_bytes": 20_971_520,
            "stored_body": { "store": "bodies", "object": "ba78" } } });
        let expected = "20971520 bytes in the object store: nats object get bodies ba78";
        assert!(life(&answer).contains(expected));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31mb", 20), "a [31mb");
        assert_eq!(one_line(&"x".repeat(30), 5), "xxxx…");
    }
}
