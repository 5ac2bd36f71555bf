use serde_json::json;
use tocsin_wire::identifier::PRIORITY;

use super::*;
use crate::policy::Rule;

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read best as they are"
)]
fn check(config: Value) -> Vec<Violation> {
    let config = config.as_object().expect("object").clone();
    Schema::shipped().check(&config)
}

#[test]
fn the_shipped_defaults_fit() {
    let defaults = crate::defaults::system_defaults().expect("defaults");
    assert_eq!(check(Value::Object(defaults)), []);
}

#[test]
fn every_list_that_routes_is_known() {
    let schema = Schema::shipped().document().expect("JSON");
    for kind in PRIORITY {
        let path = format!("/properties/routing/properties/{}", kind.list);
        assert!(schema.pointer(&path).is_some(), "{}", kind.list);
    }
}

#[test]
fn the_canonical_example_and_what_the_other_rooms_read_fit() {
    let config = json!({
        "agents":{"planner":{"enabled":true,"name":"P","description":"d",
            "model":{"name":"gpt-4o","temperature":0.3,"max_tokens":16000,"reasoning":"xhigh","verbosity":"low"},
            "prompt":{"system":"s","prefix":"","suffix":""},"max_turns":50,
            "tools":{"think":true,"*":true},"sub_agents":{"coding":true},"mcps":{"github":true},
            "handoff_strategy":"agent_as_tool","x_owner":"ada","metadata":{"any":[1]}}},
        "tools":{"think":true,"http_get":{"allow":["status.acme.io"]},"t":{"enabled":false,"requires_integration":"github"}},
        "mcp_servers":{"github":{"enabled":true,"name":"G","command":"npx","args":["-y"],"env":{"K":"${secret_name}"},
            "timeout_seconds":120,"tools":["a"],"enabled_tools":["*"],"config_values":{"K":"v"}},"gone":null},
        "integrations":{"slack":{"bot_token":"${secret:slack}","level":"org","config_schema":{}},"own-thing":{"n":1,"list":[1]}},
        "routing":{"slack_channel_ids":["C1"],"services":null},
        "triggers":{"slack":["app_mention"],"github":["pull_request.opened"]},
        "entrance_agent":"planner","agent":{"dedicated_service_url":"http://worker:8000"},
        "notifications":{"default_slack_channel_id":"C1","github_output":{"slack_channel_id":"C1"},
            "pagerduty_output":{"slack_channel_id":"C","post_pagerduty_note":true},
            "incidentio_output":{"slack_channel_id":null,"post_timeline":true}},
        "output_config":{"default_destinations":[{"type":"slack","channel_id":"C"},{"type":"github","config":{"repo":"a/b"}}],
            "trigger_overrides":{"github":"comment_on_pr"}},
        "ai_pipeline":{"enabled":false,"schedule":"0 2 * * *"},
        "dependency_discovery":{"enabled":false,"schedule":"0 */2 * * *","sources":{"new_relic":true},"time_range_hours":24,"min_call_count":5,"min_confidence":0.5},
        "correlation":{"enabled":false,"temporal_window_seconds":300,"semantic_threshold":0.75},
        "self_learning":{"enabled":false,"ingestion":{"schedule":"0 3 * * *"},"maintenance":{"schedule":"0 4 * * 0"},
            "teaching":{"auto_approve_threshold":0.8,"max_pending_per_day":50}},
        "runtime":{"max_concurrent_agents":5},"knowledge_tree":"core","auto_investigate":{"channel_ids":["C"]},
        "storm":{"enabled":true,"window":"30m","fingerprint":["title","attributes.service_name"],"providers":["pagerduty"]},
        "silences":[{"name":"upgrade","reason":"database","match":{"severity":["low","info"],"title":"disk*"},
                "from":"2026-11-21T02:00:00+01:00","until":"2026-11-21T04:00:00Z"},
            {"name":"nightly","cron":"0 2 * * *","duration":"90m","time_zone":"Europe/Berlin"}],
        "team_name":"SRE","knowledge":{"anything":{"goes":[1]}},"custom":{"a":null},"x_note":{"a":1},"x-note":2
    });
    assert_eq!(check(config), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_fault_names_its_path_what_was_expected_and_what_was_found() {
    for (config, rule, sentence) in [
        (
            json!({"agent_s":{}}),
            Rule::UnknownField,
            "agent_s is not known: no such field; did you mean agents?",
        ),
        (
            json!({"agents":{"planner":{"promt":{}}}}),
            Rule::UnknownField,
            "agents.planner.promt is not known: no such field; did you mean agents.planner.prompt?",
        ),
        (
            json!({"routing":{"slack_channel_id":["C1"]}}),
            Rule::UnknownField,
            "routing.slack_channel_id is not known: no such field; did you mean routing.slack_channel_ids?",
        ),
        (
            json!({"agents":{"planner":{"model":{"temperature":3.5}}}}),
            Rule::OutOfRange,
            "agents.planner.model.temperature must be at most 2; found 3.5",
        ),
        (
            json!({"agents":{"planner":{"max_turns":0}}}),
            Rule::OutOfRange,
            "agents.planner.max_turns must be at least 1; found 0",
        ),
        (
            json!({"agents":{"planner":{"max_turns":101}}}),
            Rule::OutOfRange,
            "agents.planner.max_turns must be at most 100; found 101",
        ),
        (
            json!({"agents":{"planner":{"max_turns":"many"}}}),
            Rule::WrongType,
            "agents.planner.max_turns must be an integer; found \"many\"",
        ),
        (
            json!({"agents":{"planner":{"model":{"temperature":null}}}}),
            Rule::WrongType,
            "agents.planner.model.temperature must be a number; found null",
        ),
        (
            json!({"integrations":{"slack":null}}),
            Rule::WrongType,
            "integrations.slack must be an object; found null",
        ),
        (
            json!({"agent":null}),
            Rule::WrongType,
            "agent must be an object; found null",
        ),
        (
            json!({"agents":{"planner":{"model":{"verbosity":"loud"}}}}),
            Rule::NotAllowed,
            "agents.planner.model.verbosity must be one of low, medium, high; found \"loud\"",
        ),
        (
            json!({"ai_pipeline":{"schedule":"daily"}}),
            Rule::InvalidFormat,
            "ai_pipeline.schedule must be a schedule of five cron fields, such as \"0 2 * * *\"; found \"daily\"",
        ),
        (
            json!({"storm":{"windw":"5m"}}),
            Rule::UnknownField,
            "storm.windw is not known: no such field; did you mean storm.window?",
        ),
        (
            json!({"silences":[{"name":"n","cron":"0 2 * * *","duration":"1h","time_zone":"Europe/Atlantis"}]}),
            Rule::InvalidFormat,
            "silences.0.time_zone must be a time zone of the IANA database, such as \"Europe/Berlin\"; found \"Europe/Atlantis\"",
        ),
        (
            json!({"silences":[{"name":"n","until":"tomorrow"}]}),
            Rule::InvalidFormat,
            "silences.0.until must be a time with its offset, such as \"2026-11-21T02:00:00+01:00\"; found \"tomorrow\"",
        ),
        (
            json!({"tools":{"http_get":"yes"}}),
            Rule::WrongType,
            "tools.http_get must be true or false or an object; found \"yes\"",
        ),
    ] {
        let found = check(config.clone());
        let first = found.first().expect("refused");
        assert_eq!(
            (first.rule, first.to_string().as_str()),
            (rule, sentence),
            "{config}"
        );
    }
}

#[test]
fn a_window_a_fingerprint_and_a_silence_have_one_form() {
    for good in [
        json!({"storm":{"window":"7d"}}),
        json!({"storm":{"fingerprint":["identifiers.pagerduty_service_id"]}}),
        json!({"silences":[]}),
        json!({"silences":[{"name":"n","until":"2026-11-21T04:00:00Z"}]}),
    ] {
        assert_eq!(check(good.clone()), [], "{good}");
    }
    for bad in [
        json!({"storm":{"window":"30"}}),
        json!({"storm":{"window":"0m"}}),
        json!({"storm":{"window":"8d"}}),
        json!({"storm":{"window":"169h"}}),
        json!({"storm":{"fingerprint":["colour"]}}),
        json!({"storm":{"fingerprint":["attributes."]}}),
        json!({"silences":[{"until":"2026-11-21T04:00:00Z"}]}),
        json!({"silences":[{"name":"n"}]}),
        json!({"silences":[{"name":"n","cron":"0 2 * * *"}]}),
        json!({"silences":[{"name":"n","cron":"0 2 * * *","duration":"1h","until":"2026-11-21T04:00:00Z"}]}),
        json!({"silences":[{"name":"n","until":"2026-11-21T04:00:00Z","match":{"colour":"red"}}]}),
    ] {
        assert_ne!(check(bad.clone()), [], "{bad}");
    }
}

#[test]
fn a_value_that_may_be_secret_is_never_repeated() {
    let found = check(
        json!({"integrations":{"slack":{"bot_token":null}},"mcp_servers":{"m":{"env":{"API_KEY":["hunter2"]}}}}),
    );
    assert_eq!(found.len(), 2);
    for violation in found {
        assert!(!violation.to_string().contains("hunter2"), "{violation}");
    }
}
