use jiff::Timestamp;
use tocsin_wire::proto::journal_entry::{
    Entry, ModelRequested, ModelResponded, Resumed, Started, ToolFinished, ToolStarted,
};
use tocsin_wire::proto::{Event, JournalEntry, Limits, ToolCall, Usage};
use tocsin_wire::time;

use super::*;
use crate::decide::{Assignment, conclude};

fn request() -> RunRequest {
    RunRequest {
        run_id: "5f0c2a51-6f0d-4d5b-9c0e-3b1a70c51e11".to_owned(),
        event_id: "0d0c2a51-6f0d-4d5b-9c0e-3b1a70c51e11".to_owned(),
        event: Some(Event {
            title: "checkout <!channel> 5xx | high".to_owned(),
            text: "Error rate & latency are up\nsince 12:00".to_owned(),
            severity: Severity::Critical.into(),
            url: "https://acme.pagerduty.com/incidents/Q1?a=1&b=2".to_owned(),
            ..Event::default()
        }),
        ..RunRequest::default()
    }
}

fn state(entries: Vec<(i64, &str, Entry)>) -> RunState {
    let entries = (1..)
        .zip(entries)
        .map(|(number, (millis, worker, entry))| JournalEntry {
            number,
            at: Timestamp::from_millisecond(1_800_000_000_000 + millis)
                .ok()
                .map(time::to_proto),
            worker: worker.to_owned(),
            entry: Some(entry),
        });
    RunState::fold(&entries.collect::<Vec<_>>())
}

fn four_calls() -> Entry {
    let call = |id: &str, tool: &str| ToolCall {
        call_id: id.to_owned(),
        tool: tool.to_owned(),
        arguments: "{}".to_owned(),
    };
    Entry::ModelResponded(ModelResponded {
        turn: 1,
        tool_calls: vec![
            call("a", "read_event"),
            call("b", "http_get"),
            call("c", "prometheus_query"),
            call("d", "prometheus_query_range"),
        ],
        usage: Some(Usage {
            input_tokens: 700,
            output_tokens: 34,
            ..Usage::default()
        }),
        ..ModelResponded::default()
    })
}

fn tool_finished(id: &str, failed: bool) -> Entry {
    Entry::ToolFinished(ToolFinished {
        call_id: id.to_owned(),
        failed,
        ..ToolFinished::default()
    })
}

fn requested(turn: u32) -> Entry {
    Entry::ModelRequested(ModelRequested {
        turn,
        ..ModelRequested::default()
    })
}

/// Three of four tools done, then taken over.
fn running_run() -> Vec<(i64, &'static str, Entry)> {
    let started = Entry::Started(Started {
        limits: Some(Limits {
            turns: 9,
            seconds: 900,
            tokens: 9_999,
            tool_calls: 9,
        }),
        ..Started::default()
    });
    let resumed = Entry::Resumed(Resumed {
        at_step: 4,
        idle_millis: 2_080,
        previous_worker: "worker-1".to_owned(),
        work_sequence: 7,
    });
    let begun = Entry::ToolStarted(ToolStarted {
        call_id: "d".to_owned(),
        ..ToolStarted::default()
    });
    vec![
        (0, "worker-1", started),
        (10, "worker-1", requested(1)),
        (20, "worker-1", four_calls()),
        (30, "worker-1", tool_finished("a", false)),
        (40, "worker-1", tool_finished("b", true)),
        (50, "worker-1", tool_finished("c", false)),
        (2_130, "worker-2", resumed),
        (2_140, "worker-2", begun),
    ]
}

#[test]
fn the_dashboard_shows_progress_and_who_took_over() {
    let rendered = dashboard(&state(running_run()), &request(), "U123");
    insta::assert_json_snapshot!(json!({"text": rendered.text, "blocks": rendered.blocks}));
}

fn answered(text: &str, reason: &str) -> RunState {
    let mut entries = running_run();
    let answer = Entry::ModelResponded(ModelResponded {
        turn: 2,
        text: text.to_owned(),
        finish_reason: reason.to_owned(),
        usage: Some(Usage {
            input_tokens: 4_000,
            output_tokens: 386,
            ..Usage::default()
        }),
        ..ModelResponded::default()
    });
    entries.extend([
        (3_000, "worker-2", tool_finished("d", false)),
        (3_000, "worker-2", requested(2)),
        (12_340, "worker-2", answer),
    ]);
    state(entries)
}

#[test]
fn the_final_message_tells_what_was_found() {
    let state = answered(
        r#"{"summary":"**Checkout** fails <!here>.","root_cause":"Pool of `payments` is full: 100 < 101.",
        "evidence":["in use: 100 of 100","see [graph](https://prom.acme.io/g?a=1)"],
        "recommendations":["Raise the pool","Find long transactions"],"confidence":92}"#,
        "stop",
    );
    let conclusion = conclude(&state, &Assignment::default());
    let rendered = final_message(&state, &request(), &conclusion);
    insta::assert_json_snapshot!(json!({"text": rendered.text, "blocks": rendered.blocks}));
}

#[test]
fn a_failure_says_what_went_wrong() {
    let state = answered("the model endpoint answered 503: overloaded", "error");
    let conclusion = conclude(&state, &Assignment::default());
    let rendered = final_message(&state, &request(), &conclusion);
    insta::assert_json_snapshot!(json!({"text": rendered.text, "blocks": rendered.blocks}));
}

#[test]
fn whatever_an_agent_writes_fits_into_one_message() {
    let long = "line with **bold** & <!channel> words\n".repeat(5_000);
    let many: Vec<&str> = vec![long.as_str(); 50];
    let findings =
        json!({"summary": long, "root_cause": long, "evidence": many, "recommendations": many});
    let state = answered(&findings.to_string(), "length");
    let conclusion = conclude(&state, &Assignment::default());
    let rendered = final_message(&state, &request(), &conclusion);
    assert!(
        rendered.blocks.len() <= MAX_BLOCKS,
        "{}",
        rendered.blocks.len()
    );
    let text = serde_json::to_string(&rendered.blocks).expect("JSON");
    assert!(!text.contains("<!"), "nobody is called");
    assert!(text.contains("feedback_positive"), "the buttons stay");
    for block in &rendered.blocks {
        let text = block
            .pointer("/text/text")
            .and_then(Value::as_str)
            .unwrap_or("x");
        assert!((1..=3_000).contains(&text.chars().count()));
    }
}
