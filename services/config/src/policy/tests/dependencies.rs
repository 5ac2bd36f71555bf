//! What depends on what: tools, agents, servers and who uses them.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn nothing_that_is_used_is_switched_off_and_the_users_are_named() {
    let rules = rules(vec![], json!({}));
    let base = json!({
        "agents":{
            "planner":{"sub_agents":{"coding":true},"mcps":{"github":true},"tools":{"think":true}},
            "coding":{"enabled":true,"tools":{"*":true}},
            "off":{"enabled":false,"sub_agents":{"planner":true},"tools":{"web_search":true}}},
        "tools":{"think":{"requires_integration":"slack"}},
        "integrations":{"slack":{"a":1}},
        "mcp_servers":{"github":{"tools":["get_issue",{"name":"list_issues"}]}}});
    let dependency = |path: &str| one(Rule::DependencyValidationFailed, path);
    for (number, patch, expected, dependents) in [
        (
            1,
            json!({"integrations":{"slack":{"enabled":false}}}),
            dependency("integrations.slack.enabled"),
            vec!["tools.think"],
        ),
        (
            2,
            json!({"tools":{"think":{"enabled":false}}}),
            dependency("tools.think.enabled"),
            vec!["agents.planner.tools.think", r"agents.coding.tools.*"],
        ),
        (
            3,
            json!({"agents":{"coding":{"enabled":false}}}),
            dependency("agents.coding.enabled"),
            vec!["agents.planner.sub_agents.coding"],
        ),
        (
            4,
            json!({"mcp_servers":{"github":{"enabled":false}}}),
            dependency("mcp_servers.github.enabled"),
            vec!["agents.planner.mcps.github"],
        ),
        (
            5,
            json!({"mcp_servers":{"github":{"enabled_tools":["get_isue"]}}}),
            one(Rule::UnknownTool, "mcp_servers.github.enabled_tools"),
            vec![],
        ),
        (
            5,
            json!({"mcp_servers":{"github":{"enabled_tools":["*"]}}}),
            vec![],
            vec![],
        ),
        (
            5,
            json!({"mcp_servers":{"github":{"enabled_tools":["list_issues"]}}}),
            vec![],
            vec![],
        ),
        (
            6,
            json!({"agents":{"planner":{"mcps":{"gitlab":true}}}}),
            one(Rule::UnknownMcpServer, "agents.planner.mcps.gitlab"),
            vec![],
        ),
        (
            6,
            json!({"mcp_servers":{"github":null}}),
            one(Rule::UnknownMcpServer, "agents.planner.mcps.github"),
            vec![],
        ),
        (
            7,
            json!({"entrance_agent":"planer"}),
            one(Rule::UnknownAgent, "entrance_agent"),
            vec![],
        ),
        (
            7,
            json!({"entrance_agent":"off"}),
            dependency("agents.off.enabled"),
            vec!["entrance_agent"],
        ),
        (
            0,
            json!({"agents":{"planner":{"sub_agents":{"nobody":true}}}}),
            one(Rule::UnknownAgent, "agents.planner.sub_agents.nobody"),
            vec![],
        ),
        (0, json!({"tools":{"think":false}}), vec![], vec![]),
        (
            0,
            json!({"agents":{"planner":{"tools":{"github__search":true,"mcp__github__x":true,"get_issue":true}}}}),
            vec![],
            vec![],
        ),
        (
            0,
            json!({"agents":{"planner":{"tools":{"thimk":true}}}}),
            one(Rule::UnknownTool, "agents.planner.tools.thimk"),
            vec![],
        ),
        (
            0,
            json!({"agents":{"planner":{"model":{"name":"gpt-4p"}}}}),
            one(Rule::UnknownModel, "agents.planner.model.name"),
            vec![],
        ),
    ] {
        let after = Value::Object(merge::patched(&config(&base), &config(&patch)));
        let verdict = by_team(&rules, base.clone(), &after);
        let mut found_dependents = Vec::new();
        if let Verdict::Refuse(violations) = &verdict {
            found_dependents = violations
                .iter()
                .flat_map(|one| one.dependents.clone())
                .collect();
        }
        assert_eq!(broken(verdict), expected, "rule {number}: {patch}");
        assert_eq!(found_dependents, dependents, "rule {number}: {patch}");
    }
}

#[test]
fn rule_8_the_last_entrance_agent_stays_until_another_is_named() {
    let rules = rules(vec![], json!({}));
    let base = json!({
        "entrance_agent":"alone",
        "agents":{"alone":{},"planner":{"sub_agents":{"coding":true}},"coding":{}}});
    for (patch, expected) in [
        (
            json!({"agents":{"planner":{"enabled":false}}}),
            one(Rule::DependencyValidationFailed, "agents.planner.enabled"),
        ),
        (
            json!({"entrance_agent":"coding","agents":{"planner":{"enabled":false}}}),
            vec![],
        ),
        (
            json!({"agents":{"planner":{"enabled":false},"alone":{"sub_agents":{"coding":true}}}}),
            vec![],
        ),
        (json!({"agents":{"alone":{"max_turns":2}}}), vec![]),
    ] {
        let after = Value::Object(merge::patched(&config(&base), &config(&patch)));
        assert_eq!(
            broken(by_team(&rules, base.clone(), &after)),
            expected,
            "{patch}"
        );
    }
}

#[test]
fn agents_do_not_call_each_other_in_a_ring() {
    let rules = rules(vec![], json!({}));
    let after = json!({"agents":{"planner":{"sub_agents":{"a":true}},"a":{"sub_agents":{"b":true}},"b":{"sub_agents":{"a":true}}}});
    let found = broken(by_team(&rules, json!({}), &after));
    assert_eq!(
        found,
        [
            (Rule::AgentCycle, "agents.a.sub_agents.b".to_owned()),
            (Rule::AgentCycle, "agents.b.sub_agents.a".to_owned())
        ]
    );
}
