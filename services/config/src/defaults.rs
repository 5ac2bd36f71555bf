//! The system's defaults: the layer above every org.

use crate::merge::Config;

/// Reviewed as a data file, shipped inside the binary.
const DEFAULTS: &str = include_str!("defaults.json");

/// Parses the defaults once, at start.
///
/// # Errors
/// When the shipped file is not a JSON object; a test keeps it one.
pub(crate) fn system_defaults() -> Result<Config, serde_json::Error> {
    serde_json::from_str(DEFAULTS)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_entrance_agent_exists_and_has_its_tools() {
        let defaults = Value::Object(system_defaults().expect("parses"));
        let entrance = defaults["entrance_agent"].as_str().expect("a name");
        let agent = &defaults["agents"][entrance];
        assert_eq!(agent["enabled"], true);
        assert_eq!(
            agent["tools"],
            json!({"read_event":true,"prometheus_query":true,"prometheus_query_range":true,"http_get":true})
        );
        assert!(
            agent["prompt"]["system"]
                .as_str()
                .is_some_and(|text| text.len() > 100)
        );
        assert_eq!(defaults["runtime"]["default_timeout_seconds"], 300);
        assert_eq!(
            (&defaults["routing"], &defaults["notifications"]),
            (&json!({}), &json!({}))
        );
    }
}
