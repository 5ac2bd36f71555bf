use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use tocsin_wire::catalogue::Catalogue;

use super::*;
use crate::defaults::system_defaults;
use crate::merge;

fn object(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

#[test]
fn the_ten_shipped_templates_are_whole() {
    let catalogue = Catalogue::shipped().expect("parses");
    let defaults = system_defaults().expect("parses");
    let templates = shipped().expect("parse");
    let slugs: BTreeSet<&str> = templates.iter().map(|one| one.slug.as_str()).collect();
    assert_eq!((slugs.len(), slugs.contains(OF_NEW_ORGS)), (10, true));
    for one in &templates {
        let slug = &one.slug;
        assert_eq!(
            (check(&one.template), check_slug(slug)),
            (Ok(()), Ok(())),
            "{slug}"
        );
        assert!(one.description.len() > 30 && one.version == 1, "{slug}");
        let agents = one.template["agents"].as_object().expect("agents");
        assert!(one.template["entrance_agent"].is_string(), "{slug}");
        for (name, agent) in agents {
            let prompt = agent["prompt"]["system"].as_str().expect("one text");
            assert!(prompt.len() > 500 && prompt.contains('\n'), "{slug} {name}");
            let model = agent["model"]["name"].as_str().expect("a model");
            assert!(catalogue.allows_model(model), "{slug} {name} {model}");
            for tool in agent["tools"].as_object().expect("tools").keys() {
                assert!(catalogue.tools.contains_key(tool), "{slug} {name} {tool}");
            }
            for sub in agent["sub_agents"].as_object().expect("sub agents").keys() {
                assert!(agents.contains_key(sub), "{slug} {name} {sub}");
            }
            assert!(
                agent["max_turns"]
                    .as_u64()
                    .is_some_and(|turns| (1..=100).contains(&turns)),
                "{slug} {name}"
            );
        }
        for tool in &one.required_tools {
            assert!(
                agents.values().any(|agent| agent["tools"][tool] == true),
                "{slug} requires {tool}, which no agent of it has"
            );
        }
        // The agent that gets the events is on, and nothing that is on uses what is off.
        let built_in = BTreeSet::from(["planner", "coding", "k8s"]);
        let applied = apply(&one.template, &Config::new(), &defaults, &built_in);
        let effective = merge::effective([&defaults, &applied.config]);
        let entrance = effective["entrance_agent"].as_str().expect("a name");
        assert_eq!(effective["agents"][entrance]["enabled"], true, "{slug}");
        for agent in effective["agents"].as_object().expect("agents").values() {
            let uses = agent["sub_agents"].as_object().expect("sub agents");
            for (sub, on) in uses.iter().filter(|_| agent["enabled"] == true) {
                assert!(
                    on == false || effective["agents"][sub]["enabled"] == true,
                    "{slug} {sub}"
                );
            }
        }
    }
}

#[test]
fn a_template_replaces_agents_whole_and_leaves_the_rest() {
    let above = object(json!({
        "agents": {
            "planner": {"enabled": true, "tools": {"a": true, "b": true, "c": false}, "sub_agents": {"old": true}},
            "k8s": {"enabled": true},
            "orgs_own": {"enabled": true},
        },
        "runtime": {"x": 1},
    }));
    let own = object(json!({
        "agents": {"planner": {"max_turns": 9, "tools": {"z": true}}, "mine": {"enabled": true}, "k8s": {"max_turns": 3}},
        "routing": {"services": ["api"]},
        "runtime": {"y": 2, "z": 3},
    }));
    let template = object(json!({
        "agents": {"planner": {"enabled": true, "tools": {"a": true}}, "new": {"enabled": true}},
        "entrance_agent": "new",
        "runtime": {"y": 5},
    }));
    let built_in = BTreeSet::from(["planner", "k8s", "coding"]);
    let applied = apply(&template, &own, &above, &built_in);
    assert_eq!(
        Value::Object(applied.config),
        json!({
            "agents": {
                "planner": {"enabled": true, "tools": {"a": true, "b": false}, "sub_agents": {"old": false}},
                "new": {"enabled": true},
                "mine": {"enabled": true},
                // What nobody has is not mentioned: `coding`.
                "k8s": {"max_turns": 3, "enabled": false},
            },
            "entrance_agent": "new",
            "routing": {"services": ["api"]},
            "runtime": {"y": 5},
        })
    );
    assert_eq!(applied.disabled, ["k8s"]);
}

#[test]
fn reverting_takes_back_the_template_and_nothing_else() {
    let before = json!({"a": 1, "agents": {"planner": {"t": 1}}, "gone": true});
    let after =
        json!({"a": 2, "agents": {"planner": {"t": 2}, "new": {"p": "x", "q": 1}}, "e": "new"});
    for (current, expected, kept) in [
        (after.clone(), before.clone(), vec![]),
        // Changed since: stays, and is named. Added since: stays.
        (
            json!({"a": 3, "agents": {"planner": {"t": 2}, "new": {"p": "mine", "q": 1}}, "e": "new", "f": 7}),
            json!({"a": 3, "agents": {"planner": {"t": 1}, "new": {"p": "mine"}}, "f": 7, "gone": true}),
            vec!["a", "agents.new.p"],
        ),
        // Removed since: stays removed.
        (
            json!({"a": 2, "agents": {"planner": {}}}),
            json!({"a": 1, "agents": {"planner": {}}, "gone": true}),
            vec!["agents.planner.t"],
        ),
    ] {
        let reverted = revert(
            &object(before.clone()),
            &object(after.clone()),
            &object(current.clone()),
        );
        assert_eq!(Value::Object(reverted.config), expected, "{current}");
        assert_eq!(reverted.kept, kept, "{current}");
    }
}

#[test]
fn what_cannot_be_a_template_is_refused_by_name() {
    for (template, expected) in [
        (json!({}), "template_json is empty"),
        (json!({"routing": {}}), "template_json must not set routing"),
        (
            json!({"integrations": {}}),
            "template_json must not set integrations",
        ),
        (json!({"agents": []}), "template_json.agents must be"),
        (json!({"agents": {"a": 1}}), "template_json.agents must be"),
        (
            json!({"entrance_agent": "a"}),
            "template_json.entrance_agent must name",
        ),
        (
            json!({"agents": {"a": {"enabled": false}}, "entrance_agent": "a"}),
            "template_json.entrance_agent must name",
        ),
        (json!({"x_note": "a\u{0}b"}), "template_json holds U+0000"),
        (
            json!({"x_note": "x".repeat(MAX_TEMPLATE_BYTES)}),
            "template_json has",
        ),
    ] {
        let error = check(&object(template.clone()))
            .expect_err("refused")
            .to_string();
        assert!(error.starts_with(expected), "{template}: {error}");
    }
    for (slug, good) in [
        ("a", true),
        ("a-1", true),
        ("", false),
        ("-a", false),
        ("A", false),
        ("a/b", false),
        ("a b", false),
    ] {
        assert_eq!(check_slug(slug).is_ok(), good, "{slug}");
    }
    assert!(check_slug(&"a".repeat(64)).is_err());
}

/// Small configs with objects in objects.
fn configs() -> impl Strategy<Value = Config> {
    let leaf = prop_oneof![
        Just(json!(null)),
        (0..3_i32).prop_map(|n| json!(n)),
        Just(json!({}))
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| json!(map))
    });
    prop::collection::btree_map("[abc]", value, 0..4).prop_map(|map| object(json!(map)))
}

proptest! {
    #[test]
    fn what_was_applied_and_not_touched_is_taken_back_whole(before in configs(), after in configs()) {
        let reverted = revert(&before, &after, &after);
        prop_assert_eq!(reverted.config, before);
        prop_assert!(reverted.kept.is_empty());
    }

    #[test]
    fn what_the_template_did_not_change_is_left_alone(config in configs(), current in configs()) {
        let reverted = revert(&config, &config, &current);
        prop_assert_eq!(reverted.config, current);
    }
}
