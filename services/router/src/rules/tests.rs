use serde_json::json;

use super::*;

fn rules(config: &Value) -> TeamRules {
    TeamRules::parse(config.to_string().as_bytes()).expect("JSON")
}

fn slack(channel: &str) -> Destination {
    let channel = channel.to_owned();
    let slack = SlackDestination {
        channel,
        ..SlackDestination::default()
    };
    Destination {
        kind: Some(Kind::Slack(slack)),
    }
}

#[test]
fn what_is_named_is_read() {
    let rules = rules(&json!({
        "entrance_agent": " triage ",
        "notifications": {
            "default_slack_channel_id": "CDEFAULT",
            "pagerduty_output": {"slack_channel_id": "CPAGER", "post_pagerduty_note": true},
            "github_output": {"slack_channel_id": null},
        },
        "output_config": {
            "default_destinations": [
                {"type": "slack", "channel_id": "C1"},
                {"type": "slack", "config": {"channel_id": "C2"}},
                {"type": "github_issue_comment", "repo": "acme/ops", "issue_number": 7},
                {"type": "carrier_pigeon"},
            ],
            "trigger_overrides": {"slack": "use_default", "github": "comment_on_pr", "x": 1},
        },
        "auto_investigate": {"channel_ids": ["CALERTS", 5, ""]},
        "triggers": {"pagerduty": ["incident_triggered", "incident_reopened"], "github": ["pull_request.opened"]},
        "integrations": {"slack": {"bot_user_id": "U0", "config": {"app_id": "A0"}}},
    }));
    assert_eq!(rules.agent(), "triage");
    assert_eq!(rules.output_channel("pagerduty"), Some("CPAGER"));
    assert_eq!(rules.output_channel("github"), Some("CDEFAULT"));
    assert!(rules.pagerduty_note);
    assert_eq!(rules.default_destinations.len(), 3);
    assert_eq!(rules.default_destinations[1], slack("C2"));
    assert_eq!(rules.overridden("slack"), Some(Override::Default));
    assert_eq!(rules.overridden("github"), Some(Override::InPlace));
    assert_eq!(rules.overridden("x"), None);
    assert!(rules.investigates_channel("CALERTS") && !rules.investigates_channel(""));
    assert_eq!(rules.triggers("pagerduty").len(), 2);
    assert_eq!(
        rules.triggers("github")[0].action.as_deref(),
        Some("opened")
    );
    assert_eq!(rules.triggers("slack")[0].kind, "app_mention");
    assert_eq!(rules.bot.slack_user.as_deref(), Some("U0"));
    assert_eq!(rules.bot.slack_app.as_deref(), Some("A0"));
}

#[test]
fn channels_that_are_switched_off_are_not_investigated() {
    for (enabled, expected) in [
        (json!(false), false),
        (json!(true), true),
        (json!(null), true),
    ] {
        let config = json!({"auto_investigate": {"enabled": enabled, "channel_ids": ["C1"]}});
        assert_eq!(
            rules(&config).investigates_channel("C1"),
            expected,
            "{enabled}"
        );
    }
}

#[test]
fn odd_values_count_as_absent() {
    for odd in [
        json!(null),
        json!([]),
        json!({"entrance_agent": 5, "notifications": [], "triggers": {"slack": "all"}, "output_config": "no"}),
        json!({"entrance_agent": "", "auto_investigate": {"channel_ids": "C1"}, "integrations": {"slack": 1}}),
    ] {
        let rules = rules(&odd);
        assert_eq!(rules, TeamRules::default(), "{odd}");
        assert_eq!(rules.agent(), "planner");
        assert_eq!(rules.triggers("slack").len(), 2);
        assert!(rules.triggers("carrier_pigeon").is_empty());
    }
    assert!(TeamRules::parse(b"{").is_err());
}
