//! Quotes of tool results in a script's texts: `{{tool:NAME#N/POINTER|FILTER}}`.
//!
//! `N` counts the tool's results from 1. The pointer is a JSON pointer in which a step may also be
//! `[label=value]`, the element of a Prometheus vector with that label, or `[max]` or `[min]`, the
//! element with the largest or smallest value. Filters: `percent` (0.375 → `37.5 %`), `round`,
//! `fixed:2`, `or:text` (when missing). What is missing otherwise reads `unknown`.

use serde_json::Value;

/// Fills every text inside a value.
pub(super) fn fill(value: &Value, results: &[(String, Value)]) -> Value {
    match value {
        Value::String(text) => Value::String(fill_text(text, results)),
        Value::Array(list) => list.iter().map(|inner| fill(inner, results)).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, inner)| (key.clone(), fill(inner, results)))
            .collect(),
        other => other.clone(),
    }
}

pub(super) fn fill_text(text: &str, results: &[(String, Value)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, (quote, after))) = rest
        .split_once("{{")
        .and_then(|(before, after)| Some((before, after.split_once("}}")?)))
    {
        filled.push_str(before);
        filled.push_str(&resolve(quote.trim(), results));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn resolve(quote: &str, results: &[(String, Value)]) -> String {
    let mut parts = quote.split('|');
    let found = look_up(parts.next().unwrap_or_default(), results);
    let mut text = found.as_ref().map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    for filter in parts {
        text = apply(filter.trim(), text);
    }
    text.unwrap_or_else(|| "unknown".to_owned())
}

fn apply(filter: &str, text: Option<String>) -> Option<String> {
    let (name, argument) = filter.split_once(':').unwrap_or((filter, ""));
    if name == "or" {
        return text.or_else(|| Some(argument.to_owned()));
    }
    let text = text?;
    let Ok(number) = text.parse::<f64>() else {
        return Some(text);
    };
    match name {
        "percent" => Some(format!("{} %", (number * 1000.0).round() / 10.0)),
        "round" => Some(format!("{}", number.round())),
        "fixed" => Some(format!("{number:.*}", argument.parse().unwrap_or(0))),
        _ => Some(text),
    }
}

fn look_up(reference: &str, results: &[(String, Value)]) -> Option<Value> {
    let reference = reference.trim().strip_prefix("tool:")?;
    let (tool, path) = reference.split_once('/').unwrap_or((reference, ""));
    let (name, number) = tool.split_once('#').unwrap_or((tool, "1"));
    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
    let mut at = results
        .iter()
        .filter(|(known, _)| known == name)
        .nth(index)
        .map(|(_, value)| value)?;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        at = step(at, segment)?;
    }
    Some(at.clone())
}

fn step<'v>(at: &'v Value, segment: &str) -> Option<&'v Value> {
    if let Some(choice) = segment
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let elements = at.as_array()?;
        return match choice.split_once('=') {
            Some((label, wanted)) => elements.iter().find(|element| {
                element
                    .get("metric")
                    .and_then(|metric| metric.get(label)?.as_str())
                    == Some(wanted)
            }),
            None if choice == "max" => elements
                .iter()
                .max_by(|left, right| value(left).total_cmp(&value(right))),
            None if choice == "min" => elements
                .iter()
                .min_by(|left, right| value(left).total_cmp(&value(right))),
            None => None,
        };
    }
    let segment = segment.replace("~1", "/").replace("~0", "~");
    match at {
        Value::Array(list) => list.get(segment.parse::<usize>().ok()?),
        other => other.get(&segment),
    }
}

/// The number of a Prometheus sample.
fn value(element: &Value) -> f64 {
    let text = element.pointer("/value/1").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fill_text;

    #[test]
    fn quotes_resolve_by_pointer_label_and_extreme() {
        let vector = json!({"data": {"result": [
            {"metric": {"version": "a/b"}, "value": [1, "0.004"]},
            {"metric": {"version": "v2"}, "value": [1, "0.3702"]}]}});
        let results = vec![
            (
                "read_event".to_owned(),
                json!({"title": "Disk", "count": 3}),
            ),
            ("query".to_owned(), vector),
        ];
        let cases = [
            (
                "{{tool:read_event#1/title}} x{{tool:read_event/count}}",
                "Disk x3",
            ),
            ("{{tool:query#1/data/result/[max]/metric/version}}", "v2"),
            (
                "{{tool:query#1/data/result/[version=v2]/value/1|percent}}",
                "37 %",
            ),
            ("{{tool:query#1/data/result/0/value/1|fixed:2}}", "0.00"),
            (
                "{{tool:query#2/data}} and {{tool:query#1/none|or:none}}",
                "unknown and none",
            ),
            ("an open {{ stays", "an open {{ stays"),
        ];
        for (text, expected) in cases {
            assert_eq!(fill_text(text, &results), expected);
        }
    }
}
