//! Which changes wait until somebody else approves them. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Rules;
use super::path::Path;

/// Keys that hold what agents are told, anywhere in a path.
const PROMPT_KEYS: [&str; 3] = ["prompt", "system_prompt", "custom_prompt"];
/// Keys that hold what agents may use.
const TOOL_KEYS: [&str; 3] = ["tools", "enabled_tools", "disabled_tools"];
const MCP_KEYS: [&str; 2] = ["mcps", "mcp_servers"];

/// What a held change is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeType {
    Prompt,
    Tools,
    Mcp,
    Config,
    Knowledge,
}

impl ChangeType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Tools => "tools",
            Self::Mcp => "mcp",
            Self::Config => "config",
            Self::Knowledge => "knowledge",
        }
    }

    /// By the keys of a path; the whole path counts, so that no nesting hides it.
    fn of(path: &Path) -> Self {
        let has = |keys: &[&str]| path.keys().iter().any(|key| keys.contains(&key.as_str()));
        if has(&PROMPT_KEYS) {
            Self::Prompt
        } else if has(&MCP_KEYS) {
            Self::Mcp
        } else if has(&TOOL_KEYS) {
            Self::Tools
        } else {
            Self::Config
        }
    }
}

/// Why a change waits: one of its paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    pub(crate) change_type: ChangeType,
    pub(crate) path: Path,
}

/// The paths of a change that need approval; none: it may be applied at once.
pub(crate) fn reasons(rules: &Rules, changed: &BTreeSet<Path>) -> Vec<Reason> {
    let policy = &rules.security.policy;
    let mut found: Vec<Reason> = changed
        .iter()
        .map(|path| (ChangeType::of(path), path))
        .filter(|(change_type, path)| {
            let by_policy = match change_type {
                ChangeType::Prompt => policy.require_approval_for_prompts,
                ChangeType::Tools | ChangeType::Mcp => policy.require_approval_for_tools,
                ChangeType::Config | ChangeType::Knowledge => false,
            };
            by_policy
                || rules
                    .fields
                    .iter()
                    .any(|field| field.definition.requires_approval && field.pattern.touches(path))
        })
        .map(|(change_type, path)| Reason {
            change_type,
            path: path.clone(),
        })
        .collect();
    found.sort();
    found
}
