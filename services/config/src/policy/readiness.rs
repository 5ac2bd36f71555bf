//! What a team still has to set before it can work. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Rules;
use super::field::FieldType;
use crate::merge::Config;

/// A required value that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Missing {
    pub(crate) path: String,
    pub(crate) display_name: String,
    pub(crate) description: String,
    /// `null` where only the org's policy names the path.
    pub(crate) field_type: Option<FieldType>,
}

/// What is required at a node, and what of it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) missing: Vec<Missing>,
    pub(crate) total_required: usize,
}

/// Missing, `null` and an empty text are not set.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// By field definitions and by the org's policy; a path that both name counts once.
pub(crate) fn readiness(rules: &Rules, effective: &Config) -> Readiness {
    let mut required: Vec<(_, Missing)> = Vec::new();
    for field in rules
        .fields
        .iter()
        .filter(|field| field.definition.required)
    {
        if let Some(path) = field.pattern.literal() {
            let definition = &field.definition;
            let missing = Missing {
                path: path.to_string(),
                display_name: definition.display_name.clone(),
                description: definition.description.clone(),
                field_type: Some(definition.field_type),
            };
            required.push((path, missing));
        }
    }
    for (pattern, wanted) in &rules.security.required {
        let literal = pattern.literal();
        if let Some(path) = literal.filter(|path| required.iter().all(|(known, _)| known != path)) {
            let description = match wanted {
                Value::Null => "Required by the org's security policy.".to_owned(),
                wanted => format!("The org's security policy wants {wanted}."),
            };
            let missing = Missing {
                path: path.to_string(),
                display_name: String::new(),
                description,
                field_type: None,
            };
            required.push((path, missing));
        }
    }
    let total_required = required.len();
    let missing = required
        .into_iter()
        .filter(|(path, _)| !is_set(path.get(effective)))
        .map(|(_, missing)| missing);
    Readiness {
        missing: missing.collect(),
        total_required,
    }
}
