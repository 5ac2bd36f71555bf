//! `tocsin rules …`: asks the router how a team's rules see an event.

mod text;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;
use tocsin_bus::BusSettings;
use tocsin_wire::Service;

use crate::config::read_file;
use crate::error::CommandError;
use crate::run::{operator_bus, print};

/// `tocsin rules …`
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Evaluate a team's rules over an event and show each step. Nothing is started or written.
    Test {
        /// Event id, run id, or the provider's delivery id.
        #[arg(long)]
        event: String,
        /// Rules to try instead of the team's: a YAML list as it stands under `rules` in a config, or an
        /// object that has `rules`; `-` for stdin.
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        /// Whose rules [default: the team's that the event is routed to].
        #[arg(long, value_name = "ORG/TEAM")]
        team: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
}

pub(crate) async fn run(command: Rules) -> Result<(), CommandError> {
    let Rules::Test {
        event,
        rules,
        team,
        json,
        bus,
    } = command;
    let rules = rules.as_deref().map(proposed).transpose()?;
    let question = question(&event, team.as_deref(), rules);
    let bus = operator_bus(&bus).await?;
    let answer = bus.ask(Service::Router, "explain", &question).await?;
    if json {
        print(&format!("{answer:#}\n"))
    } else {
        print(&text::page(&answer))
    }
}

fn question(event: &str, team: Option<&str>, rules: Option<Value>) -> Value {
    let fields = [
        Some(("event_id", event.into())),
        team.map(|team| ("team", team.into())),
        rules.map(|rules| ("rules", rules)),
    ];
    let fields = fields.into_iter().flatten();
    fields
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .collect()
}

fn proposed(path: &Path) -> Result<Value, CommandError> {
    let yaml = read_file(path)?;
    rules_of(&yaml)
        .map_err(|why| CommandError::Input(format!("{} has no rules: {why}", path.display())))
}

/// The list itself, or what stands under `rules`.
fn rules_of(yaml: &str) -> Result<Value, String> {
    let value: Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    let list = match value {
        Value::Object(mut config) => config.remove("rules").unwrap_or_default(),
        other => other,
    };
    if list.is_array() {
        return Ok(list);
    }
    Err("write a list of {name, when, then}, or an object with such a list under rules".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_a_list_or_a_config() {
        let list = "- name: quiet\n  when: severity == 'low'\n  then: ignore\n";
        let expected = json!([{"name": "quiet", "when": "severity == 'low'", "then": "ignore"}]);
        assert_eq!(rules_of(list), Ok(expected.clone()));
        let config = "rules:\n  - {name: quiet, when: \"severity == 'low'\", then: ignore}\n";
        assert_eq!(rules_of(config), Ok(expected));
        for bad in ["", "5", "agents: {}", "- [", "rules: x"] {
            assert!(rules_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_was_given_is_asked() {
        assert_eq!(question("e1", None, None), json!({"event_id": "e1"}));
        let all = json!({"event_id": "e1", "team": "acme/pay", "rules": []});
        assert_eq!(question("e1", Some("acme/pay"), Some(json!([]))), all);
    }
}
