//! The core against tables and against whole runs cut at every entry.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::journal_entry::{
    Entry, Finished, ModelRequested, ModelResponded, PostStarted, SignalsHeard, Started,
    ToolFinished, ToolStarted,
};
use tocsin_wire::proto::{
    Destination, JournalEntry, Limits, RunOutcome, RunRequest, SignalEvent, SlackDestination,
    ToolCall, Usage,
};
use tocsin_wire::time;

use super::*;

const LIMITS: Limits = Limits {
    turns: 3,
    seconds: 60,
    tokens: 1_000,
    tool_calls: 2,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn slack_destination() -> Destination {
    Destination {
        kind: Some(Kind::Slack(SlackDestination {
            channel: "C1".to_owned(),
            thread: "1.2".to_owned(),
            user: String::new(),
        })),
    }
}

fn assignment() -> Assignment {
    Assignment {
        destinations: vec![slack_destination()],
        notice: None,
        listens: false,
    }
}

fn entry(number: u32, seconds: i64, entry: Entry) -> JournalEntry {
    JournalEntry {
        number,
        at: Some(time::to_proto(at(seconds))),
        worker: "worker-1".to_owned(),
        entry: Some(entry),
    }
}

fn journal(entries: Vec<Entry>) -> Vec<JournalEntry> {
    let numbered = (1..).zip(entries);
    numbered
        .map(|(number, what)| entry(number, 0, what))
        .collect()
}

fn started() -> Entry {
    Entry::Started(Started {
        work_sequence: 7,
        limits: Some(LIMITS),
        ..Started::default()
    })
}

fn requested(turn: u32, without_tools: bool) -> Entry {
    Entry::ModelRequested(ModelRequested {
        turn,
        without_tools,
        ..ModelRequested::default()
    })
}

fn heard(joined: u64, closed: bool) -> Entry {
    let newest = SignalEvent {
        title: "again".to_owned(),
        ..SignalEvent::default()
    };
    Entry::SignalsHeard(SignalsHeard {
        last_sequence: joined,
        joined,
        newest: (joined > 0).then_some(newest),
        closed,
        ..SignalsHeard::default()
    })
}

fn call(id: &str) -> ToolCall {
    ToolCall {
        call_id: id.to_owned(),
        tool: "read_event".to_owned(),
        arguments: "{}".to_owned(),
    }
}

fn responded(turn: u32, text: &str, calls: &[&str], tokens: u64) -> Entry {
    Entry::ModelResponded(ModelResponded {
        turn,
        text: text.to_owned(),
        tool_calls: calls.iter().map(|id| call(id)).collect(),
        usage: Some(Usage {
            input_tokens: tokens,
            ..Usage::default()
        }),
        finish_reason: "stop".to_owned(),
        millis: 5,
    })
}

fn tool_started(id: &str) -> Entry {
    Entry::ToolStarted(ToolStarted {
        call_id: id.to_owned(),
        tool: "read_event".to_owned(),
    })
}

fn tool_finished(id: &str) -> Entry {
    Entry::ToolFinished(ToolFinished {
        call_id: id.to_owned(),
        tool: "read_event".to_owned(),
        output: "{\"title\":\"x\"}".to_owned(),
        ..ToolFinished::default()
    })
}

fn key(phase: Phase) -> PostKey {
    PostKey::new(phase, "slack:C1/1.2")
}

fn post_started(phase: Phase) -> Entry {
    Entry::PostStarted(PostStarted {
        destination: key(phase).to_string(),
    })
}

fn posted(phase: Phase, post: &Post) -> Entry {
    Entry::Posted(post.to_journal(&key(phase)).expect("not open"))
}

fn delivered() -> Post {
    Post::Delivered {
        message_id: "9.9".to_owned(),
        channel: "C1".to_owned(),
        found_after_restart: false,
    }
}

const FINDINGS: &str = r#"{"summary":"s","root_cause":"pool","evidence":["e"],"confidence":80}"#;

/// A whole run: one tool, then the answer.
fn whole_run() -> Vec<JournalEntry> {
    journal(vec![
        started(),
        post_started(Phase::First),
        posted(Phase::First, &delivered()),
        requested(1, false),
        responded(1, "let me see", &["a"], 10),
        tool_started("a"),
        tool_finished("a"),
        requested(2, false),
        responded(2, FINDINGS, &[], 20),
        post_started(Phase::Final),
        posted(Phase::Final, &delivered()),
        Entry::Finished(Finished::default()),
    ])
}

#[test]
fn every_prefix_continues_at_its_first_unfinished_step() {
    let whole = whole_run();
    let steps: Vec<String> = (0..=whole.len())
        .map(|length| {
            let state = RunState::fold(&whole[..length]);
            match next_step(&state, &assignment(), at(1)) {
                Step::Finish(conclusion) => format!("finish {:?}", conclusion.outcome),
                Step::Post { post, unknown } => format!("post {post}, unknown {unknown}"),
                Step::CallTool(call) => format!("call {}", call.call_id),
                other => format!("{other:?}"),
            }
        })
        .collect();
    insta::assert_debug_snapshot!(steps);
}

#[test]
fn a_limit_ends_the_tools_and_asks_once_more() {
    let base = |tokens: u64, calls: &[&str]| {
        let mut entries = vec![
            started(),
            posted(Phase::First, &delivered()),
            requested(1, false),
            responded(1, "", calls, tokens),
        ];
        entries.extend(calls.iter().map(|id| tool_finished(id)));
        entries
    };
    let ask = |turn, without_tools| Step::AskModel {
        turn,
        without_tools,
    };
    let turns = |count: u32| {
        let mut entries = base(1, &["a"]);
        for turn in 2..=count {
            entries.extend([requested(turn, false), responded(turn, "", &["b"], 1)]);
            entries.push(tool_finished("b"));
        }
        entries
    };
    for (name, entries, seconds, expected) in [
        ("below all", base(1, &["a"]), 59, ask(2, false)),
        ("time", base(1, &["a"]), 60, ask(2, true)),
        ("tokens below", base(999, &["a"]), 0, ask(2, false)),
        ("tokens", base(1_000, &["a"]), 0, ask(2, true)),
        ("tool calls", base(1, &["a", "b"]), 0, ask(2, true)),
        ("turns below, tool calls reached", turns(2), 0, ask(3, true)),
    ] {
        let state = RunState::fold(&journal(entries));
        assert_eq!(
            next_step(&state, &assignment(), at(seconds)),
            expected,
            "{name}"
        );
    }
    // Calls that are left when the limit is reached are not made.
    let mut open = base(1, &["a", "b"]);
    open.extend([requested(2, false), responded(2, "", &["c"], 1)]);
    let state = RunState::fold(&journal(open));
    assert_eq!(next_step(&state, &assignment(), at(0)), ask(3, true));

    // Turns alone.
    let mut state = RunState::fold(&journal(base(1, &["a"])));
    if let Some(started) = &mut state.started {
        started.limits.turns = 1;
    }
    assert_eq!(next_step(&state, &assignment(), at(0)), ask(2, true));
}

#[test]
fn outcomes_follow_from_the_last_turn() {
    let failed = |reason: &str, text: &str| {
        Entry::ModelResponded(ModelResponded {
            turn: 1,
            text: text.to_owned(),
            finish_reason: reason.to_owned(),
            ..ModelResponded::default()
        })
    };
    for (name, entries, outcome, detail) in [
        (
            "whole",
            vec![requested(1, false), failed("stop", FINDINGS)],
            RunOutcome::Completed,
            "",
        ),
        (
            "cut",
            vec![requested(1, false), failed("length", "half")],
            RunOutcome::Partial,
            "cut off",
        ),
        (
            "down",
            vec![requested(1, false), failed(FAILED, "503")],
            RunOutcome::Failed,
            "503",
        ),
        (
            "empty",
            vec![requested(1, false), failed("stop", " ")],
            RunOutcome::Failed,
            "empty",
        ),
        (
            "limit",
            vec![
                requested(1, false),
                responded(1, "", &["a"], 5_000),
                requested(2, true),
                responded(2, FINDINGS, &[], 1),
            ],
            RunOutcome::Partial,
            "the limit of 1000 tokens was reached",
        ),
    ] {
        let mut all = vec![started(), posted(Phase::First, &delivered())];
        all.extend(entries);
        let state = RunState::fold(&journal(all));
        let conclusion = conclude(&state, &assignment());
        assert_eq!(conclusion.outcome, outcome, "{name}");
        assert!(
            conclusion.detail.contains(detail),
            "{name}: {}",
            conclusion.detail
        );
        let told = matches!(
            next_step(&state, &assignment(), at(0)),
            Step::Post { post, .. } if post.phase == Phase::Final
        );
        assert!(told, "{name}: every outcome is posted");
    }
}

#[test]
fn what_is_refused_ends_the_run_and_what_is_off_does_not() {
    let first = |why: Undelivered| {
        RunState::fold(&journal(vec![
            started(),
            posted(Phase::First, &Post::Undelivered(why)),
        ]))
    };
    let refused = first(Undelivered::Refused("invalid_auth".to_owned()));
    match next_step(&refused, &assignment(), at(0)) {
        Step::Finish(conclusion) => {
            assert_eq!(conclusion.outcome, RunOutcome::Failed);
            assert!(
                conclusion
                    .detail
                    .contains("slack:C1/1.2 (refused: invalid_auth)")
            );
        }
        other => panic!("{other:?}"),
    }
    for why in [
        Undelivered::Off("no token".to_owned()),
        Undelivered::Unavailable("down".to_owned()),
    ] {
        let step = next_step(&first(why), &assignment(), at(0));
        assert!(matches!(step, Step::AskModel { turn: 1, .. }), "{step:?}");
    }
    let notice = Assignment {
        notice: Some("hello".to_owned()),
        ..assignment()
    };
    let state = RunState::fold(&journal(vec![started()]));
    let expected = Step::Post {
        post: key(Phase::Final),
        unknown: false,
    };
    assert_eq!(next_step(&state, &notice, at(0)), expected);
}

#[test]
fn a_work_message_is_judged_by_the_journal() {
    let whole = whole_run();
    for (length, sequence, expected) in [
        (0, 7, Admission::Begin),
        (1, 7, Admission::Continue),
        (6, 8, Admission::Copy { owner: 7 }),
        (whole.len(), 8, Admission::Finished),
    ] {
        assert_eq!(admit(&RunState::fold(&whole[..length]), sequence), expected);
    }
    let state = RunState::fold(&whole[..5]);
    let Entry::Resumed(entry) = resumed(&state, 9, at(2) + SignedDuration::from_millis(100)) else {
        panic!("not a resume");
    };
    assert_eq!(
        (entry.at_step, entry.idle_millis, entry.work_sequence),
        (3, 2_100, 9)
    );
    assert_eq!(entry.previous_worker, "worker-1");
}

#[test]
fn results_are_the_same_whoever_tells_them() {
    let whole = whole_run();
    let request = RunRequest {
        run_id: "r".to_owned(),
        ..RunRequest::default()
    };
    let told = |length: usize| results(&RunState::fold(&whole[..length]), &request, at(-1));
    let all = told(whole.len());
    let keys: Vec<&str> = all.iter().map(|result| result.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "run_started",
            "run_post.slack:C1/1.2.first",
            "run_post.slack:C1/1.2.final",
            "run_finished"
        ]
    );
    for length in 1..whole.len() {
        for result in told(length) {
            assert!(all.contains(&result), "{length}: {}", result.key);
        }
    }
}

#[test]
fn findings_are_read_from_what_models_write() {
    for (text, cause, confidence) in [
        (FINDINGS.to_owned(), "pool", Some(80)),
        (
            format!("Here it is:\n```json\n{FINDINGS}\n```\nDone."),
            "pool",
            Some(80),
        ),
        (format!("So: {FINDINGS}"), "pool", Some(80)),
        (
            r#"{"summary":"s","confidence":"high"}"#.to_owned(),
            "",
            Some(90),
        ),
        (
            r#"{"summary":"s","confidence":0.85}"#.to_owned(),
            "",
            Some(85),
        ),
        (r#"{"summary":"s","confidence":1}"#.to_owned(), "", Some(1)),
        (
            r#"{"summary":"s","root_cause":{"description":"d"},"evidence":"one"}"#.to_owned(),
            "d",
            None,
        ),
        ("no idea {really}".to_owned(), "", None),
        (r#"{"other":1}"#.to_owned(), "", None),
    ] {
        let findings = parse_findings(&text);
        assert_eq!(
            (findings.root_cause.as_str(), findings.confidence),
            (cause, confidence),
            "{text}"
        );
        assert!(!findings.summary.is_empty(), "{text}");
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let phases = || prop::sample::select(vec![Phase::First, Phase::Final]);
    prop_oneof![
        Just(started()),
        (0_u32..4, any::<bool>()).prop_map(|(turn, last)| requested(turn, last)),
        (0_u32..4, prop::collection::vec("[ab]", 0..3), 0_u64..2_000).prop_map(
            |(turn, ids, tokens)| {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                responded(turn, FINDINGS, &ids, tokens)
            }
        ),
        "[ab]".prop_map(|id| tool_started(&id)),
        "[ab]".prop_map(|id| tool_finished(&id)),
        (0_u64..3, any::<bool>()).prop_map(|(joined, closed)| heard(joined, closed)),
        phases().prop_map(post_started),
        phases().prop_map(|phase| posted(phase, &delivered())),
        Just(Entry::Finished(Finished::default())),
    ]
}

#[test]
fn news_stand_before_the_turn_that_hears_of_them() {
    let entries = journal(vec![
        started(),
        heard(1, false),
        requested(1, false),
        responded(1, "", &["a"], 1),
        tool_finished("a"),
        heard(2, false),
        requested(2, false),
        responded(2, FINDINGS, &[], 1),
        heard(3, true),
    ]);
    let state = RunState::fold(&entries);
    let messages = conversation(&state, "system", "briefing", None);
    let kinds: Vec<&str> = messages
        .iter()
        .map(|message| match message {
            Message::System(_) => "system",
            Message::User(text) if text.contains("once more") => "once more",
            Message::User(text) if text.contains("2 more times") => "twice more",
            Message::User(_) => "user",
            Message::Assistant { .. } => "assistant",
            Message::Tool { .. } => "tool",
        })
        .collect();
    let expected = [
        "system",
        "user",
        "once more",
        "assistant",
        "tool",
        "twice more",
        "assistant",
        "user",
    ];
    assert_eq!(kinds, expected);
}

proptest! {
    /// Also a journal that no worker would write is folded the same way at once and piece by piece,
    /// and leads to a step.
    #[test]
    fn folding_is_the_same_in_pieces(entries in prop::collection::vec(any_entry(), 0..20), cut in 0_usize..20) {
        let entries = journal(entries);
        let whole = RunState::fold(&entries);
        let cut = cut.min(entries.len());
        let mut pieces = RunState::fold(&entries[..cut]);
        entries[cut..].iter().for_each(|entry| pieces.apply(entry));
        prop_assert_eq!(&whole, &pieces);
        let step = next_step(&whole, &assignment(), at(1));
        prop_assert_eq!(whole.finished.is_some(), step == Step::Nothing);
    }

    /// Taking each step in turn always ends, whatever the model answers.
    #[test]
    fn a_run_always_ends(
        answers in prop::collection::vec((0_usize..3, 0_u64..600), 0..8), listens in any::<bool>()
    ) {
        let assignment = Assignment { listens, ..assignment() };
        let mut state = RunState::default();
        let mut answers = answers.into_iter();
        let push = |state: &mut RunState, what: Entry| {
            let number = state.entries + 1;
            state.apply(&entry(number, 0, what));
        };
        for _ in 0..60 {
            let step = next_step(&state, &assignment, at(1));
            if let Some(intent) = intent(&state, &step, 2, "m") {
                push(&mut state, intent);
            }
            match step {
                Step::Start => push(&mut state, started()),
                Step::Post { post, .. } => push(&mut state, posted(post.phase, &delivered())),
                Step::AskModel { turn, without_tools } => {
                    let (calls, tokens) = answers.next().unwrap_or((0, 0));
                    let calls = if without_tools { 0 } else { calls };
                    push(&mut state, responded(turn, FINDINGS, &["a", "b"][..calls], tokens));
                }
                Step::CallTool(call) => push(&mut state, tool_finished(&call.call_id)),
                Step::Close => push(&mut state, heard(0, true)),
                Step::Finish(conclusion) => push(&mut state, conclusion.to_journal()),
                Step::Nothing => break,
            }
        }
        prop_assert!(state.finished.is_some());
        prop_assert_eq!(state.heard.closed, listens);
        let usage = state.usage();
        prop_assert!(usage.turns <= LIMITS.turns + 1 && usage.tool_calls <= LIMITS.tool_calls);
    }
}
