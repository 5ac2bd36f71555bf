use std::collections::BTreeSet;

use tocsin_wire::proto::DecisionAction::NoRoute;
use tocsin_wire::proto::{ActorKind, Event};

use super::samples::*;
use crate::decide::{ReasonCode, decide_for};
use crate::owner::Owner;

/// What happened, the event, and the action with its reasons.
type Row = (&'static str, Event, &'static str);

fn row(name: &'static str, event: Event, expected: &'static str) -> Row {
    (name, event, expected)
}

fn slack_addressed() -> Vec<Row> {
    let mut direct = message("D1").with("channel_type", "im");
    direct = direct.also("slack_workspace_id", "T1");
    let both = mention("CSHARED").also("slack_workspace_id", "T1");
    let file = mention("C1").with("subtype", "file_share");
    let reply = mention("C1").in_thread("90.1");
    let empty = mention("C1").text("<@UTOCSIN> ");
    vec![
        row("a mention", mention("C1"), "RUN matched_identifier trigger"),
        row(
            "a reply that mentions",
            reply,
            "RUN matched_identifier trigger",
        ),
        row("a direct message", direct, "RUN matched_identifier trigger"),
        row(
            "no question",
            empty,
            "RUN matched_identifier trigger empty_mention",
        ),
        row("a file", file, "RUN matched_identifier trigger"),
        row(
            "nobody's channel",
            mention("C404"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
        row(
            "two owners",
            mention("CSHARED"),
            "AMBIGUOUS trigger ambiguous_identifier",
        ),
        row(
            "one workspace",
            both,
            "RUN matched_identifier disambiguated trigger",
        ),
        row(
            "no settings",
            mention("CGONE"),
            "NO_ROUTE matched_identifier trigger unknown_team",
        ),
    ]
}

fn slack_channels() -> Vec<Row> {
    let reply = message("CALERTS").in_thread("90.1");
    let old = alert("CALERTS").with("subtype", "bot_message");
    let edit = message("CALERTS").with("subtype", "message_changed");
    let join = message("CALERTS").with("subtype", "channel_join");
    let hidden = message("CALERTS").with("hidden", "true");
    let command = slack("slash_command", "C404");
    vec![
        row(
            "chat",
            message("C1"),
            "IGNORE matched_identifier channel_not_watched",
        ),
        row(
            "a watched message",
            message("CALERTS"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a watched alert",
            alert("CALERTS"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a watched alert of old",
            old,
            "RUN matched_identifier trigger",
        ),
        row(
            "a watched reply",
            reply,
            "IGNORE matched_identifier thread_reply",
        ),
        row("hidden", hidden, "IGNORE matched_identifier hidden_message"),
        row("an edit", edit, "IGNORE matched_identifier message_subtype"),
        row("a join", join, "IGNORE matched_identifier message_subtype"),
        row(
            "emoji",
            slack("reaction_added", "C1"),
            "IGNORE matched_identifier kind_not_a_trigger",
        ),
        row(
            "a button",
            slack("block_actions", "C1"),
            "IGNORE matched_identifier not_acted_on_yet",
        ),
        row(
            "a command",
            command,
            "IGNORE no_identifier_matched not_acted_on_yet",
        ),
        row(
            "unheard of",
            slack("other", "C1"),
            "IGNORE matched_identifier unknown_kind",
        ),
    ]
}

fn slack_bots() -> Vec<Row> {
    let bot = ActorKind::Bot;
    let other = "IGNORE matched_identifier bot_author";
    let own = "IGNORE matched_identifier own_message";
    let nobody = Event {
        actor: None,
        ..mention("C1")
    };
    let told = message("CALERTS").by(bot, "UX").with("bot_user_id", "UX");
    vec![
        row("a bot's reply", alert("CALERTS").in_thread("90.1"), other),
        row(
            "a bot without an app",
            alert("CALERTS").with("app_id", ""),
            other,
        ),
        row("a bot elsewhere", alert("C1"), other),
        row("a bot that mentions", mention("C1").by(bot, "B9"), other),
        row("a message of nobody", nobody, other),
        row(
            "own app, by settings",
            alert("CALERTS").with("app_id", "ATOCSIN"),
            own,
        ),
        row(
            "own app, it receives",
            alert("CALERTS").also("slack_app_id", "AGRAFANA"),
            own,
        ),
        row(
            "own user, by settings",
            message("CALERTS").by(bot, "UTOCSIN"),
            own,
        ),
        row("own user, by Slack", told, own),
    ]
}

fn github_rows() -> Vec<Row> {
    let bot = ActorKind::Bot;
    let ci = |kind: &str, end: &str| github(kind, "completed").with("conclusion", end);
    let mut review = comment("hey @Tocsin");
    "pull_request_review_comment".clone_into(&mut review.kind);
    let mut nobodys = ci("workflow_run", "failure");
    nobodys.identifiers.clear();
    let own = "IGNORE matched_identifier own_message";
    let marked = comment("<!-- tocsin:run=1 --> @tocsin");
    let bots = comment("@tocsin").by(bot, "dependabot[bot]");
    let began = github("check_run", "created");
    let renovate = ci("workflow_run", "failure").by(bot, "renovate[bot]");
    let edited = comment("@tocsin").action("edited");
    vec![
        row(
            "a mention",
            comment("@tocsin why?"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a mention in a review",
            review,
            "RUN matched_identifier trigger",
        ),
        row(
            "no mention",
            comment("looks good"),
            "IGNORE matched_identifier not_mentioned",
        ),
        row(
            "an edit",
            edited,
            "IGNORE matched_identifier action_not_a_trigger",
        ),
        row("a bot's", bots, "IGNORE matched_identifier bot_author"),
        row("own", comment("@tocsin").by(bot, "tocsin[bot]"), own),
        row("own, with a person's token", marked, own),
        row(
            "a failure",
            ci("workflow_run", "failure"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a bot's failure",
            renovate,
            "RUN matched_identifier trigger",
        ),
        row(
            "out of time",
            ci("check_run", "timed_out"),
            "RUN matched_identifier trigger",
        ),
        row(
            "good",
            ci("check_suite", "success"),
            "IGNORE matched_identifier check_did_not_fail",
        ),
        row(
            "begun",
            began,
            "IGNORE matched_identifier action_not_a_trigger",
        ),
        row(
            "a push",
            github("push", ""),
            "IGNORE matched_identifier kind_not_a_trigger",
        ),
        row("no repository", nobodys, "NO_ROUTE trigger no_identifier"),
    ]
}

fn pagerduty_rows() -> Vec<Row> {
    let triggered = |service: &str| pagerduty("incident_triggered", service);
    let acknowledged = |service: &str| pagerduty("incident_acknowledged", service);
    let configured = acknowledged("PQUIET").action("acknowledged");
    let not_so = acknowledged("PQUIET").action("x");
    let note = event("pagerduty", "incident_annotated", &[]);
    vec![
        row(
            "an incident",
            triggered("P1"),
            "RUN matched_identifier trigger",
        ),
        row(
            "nobody's",
            triggered("P404"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
        row(
            "by default",
            acknowledged("P1"),
            "IGNORE matched_identifier kind_not_a_trigger",
        ),
        row(
            "configured",
            configured,
            "RUN matched_identifier trigger no_destination",
        ),
        row(
            "another action",
            not_so,
            "IGNORE matched_identifier action_not_a_trigger",
        ),
        row("a note", note, "IGNORE no_identifier kind_not_a_trigger"),
    ]
}

fn all_rows() -> Vec<Row> {
    [
        slack_addressed(),
        slack_channels(),
        slack_bots(),
        github_rows(),
        pagerduty_rows(),
        source_rows(),
    ]
    .concat()
}

/// Through the source of one organisation.
fn source_rows() -> Vec<Row> {
    let globex = |event: Event| event.through("globex", "");
    let falls_to = |event: Event| event.through("globex", "web");
    vec![
        row(
            "its own of several",
            globex(mention("CSHARED")),
            "RUN other_org_ignored matched_identifier trigger",
        ),
        row(
            "another's",
            globex(mention("C1")),
            "NO_ROUTE other_org_ignored trigger no_identifier_matched",
        ),
        row(
            "another's, and a default",
            falls_to(mention("C1")),
            "RUN other_org_ignored source_default_team trigger",
        ),
        row(
            "nothing, and a default",
            falls_to(mention("C404")),
            "RUN source_default_team trigger",
        ),
        row(
            "a match beats the default",
            mention("C1").through("acme", "shop"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a default that is gone",
            mention("C404").through("acme", "gone"),
            "NO_ROUTE source_default_team trigger unknown_team",
        ),
        row(
            "a default without an org",
            mention("C404").through("", "web"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
        row(
            "an org that cannot be",
            mention("C404").through("Globex Inc.", "web"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
    ]
}

#[test]
fn every_event_has_its_action_and_its_reasons() {
    for (name, event, expected) in all_rows() {
        let decided = decide_it(&event);
        let action = decided.action.as_str_name();
        let action = action.trim_start_matches("DECISION_ACTION_");
        let got = format!("{action} {}", codes(&decided).join(" "));
        assert_eq!(got, expected, "{} {name}", event.provider);
    }
}

#[test]
fn every_code_is_covered_or_needs_the_bus() {
    let rows = all_rows().into_iter();
    let mut seen: BTreeSet<&str> = rows
        .flat_map(|(_, _, row)| row.split(' ').skip(1))
        .collect();
    // Claims, full queues and replays: tests/it.
    let with_bus = "claimed_before duplicate_delivery duplicate_event queued queue_full replayed";
    seen.extend(with_bus.split(' '));
    let all: BTreeSet<&str> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(seen, all);
}

#[test]
fn notices_name_the_place_and_what_to_do_but_no_tenant() {
    let mut direct = message("D1")
        .with("channel_type", "im")
        .also("slack_workspace_id", "T404");
    direct.conversation.as_mut().expect("place").workspace = "T404".to_owned();
    for (event, code, named) in [
        (
            mention("C404"),
            "no_route",
            "`C404` to `routing.slack_channel_ids`",
        ),
        (mention("CGONE"), "no_route", "`CGONE`"),
        (
            direct,
            "no_route",
            "`T404` to `routing.slack_workspace_ids`",
        ),
        (
            mention("CSHARED"),
            "ambiguous_route",
            "`CSHARED` in `routing.slack_channel_ids`",
        ),
    ] {
        let start = decide_it(&event).start.expect("a notice");
        let notice = start.notice.expect("a notice");
        assert_eq!(
            (notice.code.as_str(), start.owner),
            (code, Owner::unrouted())
        );
        assert!(notice.text.contains(named), "{}", notice.text);
        for tenant in ["acme", "globex", "pay", "web"] {
            assert!(!notice.text.contains(tenant), "{}", notice.text);
        }
    }
    let empty = decide_it(&mention("C1").text("<@UTOCSIN>"))
        .start
        .expect("a run");
    assert_eq!(
        empty.notice.map(|notice| notice.code).as_deref(),
        Some("empty_mention")
    );
    assert!(
        decide_it(&pagerduty("incident_triggered", "P404"))
            .start
            .is_none()
    );
    assert!(decide_it(&mention("CGONE")).settings_missing);
}

#[test]
fn an_owner_once_settled_stays() {
    let (known, bots) = (known(), bots());
    let moved = decide_for(&owner("acme/shop"), &mention("C1"), &known, &bots);
    assert_eq!(
        moved.start.map(|start| start.owner),
        Some(owner("acme/shop"))
    );
    assert_eq!(moved.reasons[0].code, ReasonCode::ClaimedBefore);
    let nobodys = decide_for(&Owner::unrouted(), &mention("C1"), &known, &bots);
    assert_eq!((nobodys.action, nobodys.owner), (NoRoute, None));
}
