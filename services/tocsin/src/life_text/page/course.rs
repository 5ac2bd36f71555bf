//! What stands after the answers: repeats, replays, dead letters, and every step.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Page, TEXT_COLUMNS, joined, number, object, owner};
use crate::life_text::{clock, items, one_line, text};

/// Columns for the text of a hop before it is cut.
const DETAIL_COLUMNS: usize = 110;

impl Page {
    /// Other events that told of the same, and what was handled once more.
    pub(super) fn related(&mut self, life: &Value) {
        let duplicates: Vec<&Value> = items(life, "duplicates").collect();
        if !duplicates.is_empty() {
            self.heading(&format!(
                "told again, without another run: {}",
                duplicates.len()
            ));
            for one in duplicates {
                let detail = format!("{}  {}", clock(text(one, "/at")), text(one, "/event_id"));
                self.line(text(one, "/code"), &detail);
            }
        }
        for replay in items(life, "replays") {
            let (by, target) = (text(replay, "/requested_by"), text(replay, "/target"));
            let at = text(replay, "/at");
            self.heading(&format!("replayed to {target} by {by} at {at}"));
            self.line("reason", text(replay, "/reason"));
            self.line("request", text(replay, "/request_id"));
            let owner = owner(replay, "nobody");
            let agent = text(replay, "/agent");
            self.line(
                text(replay, "/action"),
                &joined(&[&owner, agent, text(replay, "/run_id")], "  "),
            );
            self.line("outcome", text(replay, "/outcome"));
            self.line("root cause", text(replay, "/root_cause"));
            self.comparison(replay);
        }
    }

    fn comparison(&mut self, replay: &Value) {
        let Some(compared) = object(replay, "comparison") else {
            return;
        };
        let is_same = compared.get("same_root_cause").and_then(Value::as_bool) == Some(true);
        let verdict = match text(compared, "/original_outcome") {
            "" => "the first run has not finished, or its journal is gone".to_owned(),
            _ => {
                let likeness = number(compared, "/likeness_percent").unwrap_or_default();
                let same = if is_same {
                    "the same root cause"
                } else {
                    "ANOTHER root cause"
                };
                format!("{same} ({likeness} % of their words are common)")
            }
        };
        self.line("compared", &verdict);
        // What both say stands above, with the run.
        let lines = items(compared, "difference").filter_map(Value::as_str);
        for line in lines.filter(|line| !line.starts_with('=')) {
            self.line("", &one_line(line, TEXT_COLUMNS));
        }
    }

    pub(super) fn dead_letters(&mut self, life: &Value) {
        for dead in items(life, "dead_letters") {
            self.heading(&format!("dead letter: {}", text(dead, "/code")));
            let place = format!("{} of {}", text(dead, "/subject"), text(dead, "/consumer"));
            self.line("where", &place);
            self.line("why", text(dead, "/reason"));
        }
    }

    pub(super) fn hops(&mut self, life: &Value) {
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
