//! What an agent found, read from its last answer.

use serde::Deserialize;
use serde_json::Value;
use tocsin_wire::proto::Findings;

/// Longest list that is kept; more is not read by anybody.
const MAX_ITEMS: usize = 50;

/// As agents write it. Every field is forgiving: a model that adds detail must not lose its findings.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    summary: Option<Value>,
    #[serde(default)]
    root_cause: Option<Value>,
    #[serde(default)]
    evidence: Option<Value>,
    #[serde(default)]
    recommendations: Option<Value>,
    #[serde(default)]
    confidence: Option<Value>,
}

/// Reads the JSON object of an answer, bare or fenced; an answer without one is the summary.
pub fn parse_findings(answer: &str) -> Findings {
    let candidates = [answer.trim(), fenced(answer), outermost(answer)];
    let written = candidates.into_iter().find_map(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        let object = value.as_object()?;
        let known = ["summary", "root_cause", "evidence", "recommendations"];
        if !known.iter().any(|key| object.contains_key(*key)) {
            return None;
        }
        serde_json::from_value::<Written>(value).ok()
    });
    match written {
        Some(written) => Findings {
            summary: written.summary.as_ref().map(text).unwrap_or_default(),
            root_cause: written.root_cause.as_ref().map(text).unwrap_or_default(),
            evidence: list(written.evidence.as_ref()),
            recommendations: list(written.recommendations.as_ref()),
            confidence: written.confidence.as_ref().and_then(percent),
        },
        None => Findings {
            summary: answer.trim().to_owned(),
            ..Findings::default()
        },
    }
}

/// Between the first fence and the next.
fn fenced(answer: &str) -> &str {
    let Some((_, rest)) = answer.split_once("```") else {
        return "";
    };
    let rest = rest.strip_prefix("json").unwrap_or(rest);
    rest.split_once("```")
        .map_or(rest, |(inside, _)| inside)
        .trim()
}

/// From the first brace to the last: an object with a sentence before or after it.
fn outermost(answer: &str) -> &str {
    let (Some(start), Some(end)) = (answer.find('{'), answer.rfind('}')) else {
        return "";
    };
    answer.get(start..=end).unwrap_or_default()
}

/// A text as it is; `{"description": …}`, as some models nest it; anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => String::new(),
        Value::Object(object) => ["description", "summary", "text"]
            .iter()
            .find_map(|key| object.get(*key).and_then(Value::as_str))
            .map_or_else(|| value.to_string(), str::to_owned),
        other => other.to_string(),
    }
}

fn list(value: Option<&Value>) -> Vec<String> {
    let items = match value {
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(one) => vec![text(one)],
        None => Vec::new(),
    };
    let mut items: Vec<String> = items.into_iter().filter(|item| !item.is_empty()).collect();
    items.truncate(MAX_ITEMS);
    items
}

/// 0 to 100 from `85`, `"85%"`, `0.85` or a word that models use.
fn percent(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64()?;
            if number <= 1.0 {
                number * 100.0
            } else {
                number
            }
        }
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "high" => 90.0,
            "medium" => 60.0,
            "low" => 30.0,
            other => other.trim_end_matches('%').trim().parse().ok()?,
        },
        _ => return None,
    };
    // Rounded through text: there is no checked conversion from a float.
    format!("{:.0}", number.clamp(0.0, 100.0)).parse().ok()
}
