//! What the model is shown: a function of the briefing and the journal.

use serde_json::json;
use tocsin_wire::proto::ToolCall;

use super::signals::spoken;
use super::state::{Limit, RunState, Turn};

/// One message of a conversation, in no vendor's dialect.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    System(String),
    User(String),
    Assistant { text: String, calls: Vec<ToolCall> },
    Tool { call_id: String, output: String },
}

/// The conversation before the next turn: system prompt, briefing, and every answered turn with the
/// results of its calls. `last` says that the model must answer now, and which limit was reached.
pub fn conversation(
    state: &RunState,
    system: &str,
    briefing: &str,
    last: Option<Option<Limit>>,
) -> Vec<Message> {
    let mut messages = vec![
        Message::System(system.to_owned()),
        Message::User(briefing.to_owned()),
    ];
    for (place, turn) in (1..).zip(&state.turns) {
        push_news(&mut messages, state, place);
        push_turn(&mut messages, turn);
    }
    let next = u32::try_from(state.turns.len()).unwrap_or(u32::MAX);
    push_news(&mut messages, state, next.saturating_add(1));
    if let Some(limit) = last {
        let limits = state.started.as_ref().map(|started| started.limits);
        let reached = limit.map_or_else(
            || "A limit of this investigation".to_owned(),
            |limit| capitalise(&limit.describe(&limits.unwrap_or_default())),
        );
        messages.push(Message::User(format!(
            "{reached} is reached. No tool can be called any more. Summarise what you know now in the \
             requested JSON form, and say what remains unknown."
        )));
    }
    messages
}

/// What the run was told before its turn at `place`.
fn push_news(messages: &mut Vec<Message>, state: &RunState, place: u32) {
    let news = state.heard.news.iter();
    let news = news.filter(|(before, _)| *before == place);
    messages.extend(
        news.filter_map(|(_, heard)| spoken(heard))
            .map(Message::User),
    );
}

fn push_turn(messages: &mut Vec<Message>, turn: &Turn) {
    let Some(answer) = &turn.answer else {
        return;
    };
    messages.push(Message::Assistant {
        text: answer.text.clone(),
        calls: answer.calls.iter().map(|call| call.call.clone()).collect(),
    });
    for call in &answer.calls {
        let output = match &call.result {
            Some(result) => result.output.clone(),
            // Every call wants an answer, also the one that a limit forbade.
            None => {
                json!({"error": "not run: a limit of this investigation was reached"}).to_string()
            }
        };
        messages.push(Message::Tool {
            call_id: call.call.call_id.clone(),
            output,
        });
    }
}

fn capitalise(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
