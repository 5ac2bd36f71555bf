use serde_json::json;
use tocsin_wire::Service;
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Comparison, Envelope, Findings, ReplayCause, ReplayResult};

use super::*;

#[test]
fn a_plan_says_what_starts_and_what_does_not() {
    let answer = json!({
        "runs": 1,
        "teams": [{ "org": "acme", "team": "pay", "agent": "triage", "runs": 1 }],
        "events": [
            { "event_id": "e1", "at": "2026-01-02T03:04:05.678Z", "provider": "pagerduty",
              "kind": "incident_triggered", "title": "checkout: 5xx", "action": "run" },
            { "event_id": "e2", "at": "2026-01-02T03:04:06.678Z", "provider": "slack", "kind": "message",
              "title": "hello", "action": "ignore", "why": "Nobody mentioned the bot." },
        ],
        "missing": ["e3"], "out_of_scope": 2, "untrusted": 1, "more": true,
    });
    insta::assert_snapshot!(plan(&answer, ReplayTarget::Work));
    assert_eq!(question(&answer), "Start 1 run? [y/N] ");
}

fn stored(signer: Service, body: Body) -> tocsin_bus::Stored {
    let event = EventId::derive("e");
    let at = Timestamp::UNIX_EPOCH;
    tocsin_bus::Stored {
        envelope: Envelope::new(event.into(), signer, at, event, None, body),
        signer,
        sequence: 1,
        stored_at: at,
    }
}

#[test]
fn a_replay_is_told_from_decision_to_comparison() {
    let cause = |request: &str| ReplayCause {
        request_id: request.to_owned(),
        ..ReplayCause::default()
    };
    let decision = |request: &str| {
        let mut decision = Decision {
            event_id: "e1".to_owned(),
            run_id: format!("r-{request}"),
            agent: "triage".to_owned(),
            replay: Some(cause(request)),
            ..Decision::default()
        };
        decision.set_action(DecisionAction::Run);
        decision
    };
    let mut finished = RunResult {
        run_id: "r-ours".to_owned(),
        event_id: "e1".to_owned(),
        sandbox: true,
        findings: Some(Findings {
            root_cause: "bad deploy".to_owned(),
            ..Findings::default()
        }),
        comparison: Some(Comparison {
            likeness_percent: 12,
            difference: "- root cause: pool exhausted\n+ root cause: bad deploy".to_owned(),
            original_outcome: RunOutcome::Completed.into(),
            ..Comparison::default()
        }),
        ..RunResult::default()
    };
    finished.set_outcome(RunOutcome::Completed);
    let foreign = RunResult {
        run_id: "r-theirs".to_owned(),
        ..finished.clone()
    };
    let done = ReplayResult {
        cause: Some(cause("ours")),
        decided: 1,
        runs: 1,
        ..ReplayResult::default()
    };
    let mut progress = Progress {
        request_id: "ours".to_owned(),
        ..Progress::default()
    };
    let mut page = String::new();
    for (signer, body) in [
        (Service::Router, Body::Decision(decision("theirs"))),
        (Service::Ingress, Body::Decision(decision("ours"))),
        (Service::Router, Body::Decision(decision("ours"))),
        (Service::Router, Body::ReplayResult(done)),
        (Service::AgentWorker, Body::RunResult(foreign)),
        (Service::AgentWorker, Body::RunResult(finished)),
    ] {
        if let Some(told) = progress.observe(stored(signer, body)) {
            page.push_str(&news(Timestamp::UNIX_EPOCH, &told, &progress));
        }
    }
    page.push_str(&summary(&progress));
    insta::assert_snapshot!(page);
}
