use serde_json::json;

use super::*;

#[test]
fn a_life_reads_from_top_to_bottom() {
    let answer = json!({
        "event_id": "e1",
        "event": { "provider": "pagerduty", "native_type": "incident.triggered",
            "action": "triggered", "title": "checkout: 5xx",
            "severity": "high", "status": "firing", "actor": "rosa",
            "text": "error rate above 5 %", "url": "https://acme.pagerduty.com/incidents/Q1",
            "source": "src-1", "org": "acme", "received_at": "2026-01-02T03:04:05.678Z", "identifiers": [{ "type": "pagerduty_service_id", "value": "P1" }],
            "delivery_key": "pagerduty:shared:01",
            "signature": { "provider": { "verified": true, "header": "X-PagerDuty-Signature",
                    "secret_index": 1, "secret_id": null },
                "message": { "verified": true, "signer": "ingress", "key_id": "0123456789abcdef" } } },
        "decision": { "action": "run", "org": "acme", "team": "pay", "tried": ["pagerduty_service_id"],
            "agent": "planner", "placement": "backlog", "at": "2026-01-02T03:04:05.680101Z",
            "reasons": [{ "code": "matched_identifier", "detail": "P1 belongs to acme/pay" },
                { "code": "trigger", "detail": "pagerduty incident_triggered is a trigger." },
                { "code": "queued", "detail": "acme/pay has 10 runs in hand; this one waits for its turn." }] },
        "run": { "run_id": "r1", "agent": "planner", "workers": ["worker-1", "worker-2"], "outcome": "completed",
            "duration_ms": 2460.0, "waited_ms": 1300, "started_at": "2026-01-02T03:44:06.980101Z",
            "resumed": [{ "worker": "worker-2", "at_step": 4, "idle_ms": 2100 }],
            "findings": { "root_cause": "pool exhausted" },
            "usage": { "turns": 5, "tool_calls": 4, "input_tokens": 1000, "output_tokens": 200 },
            "posts": [{ "phase": "final", "destination": "slack:C1", "delivered": true }] },
        "duplicates": [{ "event_id": "e2", "at": "2026-01-02T03:04:06Z", "code": "duplicate_event" }],
        "replays": [{ "at": "2026-01-03T09:00:00Z", "request_id": "q1", "requested_by": "ann", "reason": "new prompt",
            "target": "sandbox", "action": "run", "org": "acme", "team": "pay", "agent": "planner", "run_id": "r2",
            "outcome": "completed", "root_cause": "bad deploy",
            "comparison": { "original_outcome": "completed", "likeness_percent": 12,
                "difference": ["= outcome: completed", "- root cause: pool exhausted", "+ root cause: bad deploy"] } }],
        "dead_letters": [],
        "hops": [
            { "at": "2026-01-02T03:04:05.678901Z", "since_start_ms": 0.0, "since_previous_ms": 0.0,
              "who": "ingress", "what": "stored", "detail": "a\nb" },
            { "at": "2026-01-02T03:04:05.680101Z", "since_start_ms": 1.2, "since_previous_ms": 1.2,
              "who": "router", "what": "decided", "detail": "run" }
        ],
        "hops_left_out": 0
    });
    insta::assert_snapshot!(life(&answer));
}

#[test]
fn control_characters_never_reach_the_terminal() {
    assert_eq!(one_line("a\u{1b}[31mb", 20), "a [31mb");
    assert_eq!(one_line(&"x".repeat(30), 5), "xxxx…");
}

#[test]
fn what_nobody_got_says_why_and_who_could_have() {
    let answer = json!({
        "event_id": "e1",
        "event": { "provider": "slack", "native_type": "app_mention", "source": "shared",
            "signature": { "provider": { "verified": true, "header": null, "secret_index": 0 },
                "message": { "verified": true, "signer": "ingress", "key_id": "k" } } },
        "decision": { "action": "ambiguous",
            "candidates": [{ "org": "acme", "team": "pay" }, { "org": "globex", "team": "web" }],
            "tried": ["slack_channel_id"],
            "reasons": [{ "code": "trigger", "detail": "slack app_mention is a trigger." },
                { "code": "ambiguous_identifier", "detail": "slack_channel_id C1 belongs to 2 teams." }] },
        "run": null, "dead_letters": [], "hops": [],
    });
    insta::assert_snapshot!(life(&answer));
    let undecided = json!({ "event_id": "e1", "hops": [] });
    assert!(life(&undecided).contains("nothing yet: it is not decided"));
}

#[test]
fn what_a_rate_limit_held_back_says_so() {
    let answer = json!({ "event_id": "e1", "decision": { "action": "run" },
        "event": { "deferred_until": "2026-01-02T03:04:15.5Z" } });
    let expected =
        "held back until 2026-01-02T03:04:15Z: more came than the rate limit lets through";
    assert!(life(&answer).contains(expected));
}

#[test]
fn what_came_over_our_own_connection_claims_no_secret() {
    let answer = json!({ "event_id": "e1", "event": { "source": "shared", "signature": {
        "provider": { "verified": true, "header": null, "secret_index": 0, "secret_id": "socket_mode" } } } });
    let page = life(&answer);
    assert!(page.contains("a connection that Tocsin itself opened to Slack"));
    assert!(!page.contains("secret"), "{page}");
}

#[test]
fn a_large_body_is_said_to_be_in_the_object_store() {
    let answer = json!({ "event_id": "e1", "event": { "raw_bytes": 20_971_520,
        "stored_body": { "store": "bodies", "object": "ba78" } } });
    let expected = "20971520 bytes in the object store: tocsin events body e1";
    assert!(life(&answer).contains(expected));
}
