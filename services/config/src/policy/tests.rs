mod dependencies;
mod event_rules;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::node::Kind;
use crate::node::tests::node;

pub(crate) fn standards() -> Arc<Standards> {
    Arc::new(Standards {
        schema: Schema::shipped(),
        catalogue: Catalogue::shipped().expect("catalogue"),
        defaults: crate::defaults::system_defaults().expect("defaults"),
    })
}

fn field(definition: Value) -> Field {
    let definition = serde_json::from_value(definition).expect("definition");
    Field::new(definition, "ada".to_owned(), Timestamp::UNIX_EPOCH).expect("good")
}

fn rules(fields: Vec<Field>, policy: Value) -> Rules {
    let policy = serde_json::from_value(policy).expect("policy");
    let security = Security::new(policy, "bob".to_owned(), Timestamp::UNIX_EPOCH);
    Rules::new(standards(), fields, security.expect("good"))
}

#[test]
fn nothing_is_taken_by_a_schema_that_checks_nothing() {
    let standards = Arc::new(Standards {
        schema: Schema::broken_one(),
        catalogue: Catalogue::shipped().expect("catalogue"),
        defaults: crate::defaults::system_defaults().expect("defaults"),
    });
    let security = Security::new(
        SecurityPolicy::default(),
        "bob".to_owned(),
        Timestamp::UNIX_EPOCH,
    );
    let rules = Rules::new(standards, Vec::new(), security.expect("good"));
    let verdict = by_team(&rules, json!({}), &json!({ "agents": {} }));
    assert_eq!(broken(verdict), [(Rule::NotAllowed, String::new())]);
}

fn config(value: &Value) -> Config {
    value.as_object().expect("object").clone()
}

/// `org`, `unit` and `team` set these; the last one of `depth` is written.
#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read best as they are"
)]
fn written(rules: &Rules, above: [Value; 2], kind: Kind, before: Value, after: &Value) -> Verdict {
    let [org, unit] = above;
    let mut line = vec![
        node("acme", None, Kind::Org, org),
        node("platform", Some("acme"), Kind::Unit, unit),
        node("sre", Some("platform"), Kind::Team, json!({})),
    ];
    line.truncate(match kind {
        Kind::Org => 1,
        Kind::Unit => 2,
        Kind::Team => 3,
    });
    if let Some(last) = line.last_mut() {
        last.config = config(&before);
    }
    let judged = Judged {
        line: &Lineage(line),
        after: &config(after),
    };
    judge(rules, &judged)
}

/// As a team below an org and a unit that set nothing.
fn by_team(rules: &Rules, before: Value, after: &Value) -> Verdict {
    written(rules, [json!({}), json!({})], Kind::Team, before, after)
}

fn broken(verdict: Verdict) -> Vec<(Rule, String)> {
    match verdict {
        Verdict::Refuse(violations) => violations
            .into_iter()
            .map(|violation| (violation.rule, violation.path))
            .collect(),
        Verdict::Apply | Verdict::Hold(_) => Vec::new(),
    }
}

fn one(rule: Rule, path: &str) -> Vec<(Rule, String)> {
    vec![(rule, path.to_owned())]
}

#[test]
fn a_lock_binds_every_level_below_it_and_no_other() {
    let locked = |level: &str| {
        let definition =
            json!({"path":"knowledge_tree","field_type":"string","locked_at_level":level});
        rules(vec![field(definition)], json!({}))
    };
    for (level, kind, refused) in [
        ("org", Kind::Org, false),
        ("org", Kind::Unit, true),
        ("org", Kind::Team, true),
        ("unit", Kind::Unit, false),
        ("unit", Kind::Team, true),
        ("team", Kind::Team, false),
    ] {
        let verdict = written(
            &locked(level),
            [json!({}), json!({})],
            kind,
            json!({}),
            &json!({"knowledge_tree":"x"}),
        );
        assert_eq!(!broken(verdict).is_empty(), refused, "{level} {kind:?}");
    }
    let Verdict::Refuse(violations) =
        by_team(&locked("org"), json!({}), &json!({"knowledge_tree":"x"}))
    else {
        panic!("refused");
    };
    let first = violations.first().expect("one");
    assert_eq!(
        first.message,
        "knowledge_tree: field is locked at org level and cannot be modified at team level"
    );
    let lock = first.lock.as_ref().expect("lock");
    assert_eq!(
        (lock.source.as_str(), lock.set_by.as_str()),
        ("field_definition", "ada")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn no_way_around_a_lock() {
    let rules = rules(
        vec![],
        json!({"locked_settings":["agents.*.model.name","runtime"]}),
    );
    let above = || {
        [
            json!({"agents":{"planner":{"model":{"name":"gpt-4.1"}}},"runtime":{"max_retries":1}}),
            json!({}),
        ]
    };
    for (what, before, after, refused) in [
        (
            "the path itself",
            json!({}),
            json!({"agents":{"planner":{"model":{"name":"gpt-4o"}}}}),
            true,
        ),
        (
            "the same value, pinned",
            json!({}),
            json!({"agents":{"planner":{"model":{"name":"gpt-4.1"}}}}),
            true,
        ),
        (
            "what is above it, replaced",
            json!({}),
            json!({"agents":{"planner":5}}),
            true,
        ),
        (
            "below it",
            json!({}),
            json!({"runtime":{"max_concurrent_agents":2}}),
            true,
        ),
        ("null over it", json!({}), json!({"runtime":null}), true),
        (
            "an agent of its own with it",
            json!({}),
            json!({"agents":{"mine":{"model":{"name":"gpt-4o"}}}}),
            true,
        ),
        (
            "an empty object over a value",
            json!({}),
            json!({"runtime":{"max_retries":{}}}),
            true,
        ),
        (
            "something beside it",
            json!({}),
            json!({"agents":{"planner":{"max_turns":9}}}),
            false,
        ),
        (
            "nothing, with an old value in the way",
            json!({"runtime":{"max_retries":3}}),
            json!({"runtime":{"max_retries":3},"knowledge_tree":"x"}),
            false,
        ),
        (
            "back to what is inherited",
            json!({"runtime":{"max_retries":3}}),
            json!({}),
            false,
        ),
    ] {
        let verdict = written(&rules, above(), Kind::Team, before, &after);
        let found = broken(verdict);
        let is_locked = found.iter().any(|(rule, _)| *rule == Rule::FieldLocked);
        assert_eq!(is_locked, refused, "{what}: {found:?}");
        if !refused {
            assert_eq!(found, [], "{what}");
        }
    }
}

#[test]
fn values_are_held_to_definitions_and_to_the_policy() {
    let fields = vec![
        field(
            json!({"path":"knowledge_tree","field_type":"string","validation_regex":"[a-z]+|core"}),
        ),
        field(json!({"path":"x_size","field_type":"number","min_value":1,"max_value":5})),
        field(json!({"path":"x_tier","field_type":"string","allowed_values":["gold","silver"]})),
        field(json!({"path":"x_list","field_type":"array"})),
    ];
    let policy = json!({
        "max_values":{"agents.*.max_turns":60},
        "allowed_values":{"agents.*.model.name":["gpt-4o","in-house"]},
        "required_settings":{"correlation.enabled":true,"x_owner":null}});
    let rules = rules(fields, policy);
    for (after, expected) in [
        (json!({"knowledge_tree":"core"}), vec![]),
        (
            json!({"knowledge_tree":"core!"}),
            one(Rule::InvalidFormat, "knowledge_tree"),
        ),
        (
            json!({"knowledge_tree":"a\n"}),
            one(Rule::InvalidFormat, "knowledge_tree"),
        ),
        (json!({"x_size":5.0}), vec![]),
        (json!({"x_size":0}), one(Rule::OutOfRange, "x_size")),
        (json!({"x_size":6}), one(Rule::OutOfRange, "x_size")),
        (json!({"x_size":"6"}), one(Rule::WrongType, "x_size")),
        (json!({"x_size":null}), vec![]),
        (json!({"x_tier":"tin"}), one(Rule::NotAllowed, "x_tier")),
        (json!({"x_list":{"a":1}}), one(Rule::WrongType, "x_list")),
        (
            json!({"agents":{"planner":{"max_turns":61}}}),
            one(Rule::ExceedsMaximum, "agents.planner.max_turns"),
        ),
        (
            json!({"agents":{"planner":{"model":{"name":"in-house"}}}}),
            vec![],
        ),
        (
            json!({"agents":{"planner":{"model":{"name":"gpt-5"}}}}),
            one(Rule::NotAllowed, "agents.planner.model.name"),
        ),
        (
            json!({"correlation":{"enabled":false}}),
            one(Rule::RequiredSetting, "correlation.enabled"),
        ),
    ] {
        assert_eq!(
            broken(by_team(&rules, json!({}), &after)),
            expected,
            "{after}"
        );
    }
    let Verdict::Refuse(found) = by_team(
        &rules,
        json!({}),
        &json!({"agents":{"planner":{"max_turns":61}}}),
    ) else {
        panic!("refused");
    };
    assert_eq!(
        found.first().expect("one").message,
        "Value for agents.planner.max_turns (61) exceeds maximum (60)"
    );
}

#[test]
fn a_team_name_is_set_once() {
    let rules = rules(vec![], json!({}));
    let named = || json!({"team_name":"SRE"});
    for (before, after, refused) in [
        (json!({}), named(), false),
        (named(), named(), false),
        (
            named(),
            json!({"team_name":"SRE","knowledge_tree":"x"}),
            false,
        ),
        (named(), json!({"team_name":"Web"}), true),
        (named(), json!({}), true),
    ] {
        let found = broken(by_team(&rules, before, &after));
        let expected = if refused {
            one(Rule::ImmutableField, "team_name")
        } else {
            vec![]
        };
        assert_eq!(found, expected, "{after}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn approval_is_asked_for_by_any_path_with_such_a_key() {
    let prompts = json!({"require_approval_for_prompts":true});
    let tools = json!({"require_approval_for_tools":true});
    for (policy, after, expected) in [
        (
            &prompts,
            json!({"custom_prompt":"x"}),
            Some((ChangeType::Prompt, "custom_prompt")),
        ),
        (
            &prompts,
            json!({"system_prompt":"x"}),
            Some((ChangeType::Prompt, "system_prompt")),
        ),
        (
            &prompts,
            json!({"agents":{"planner":{"prompt":{"system":"x"}}}}),
            Some((ChangeType::Prompt, "agents.planner.prompt.system")),
        ),
        (
            &prompts,
            json!({"agents":{"new":{"prompt":{"prefix":"x"}}}}),
            Some((ChangeType::Prompt, "agents.new.prompt.prefix")),
        ),
        (
            &prompts,
            json!({"agents":{"planner":{"max_turns":9}}}),
            None,
        ),
        (&prompts, json!({"enabled_tools":["think"]}), None),
        (
            &tools,
            json!({"enabled_tools":["think"]}),
            Some((ChangeType::Tools, "enabled_tools")),
        ),
        (
            &tools,
            json!({"agents":{"planner":{"tools":{"think":true}}}}),
            Some((ChangeType::Tools, "agents.planner.tools.think")),
        ),
        (
            &tools,
            json!({"tools":{"http_get":{"allow":["evil.example"]}}}),
            Some((ChangeType::Tools, "tools.http_get.allow")),
        ),
        (
            &tools,
            json!({"mcp_servers":{"m":{"command":"sh"}}}),
            Some((ChangeType::Mcp, "mcp_servers.m.command")),
        ),
        (&tools, json!({"custom_prompt":"x"}), None),
    ] {
        let rules = rules(vec![], policy.clone());
        let reason = match by_team(&rules, json!({}), &after) {
            Verdict::Hold(reasons) => reasons
                .first()
                .map(|one| (one.change_type, one.path.to_string())),
            Verdict::Apply => None,
            Verdict::Refuse(violations) => panic!("{violations:?}"),
        };
        assert_eq!(
            reason,
            expected.map(|(kind, path)| (kind, path.to_owned())),
            "{after}"
        );
    }
    let asked = field(json!({"path":"x_budget","field_type":"number","requires_approval":true}));
    let rules = rules(vec![asked], json!({}));
    assert!(matches!(
        by_team(&rules, json!({}), &json!({"x_budget":5})),
        Verdict::Hold(_)
    ));
    assert_eq!(
        broken(by_team(&rules, json!({}), &json!({"x_budget":"5"}))),
        one(Rule::WrongType, "x_budget"),
        "what is not allowed waits for nobody"
    );
}

#[test]
fn a_team_is_ready_when_everything_required_is_set() {
    let fields = vec![
        field(
            json!({"path":"x_owner","field_type":"string","required":true,"display_name":"Owner"}),
        ),
        field(json!({"path":"x_other","field_type":"string"})),
    ];
    let rules = rules(
        fields,
        json!({"required_settings":{"x_owner":null,"correlation.enabled":true}}),
    );
    for (own, missing) in [
        (json!({}), vec!["x_owner", "correlation.enabled"]),
        (
            json!({"x_owner":""}),
            vec!["x_owner", "correlation.enabled"],
        ),
        (
            json!({"x_owner":null,"correlation":{"enabled":false}}),
            vec!["x_owner"],
        ),
        (
            json!({"x_owner":"ada","correlation":{"enabled":true}}),
            vec![],
        ),
    ] {
        let found = readiness(&rules, &config(&own));
        let paths: Vec<&str> = found.missing.iter().map(|one| one.path.as_str()).collect();
        assert_eq!((paths, found.total_required), (missing, 2), "{own}");
    }
}

#[test]
fn bad_definitions_and_policies_are_refused() {
    for definition in [
        json!({"path":"","field_type":"string"}),
        json!({"path":"a","field_type":"string","validation_regex":"("}),
        json!({"path":"a","field_type":"string","validation_regex":"a)|(b"}),
        json!({"path":"a","field_type":"number","min_value":2,"max_value":1}),
        json!({"path":"a.*","field_type":"number","required":true}),
    ] {
        let parsed: FieldDefinition = serde_json::from_value(definition.clone()).expect("shape");
        let made = Field::new(parsed, String::new(), Timestamp::UNIX_EPOCH);
        assert!(made.is_err(), "{definition}");
    }
    for policy in [
        json!({"locked_settings":["a..b"]}),
        json!({"max_values":{"":1}}),
        json!({"token_expiry_days":0}),
        json!({"token_warn_before_days":99999}),
    ] {
        let parsed: SecurityPolicy = serde_json::from_value(policy.clone()).expect("shape");
        let made = Security::new(parsed, String::new(), Timestamp::UNIX_EPOCH);
        assert!(made.is_err(), "{policy}");
    }
}

fn own() -> impl Strategy<Value = Value> {
    let number = prop::option::of(0..130);
    let text = prop::option::of("[a-z]{0,3}");
    (number, text.clone(), text, any::<bool>()).prop_map(|(turns, tree, unknown, off)| {
        let mut config = json!({"agents":{"planner":{"enabled":!off}}});
        let mut put = |pointer: &str, key: &str, value: Value| {
            if let Some(object) = config.pointer_mut(pointer).and_then(Value::as_object_mut) {
                object.insert(key.to_owned(), value);
            }
        };
        if let Some(turns) = turns {
            put("/agents/planner", "max_turns", json!(turns));
        }
        if let Some(tree) = tree {
            put("", "knowledge_tree", json!(tree));
        }
        if let Some(unknown) = unknown {
            put("", &format!("unknown{unknown}"), json!(1));
        }
        config
    })
}

proptest! {
    /// What was there before never refuses a write that leaves it alone.
    #[test]
    fn a_write_that_changes_nothing_is_applied(own in own(), org in own()) {
        let fields = vec![field(json!({"path":"knowledge_tree","field_type":"string","locked_at_level":"org","validation_regex":"a+"}))];
        let rules = rules(fields, json!({"max_values":{"agents.*.max_turns":50},"require_approval_for_tools":true}));
        let verdict = written(&rules, [org, json!({})], Kind::Team, own.clone(), &own);
        prop_assert_eq!(verdict, Verdict::Apply);
    }

    /// What a lock names is the same before and after every write that is let through below it.
    #[test]
    fn nothing_that_is_applied_changes_what_is_locked(before in own(), after in own(), org in own()) {
        let rules = rules(vec![], json!({"locked_settings":["agents.*.max_turns","knowledge_tree"]}));
        let verdict = written(&rules, [org.clone(), json!({})], Kind::Team, before.clone(), &after);
        if verdict == Verdict::Apply {
            let holds = |own: &Value| {
                let layers = [config(&org), config(own)];
                merge::effective([&rules.standards.defaults].into_iter().chain(&layers))
            };
            let (inherited, before, after) = (holds(&json!({})), holds(&before), holds(&after));
            for path in [Path::of(["agents", "planner", "max_turns"]), Path::of(["knowledge_tree"])] {
                let now = path.get(&after);
                prop_assert!(now == path.get(&before) || now == path.get(&inherited), "{}", path);
            }
        }
    }
}
