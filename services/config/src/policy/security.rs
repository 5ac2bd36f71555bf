//! The security policy of one org. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::{is_equal, listed};
use super::path::{InvalidPattern, Path, Pattern};
use super::violation::{Rule, Violation};

/// Most entries of each list of a policy.
const MAX_ENTRIES: usize = 500;

/// Longest policy: it is read with every write.
const MAX_BYTES: usize = 64 * 1024;

/// Tokens live ten years at most.
const MAX_DAYS: u32 = 3_650;

/// As the API reads and shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the API's shape: independent switches"
)]
pub(crate) struct SecurityPolicy {
    /// New team tokens end after this many days; `null`: never, unless they are told to.
    pub(crate) token_expiry_days: Option<u32>,
    /// Before a token ends, its team is warned this many days ahead.
    pub(crate) token_warn_before_days: u32,
    /// A token that was not used for this many days is revoked; `null`: never.
    pub(crate) token_revoke_inactive_days: Option<u32>,
    /// Paths that only the org itself may change; `*` stands for any one key.
    pub(crate) locked_settings: Vec<String>,
    /// Highest number by path.
    pub(crate) max_values: BTreeMap<String, f64>,
    /// By path what a value must be; `null`: anything, but it must be set.
    #[schema(value_type = Object)]
    pub(crate) required_settings: BTreeMap<String, Value>,
    /// By path the values that may stand there.
    #[schema(value_type = Object)]
    pub(crate) allowed_values: BTreeMap<String, Vec<Value>>,
    /// Changes of prompts wait for approval.
    pub(crate) require_approval_for_prompts: bool,
    /// Changes of tools and MCP servers wait for approval.
    pub(crate) require_approval_for_tools: bool,
    /// Whether a global admin may apply a change without the approval that it needs.
    pub(crate) allow_approval_bypass: bool,
    /// Whether a team may review changes of its own node that somebody else asked for.
    pub(crate) team_may_review: bool,
    /// Kept for clients that send it; every change is recorded, whatever it says.
    pub(crate) log_all_changes: bool,
}

impl Default for SecurityPolicy {
    fn default() -> Self {
        Self {
            token_expiry_days: None,
            token_warn_before_days: 7,
            token_revoke_inactive_days: None,
            locked_settings: Vec::new(),
            max_values: BTreeMap::new(),
            required_settings: BTreeMap::new(),
            allowed_values: BTreeMap::new(),
            require_approval_for_prompts: false,
            require_approval_for_tools: false,
            allow_approval_bypass: false,
            team_may_review: true,
            log_all_changes: true,
        }
    }
}

/// Why a policy cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPolicy {
    #[error("{list}: {source}")]
    Path {
        list: &'static str,
        source: InvalidPattern,
    },
    #[error("{0}")]
    Limits(String),
}

/// A policy that is ready to be applied.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    pub(crate) policy: SecurityPolicy,
    pub(crate) locked: Vec<Pattern>,
    most: Vec<(Pattern, f64)>,
    pub(crate) required: Vec<(Pattern, Value)>,
    allowed: Vec<(Pattern, Vec<Value>)>,
    /// Who wrote it, and when: locks name them.
    pub(crate) set_by: String,
    pub(crate) set_at: Timestamp,
}

impl Security {
    /// Checks and compiles a policy.
    pub(crate) fn new(
        policy: SecurityPolicy,
        set_by: String,
        set_at: Timestamp,
    ) -> Result<Self, InvalidPolicy> {
        check_sizes(&policy)?;
        let locked = policy
            .locked_settings
            .iter()
            .map(|text| pattern("locked_settings", text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            locked,
            most: by_pattern("max_values", &policy.max_values)?,
            required: by_pattern("required_settings", &policy.required_settings)?,
            allowed: by_pattern("allowed_values", &policy.allowed_values)?,
            policy,
            set_by,
            set_at,
        })
    }

    /// Of an org that never wrote one.
    pub(crate) fn none() -> Self {
        Self {
            policy: SecurityPolicy::default(),
            locked: Vec::new(),
            most: Vec::new(),
            required: Vec::new(),
            allowed: Vec::new(),
            set_by: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Whether the org lists this value for this path.
    pub(crate) fn lists(&self, path: &Path, value: &Value) -> bool {
        self.allowed.iter().any(|(pattern, values)| {
            pattern.is(path) && values.iter().any(|one| is_equal(one, value))
        })
    }

    /// What the policy says about values of a config.
    pub(crate) fn check(&self, config: &crate::merge::Config) -> Vec<(Path, Violation)> {
        let mut found = Vec::new();
        for (pattern, most) in &self.most {
            for (path, value) in pattern.find(config) {
                if value.as_f64().is_some_and(|number| number > *most) {
                    let message = format!("Value for {path} ({value}) exceeds maximum ({most})");
                    let expected = format!("at most {most}, by the org's security policy");
                    let mut violation =
                        Violation::saying(Rule::ExceedsMaximum, &path, expected, message);
                    violation.actual = Some(value.to_string());
                    found.push((path, violation));
                }
            }
        }
        for (pattern, values) in &self.allowed {
            for (path, value) in pattern.find(config) {
                if !value.is_null() && !values.iter().any(|one| is_equal(one, value)) {
                    let expected =
                        format!("one of {}, by the org's security policy", listed(values));
                    found.push((
                        path.clone(),
                        Violation::new(Rule::NotAllowed, &path, expected, value),
                    ));
                }
            }
        }
        for (pattern, wanted) in self.required.iter().filter(|(_, wanted)| !wanted.is_null()) {
            for (path, value) in pattern.find(config) {
                if !is_equal(wanted, value) {
                    let expected = format!("{wanted}, by the org's security policy");
                    found.push((
                        path.clone(),
                        Violation::new(Rule::RequiredSetting, &path, expected, value),
                    ));
                }
            }
        }
        found
    }
}

fn pattern(list: &'static str, text: &str) -> Result<Pattern, InvalidPolicy> {
    Pattern::parse(text).map_err(|source| InvalidPolicy::Path { list, source })
}

fn by_pattern<T: Clone>(
    list: &'static str,
    entries: &BTreeMap<String, T>,
) -> Result<Vec<(Pattern, T)>, InvalidPolicy> {
    let parsed = entries
        .iter()
        .map(|(text, value)| Ok((pattern(list, text)?, value.clone())));
    parsed.collect()
}

fn check_sizes(policy: &SecurityPolicy) -> Result<(), InvalidPolicy> {
    let days = [
        ("token_expiry_days", policy.token_expiry_days),
        (
            "token_warn_before_days",
            Some(policy.token_warn_before_days),
        ),
        (
            "token_revoke_inactive_days",
            policy.token_revoke_inactive_days,
        ),
    ];
    for (name, days) in days {
        let least = u32::from(name != "token_warn_before_days");
        if days.is_some_and(|days| !(least..=MAX_DAYS).contains(&days)) {
            return Err(InvalidPolicy::Limits(format!(
                "{name} must be {least} to {MAX_DAYS}"
            )));
        }
    }
    let lists = [
        ("locked_settings", policy.locked_settings.len()),
        ("max_values", policy.max_values.len()),
        ("required_settings", policy.required_settings.len()),
        ("allowed_values", policy.allowed_values.len()),
    ];
    let text = serde_json::to_string(policy).unwrap_or_default();
    if text.contains("\\u0000") {
        return Err(InvalidPolicy::Limits("no text may hold U+0000".to_owned()));
    }
    if text.len() > MAX_BYTES {
        return Err(InvalidPolicy::Limits(format!(
            "it has more than {MAX_BYTES} bytes"
        )));
    }
    for (name, entries) in lists {
        if entries > MAX_ENTRIES {
            return Err(InvalidPolicy::Limits(format!(
                "{name} holds more than {MAX_ENTRIES} entries"
            )));
        }
    }
    Ok(())
}
