use proptest::prelude::*;
use tocsin_wire::proto::{ActorKind, DecisionAction, Event};

use super::samples::*;
use crate::decide::{ReasonCode, decide, decide_for};

fn any_event() -> impl Strategy<Value = Event> {
    let provider = prop::sample::select(vec!["slack", "github", "pagerduty", "sentry", ""]);
    let kind = prop::sample::select(vec![
        "app_mention",
        "message",
        "block_actions",
        "issue_comment",
        "workflow_run",
        "push",
        "incident_triggered",
        "other",
        "",
    ]);
    let identifier = prop::sample::select(vec![
        ("slack_channel_id", "C1"),
        ("slack_channel_id", "CALERTS"),
        ("slack_channel_id", "CSHARED"),
        ("slack_channel_id", "CGONE"),
        ("slack_workspace_id", "T1"),
        ("github_repo", "acme/checkout"),
        ("pagerduty_service_id", "P1"),
        ("service", "nobody"),
        ("slack_app_id", "A1"),
        ("x", "y"),
    ]);
    let attribute = prop::sample::select(vec![
        ("subtype", "bot_message"),
        ("channel_type", "im"),
        ("hidden", "true"),
        ("app_id", "A1"),
        ("conclusion", "failure"),
        ("pr_number", "7"),
        ("pr_number", "x"),
        ("bot_user_id", "U1"),
    ]);
    let action = prop::sample::select(vec!["", "created", "completed"]);
    let text = prop_oneof![
        Just("<@UTOCSIN>".to_owned()),
        Just("@tocsin why".to_owned()),
        ".{0,20}"
    ];
    let identifiers = prop::collection::vec(identifier, 0..4);
    let attributes = prop::collection::vec(attribute, 0..3);
    let has_place = any::<bool>();
    (
        provider,
        kind,
        identifiers,
        attributes,
        action,
        text,
        has_place,
    )
        .prop_map(
            |(provider, kind, identifiers, attributes, action, text, has_place)| {
                let mut made = event(provider, kind, &identifiers)
                    .action(action)
                    .text(&text);
                if has_place {
                    made.conversation = mention("C1").conversation;
                    made = made.by(ActorKind::User, "U1");
                }
                attributes
                    .into_iter()
                    .fold(made, |made, (name, value)| made.with(name, value))
            },
        )
}

fn spelt(value: &str, upper: bool) -> String {
    let value = if upper {
        value.to_uppercase()
    } else {
        value.to_owned()
    };
    format!("  {value}\t")
}

proptest! {
    /// One action, which the last reason settles, with exactly what it needs.
    #[test]
    fn a_decision_is_whole(event in any_event()) {
        let (known, bots) = (known(), bots());
        let decided = decide(&event, &known, &bots);
        let last = decided.reasons.last().map(|reason| reason.code);
        match decided.action {
            DecisionAction::Run => {
                let start = decided.start.clone().expect("a run");
                prop_assert_eq!(Some(&start.owner), decided.owner.as_ref());
                prop_assert!(!start.agent.is_empty());
                prop_assert!(matches!(last, Some(ReasonCode::Trigger | ReasonCode::EmptyMention | ReasonCode::NoDestination)));
            }
            DecisionAction::Ignore => prop_assert!(decided.start.is_none()),
            DecisionAction::NoRoute | DecisionAction::Ambiguous => {
                prop_assert!(decided.owner.is_none());
                if let Some(start) = &decided.start {
                    prop_assert!(start.notice.is_some() && start.owner.is_unrouted());
                    prop_assert_eq!(start.destinations.len(), 1);
                }
            }
            other => prop_assert!(false, "{other:?} is not decided here"),
        }
        prop_assert_eq!(decide(&event, &known, &bots), decided);
    }

    /// Whatever it names, whoever claims it, and whatever was settled before.
    #[test]
    fn an_event_of_one_orgs_source_never_reaches_another(
        event in any_event(),
        org in prop::sample::select(vec!["acme", "globex", "initech", "unrouted", "Not a token"]),
        team in prop::sample::select(vec!["", "pay", "web", "gone", "unrouted"]),
        settled in prop::sample::select(vec!["acme/pay", "globex/web", "unrouted/unrouted"]),
    ) {
        let (known, bots) = (known(), bots());
        let event = event.through(org, team);
        for decided in [
            decide(&event, &known, &bots),
            decide_for(&owner(settled), &event, &known, &bots),
        ] {
            let owners = decided.owner.iter().chain(&decided.candidates);
            for found in owners.chain(decided.start.as_ref().map(|start| &start.owner)) {
                prop_assert!(found.org.as_str() == org || found.is_unrouted(), "{found} of {org}");
            }
            // Nor is it told who else has a claim.
            for reason in decided.reasons.iter().filter(|reason| reason.code != ReasonCode::ClaimedBefore) {
                for other in ["acme/pay", "acme/shop", "acme/gone", "globex/web"] {
                    prop_assert!(other.starts_with(org) || !reason.detail.contains(other), "{}", reason.detail);
                }
            }
        }
    }

    #[test]
    fn spelling_does_not_change_whose_it_is(event in any_event(), upper in any::<bool>()) {
        let mut other = event.clone();
        for identifier in &mut other.identifiers {
            let folds = identifier.r#type == "github_repo" || identifier.r#type == "service";
            identifier.value = spelt(&identifier.value, upper && folds);
        }
        // Who wrote it is told by exact ids.
        other.identifiers.retain(|identifier| identifier.r#type != "slack_app_id");
        let mut event = event;
        event.identifiers.retain(|identifier| identifier.r#type != "slack_app_id");
        let (known, bots) = (known(), bots());
        let (one, two) = (decide(&event, &known, &bots), decide(&other, &known, &bots));
        prop_assert_eq!(codes(&one), codes(&two));
        prop_assert_eq!((one.action, one.owner), (two.action, two.owner));
    }
}
