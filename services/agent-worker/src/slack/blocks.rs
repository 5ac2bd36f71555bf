//! A run as Block Kit: pure, from its request and its state.

use serde_json::{Value, json};
use tocsin_wire::proto::{Findings, RunOutcome, RunRequest, Severity};
use tocsin_wire::time;

use super::mrkdwn::{clip, escape, from_markdown, sections, without_broadcasts};
use crate::decide::{Conclusion, RunState, times};
use crate::tools;

/// Slack refuses more blocks in one message.
const MAX_BLOCKS: usize = 50;
/// Rows of progress; one per kind of tool, so more is unheard of.
const MAX_ROWS: usize = 20;
/// Take-overs that are named.
const MAX_RESUMES: usize = 5;
const MAX_RECOMMENDATIONS: usize = 10;
const MAX_EVIDENCE: usize = 15;
/// One line of a list.
const MAX_ITEM: usize = 500;
/// The plain text that notifications show.
const MAX_FALLBACK: usize = 300;
const MAX_TITLE: usize = 150;
const MAX_TASK: usize = 100;
/// A failure's reason.
const MAX_ERROR: usize = 500;

/// A message for `chat.postMessage` or `chat.update`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// For notifications and screen readers.
    pub text: String,
    pub blocks: Vec<Value>,
}

/// The message while the run is going on.
pub fn dashboard(state: &RunState, request: &RunRequest, user: &str) -> Rendered {
    let mut blocks = vec![header("Investigation"), context(&[incident(request)])];
    let task = format!(
        "_Investigating: {}_",
        escape(&clip(&task(request), MAX_TASK))
    );
    if is_user_id(user) {
        blocks.push(section(&format!(
            "<@{user}> :hourglass_flowing_sand: *Working on your request…*"
        )));
    }
    blocks.push(context(&[task]));
    blocks.extend(since(state));
    blocks.extend(progress(state));
    let worker = if state.last_worker.is_empty() {
        String::new()
    } else {
        format!("running on {}", escape(&state.last_worker))
    };
    blocks.extend(footer(state, &worker));
    let mention = if is_user_id(user) {
        format!("<@{user}> ")
    } else {
        String::new()
    };
    finish(
        blocks,
        &format!("{mention}Investigating: {}", escape(&title(request))),
    )
}

/// The message when the run is over.
pub fn final_message(state: &RunState, request: &RunRequest, conclusion: &Conclusion) -> Rendered {
    let mut blocks = Vec::new();
    let text = match &conclusion.findings {
        Some(findings) => {
            let headline = if findings.root_cause.is_empty() {
                "Findings"
            } else {
                "Root cause"
            };
            blocks.push(header(headline));
            blocks.push(context(&[incident(request)]));
            blocks.extend(since(state));
            if conclusion.outcome == RunOutcome::Partial {
                let note = format!(":warning: *Partial:* {}", escape(&conclusion.detail));
                blocks.push(context(&[note]));
            }
            findings_blocks(&mut blocks, findings);
            let told = if findings.root_cause.is_empty() {
                &findings.summary
            } else {
                &findings.root_cause
            };
            format!("{headline}: {}", escape(told))
        }
        None => {
            blocks.push(header("Investigation"));
            blocks.push(context(&[incident(request)]));
            blocks.extend(since(state));
            blocks.push(section(&format!(
                ":x: *Something went wrong*\n```{}```",
                escape(&clip(&conclusion.detail, MAX_ERROR))
            )));
            blocks.push(section(
                "Nothing was changed. Mention me again to retry; if it keeps failing, give the run id below \
                 to whoever operates Tocsin.",
            ));
            format!("Something went wrong: {}", escape(&conclusion.detail))
        }
    };
    blocks.extend(footer(state, &numbers(state, request, conclusion)));
    blocks.push(feedback(request));
    finish(blocks, &text)
}

/// How often it fired since, and whether it is over.
fn since(state: &RunState) -> Option<Value> {
    let heard = &state.heard;
    let fired = (heard.joined > 0).then(|| format!(":repeat: fired {} since", times(heard.joined)));
    let over = heard.resolved.as_ref().map(|resolved| {
        let at = resolved.received_at.as_ref().and_then(time::from_proto);
        match at {
            Some(at) => format!(
                ":white_check_mark: *resolved* <!date^{}^{{time}}|{at}>",
                at.as_second()
            ),
            None => ":white_check_mark: *resolved*".to_owned(),
        }
    });
    let parts: Vec<String> = fired.into_iter().chain(over).collect();
    (!parts.is_empty()).then(|| context(&[parts.join(" · ")]))
}

/// A run that only tells something.
pub fn notice_message(text: &str) -> Rendered {
    let text = without_broadcasts(text);
    let blocks = sections(&text, MAX_BLOCKS)
        .into_iter()
        .map(|text| section(&text));
    Rendered {
        blocks: blocks.collect(),
        text: clip(&text, MAX_FALLBACK),
    }
}

fn findings_blocks(blocks: &mut Vec<Value>, findings: &Findings) {
    // 3 + 8 + 8 + 6 + 6 + a few stay below Slack's 50 blocks whatever the agent wrote.
    if !findings.root_cause.is_empty() {
        let cause = from_markdown(&findings.root_cause);
        blocks.extend(sections(&cause, 8).iter().map(|text| section(text)));
    }
    if !findings.summary.is_empty() {
        let summary = if findings.root_cause.is_empty() {
            from_markdown(&findings.summary)
        } else {
            format!("*Summary*\n{}", from_markdown(&findings.summary))
        };
        blocks.extend(sections(&summary, 8).iter().map(|text| section(text)));
    }
    blocks.extend(list("Evidence", &findings.evidence, MAX_EVIDENCE));
    blocks.extend(list(
        "Recommendations",
        &findings.recommendations,
        MAX_RECOMMENDATIONS,
    ));
    if let Some(confidence) = findings.confidence {
        blocks.push(context(&[format!("*Confidence:* {confidence}%")]));
    }
}

fn list(title: &str, items: &[String], most: usize) -> Vec<Value> {
    if items.is_empty() {
        return Vec::new();
    }
    let mut text = format!("*{title}*");
    for item in items.iter().take(most) {
        // An item is one line, or the list falls apart.
        let line = item.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str("\n• ");
        text.push_str(&from_markdown(&clip(&line, MAX_ITEM)));
    }
    if items.len() > most {
        text.push_str(&format!("\n_… and {} more_", items.len() - most));
    }
    sections(&text, 6)
        .iter()
        .map(|text| section(text))
        .collect()
}

/// One row per kind of tool, in the order of first use; the analysis last.
fn progress(state: &RunState) -> Vec<Value> {
    struct Row {
        label: &'static str,
        calls: usize,
        running: bool,
        failed: bool,
    }
    let mut rows: Vec<Row> = Vec::new();
    for call in state
        .calls()
        .filter(|call| call.started || call.result.is_some())
    {
        let label = tools::label(&call.call.tool);
        let index = rows.iter().position(|row| row.label == label);
        let index = index.unwrap_or_else(|| {
            rows.push(Row {
                label,
                calls: 0,
                running: false,
                failed: false,
            });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(index) {
            row.calls += 1;
            row.running = call.result.is_none();
            row.failed = call.result.as_ref().is_some_and(|result| result.failed);
        }
    }
    let thinking = state.turns.last().is_some_and(|turn| turn.answer.is_none());
    let mut blocks: Vec<Value> = rows
        .iter()
        .take(MAX_ROWS)
        .map(|row| {
            let times = if row.calls > 1 {
                format!(" ×{}", row.calls)
            } else {
                String::new()
            };
            match (row.running, row.failed) {
                (true, _) => running(&format!("{}{times}", row.label)),
                (_, true) => section(&format!(":x: {}{times}", row.label)),
                _ => section(&format!(":white_check_mark: {}{times}", row.label)),
            }
        })
        .collect();
    if thinking && !rows.is_empty() {
        blocks.push(running("Root cause analysis"));
    } else if blocks.is_empty() {
        blocks.push(running("Getting started"));
    }
    blocks
}

fn running(label: &str) -> Value {
    context(&[format!(":hourglass_flowing_sand: _{label}_")])
}

/// Who took over and when, then `last`.
fn footer(state: &RunState, last: &str) -> Vec<Value> {
    let skipped = state.resumes.len().saturating_sub(MAX_RESUMES);
    let resumes = state.resumes.iter().skip(skipped).map(|resume| {
        // Whole tenths of seconds, without a float's surprises.
        let tenths = resume.idle_millis.saturating_add(50) / 100;
        format!(
            "resumed on {} at step {}, {}.{} s",
            escape(&resume.worker),
            resume.at_step,
            tenths / 10,
            tenths % 10
        )
    });
    resumes
        .chain(std::iter::once(last.to_owned()))
        .filter(|line| !line.is_empty())
        .map(|line| context(&[line]))
        .collect()
}

fn numbers(state: &RunState, request: &RunRequest, conclusion: &Conclusion) -> String {
    let millis = match (&state.started, state.last_at) {
        (Some(started), Some(last)) => last.duration_since(started.at).as_millis(),
        _ => 0,
    };
    let usage = conclusion.usage;
    let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
    let about = if usage.estimated { "about " } else { "" };
    format!(
        "{}.{} s · {} · {about}{} · {} · run `{}`",
        millis / 1000,
        millis % 1000 / 100,
        count(u64::from(usage.turns), "turn"),
        count(tokens, "token"),
        count(u64::from(usage.tool_calls), "tool call"),
        escape(&request.run_id)
    )
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn feedback(request: &RunRequest) -> Value {
    let value = json!({"run_id": request.run_id, "correlation_id": request.event_id}).to_string();
    let button = |emoji: &str, action: &str| {
        json!({
            "type": "button", "action_id": action, "value": value,
            "text": {"type": "plain_text", "text": emoji, "emoji": true},
        })
    };
    let short: String = request.run_id.chars().take(8).collect();
    let mut good = button("👍", "feedback_positive");
    if let Some(good) = good.as_object_mut() {
        good.insert("style".to_owned(), json!("primary"));
    }
    json!({
        "type": "actions", "block_id": format!("feedback_{short}"),
        "elements": [good, button("👎", "feedback_negative")],
    })
}

fn title(request: &RunRequest) -> String {
    let title = request.event.as_ref().map(|event| event.title.as_str());
    clip(
        title
            .filter(|title| !title.is_empty())
            .unwrap_or("this alert"),
        MAX_TITLE,
    )
}

/// What is looked into: the text that somebody wrote, or the title.
fn task(request: &RunRequest) -> String {
    let text = request.event.as_ref().map(|event| event.text.trim());
    let first_line = text.and_then(|text| text.lines().next());
    first_line
        .filter(|line| !line.is_empty())
        .map_or_else(|| title(request), str::to_owned)
}

fn incident(request: &RunRequest) -> String {
    let event = request.event.as_ref();
    let title = escape(&title(request));
    let url = event
        .map(|event| event.url.as_str())
        .filter(|url| is_link(url));
    let title = match url {
        Some(url) => format!(
            "<{}|{}>",
            url.replace('&', "&amp;"),
            title.replace('|', "¦")
        ),
        None => title,
    };
    let severity = event.map_or(Severity::Unspecified, |event| event.severity());
    match severity_label(severity) {
        Some(label) => format!("*Incident:* {title} | *Severity:* {label}"),
        None => format!("*Incident:* {title}"),
    }
}

fn is_link(url: &str) -> bool {
    url.starts_with("https://")
        && url.len() <= 2_000
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>|".contains(&byte))
}

fn severity_label(severity: Severity) -> Option<&'static str> {
    match severity {
        Severity::Critical => Some("🔴 critical"),
        Severity::High => Some("🟠 high"),
        Severity::Medium => Some("🟡 medium"),
        Severity::Low => Some("🟢 low"),
        Severity::Info => Some("🟢 info"),
        Severity::Unspecified => None,
    }
}

/// Slack user ids; anything else would be markup that somebody else wrote.
fn is_user_id(user: &str) -> bool {
    user.starts_with(['U', 'W']) && user.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": true}})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn context(texts: &[String]) -> Value {
    let elements: Vec<Value> = texts
        .iter()
        .map(|text| json!({"type": "mrkdwn", "text": text}))
        .collect();
    json!({"type": "context", "elements": elements})
}

fn finish(mut blocks: Vec<Value>, text: &str) -> Rendered {
    if blocks.len() > MAX_BLOCKS {
        // The end matters most: numbers and buttons.
        let surplus = blocks.len() - MAX_BLOCKS;
        let end = blocks.len().saturating_sub(2);
        blocks.drain(end.saturating_sub(surplus)..end);
    }
    Rendered {
        text: clip(text, MAX_FALLBACK),
        blocks,
    }
}

#[cfg(test)]
mod tests;
