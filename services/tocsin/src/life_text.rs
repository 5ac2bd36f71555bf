//! What audit answers, as people read it in a terminal.

mod page;

use std::fmt::Write as _;

use serde_json::Value;

pub(crate) use page::life;

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
pub(crate) fn clock(time: &str) -> &str {
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

#[cfg(test)]
mod tests;
