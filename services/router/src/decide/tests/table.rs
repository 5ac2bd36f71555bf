mod alerts;

use std::collections::BTreeSet;

use tocsin_wire::proto::DecisionAction::NoRoute;
use tocsin_wire::proto::{ActorKind, Event, EventStatus};
use tocsin_wire::time;

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

/// `broken` fails on every event with a title, and never stops what comes after it.
#[expect(clippy::too_many_lines, reason = "one table")]
fn ruled_rows() -> Vec<Row> {
    let alert = |kind: &str| {
        let mut event = pagerduty(kind, "PRULED");
        "slow".clone_into(&mut event.title);
        event
    };
    let mut loud = alert("incident_resolved");
    loud.set_severity(tocsin_wire::proto::Severity::Critical);
    let mut over = loud.clone();
    over.set_status(EventStatus::Resolved);
    let quiet = over.clone().with("environment", "staging");
    let chat = |event: Event| Event {
        title: "1".to_owned(),
        ..event
    };
    let github = |kind: &str, actor: &str| {
        let mut event = github(kind, "opened").by(ActorKind::Bot, actor);
        event.identifiers = vec![];
        chat(event.also("github_repo", "acme/ruled"))
    };
    let own = "IGNORE matched_identifier own_message";
    vec![
        row(
            "no rule holds: the triggers",
            alert("incident_triggered"),
            "RUN matched_identifier rule_failed trigger",
        ),
        row(
            "no rule holds: no trigger",
            alert("incident_resolved"),
            "IGNORE matched_identifier rule_failed kind_not_a_trigger",
        ),
        row(
            "ignored",
            alert("incident_triggered").with("environment", "staging"),
            "IGNORE matched_identifier rule_failed rule_ignored",
        ),
        row(
            "an agent for what is no trigger",
            alert("incident_acknowledged"),
            "RUN matched_identifier rule_failed rule_matched",
        ),
        row(
            "joins",
            loud,
            "RUN matched_identifier rule_failed rule_matched",
        ),
        row(
            "joins, but it is over",
            over,
            "IGNORE matched_identifier rule_failed rule_matched not_firing",
        ),
        row(
            "ignored, and it is over",
            quiet,
            "IGNORE matched_identifier rule_failed rule_ignored",
        ),
        row(
            "chat",
            chat(message("CRULED")),
            "RUN matched_identifier rule_matched",
        ),
        row(
            "a mention without a question",
            chat(mention("CRULED").text("<@UTOCSIN>")),
            "RUN matched_identifier rule_matched empty_mention",
        ),
        row(
            "own message",
            chat(message("CRULED").by(ActorKind::Bot, "UTOCSIN")),
            own,
        ),
        row(
            "own emoji",
            chat(slack("reaction_added", "CRULED").by(ActorKind::User, "UTOCSIN")),
            own,
        ),
        row(
            "own pull request",
            github("pull_request", "tocsin[bot]"),
            own,
        ),
        row(
            "another bot's pull request",
            github("pull_request", "renovate[bot]"),
            "RUN matched_identifier rule_matched",
        ),
        row(
            "a failure that Tocsin caused",
            github("workflow_run", "tocsin[bot]"),
            "RUN matched_identifier rule_matched",
        ),
    ]
}

#[test]
fn a_rule_says_how_the_run_is_started_and_why() {
    let start = |event: &Event| {
        let decided = decide_it(event);
        let start = decided.start.expect("a run");
        (start.agent, start.joins_open_run, start.destinations.len())
    };
    let acknowledged = pagerduty("incident_acknowledged", "PRULED");
    assert_eq!(start(&acknowledged), ("pay".to_owned(), false, 1));
    let mut loud = pagerduty("incident_triggered", "PRULED");
    loud.set_severity(tocsin_wire::proto::Severity::Critical);
    // Without anything that tells what it is about, there is no run that it could join.
    assert_eq!(start(&loud), ("triage".to_owned(), false, 1));
    "pagerduty:shared:P1".clone_into(&mut loud.correlation_key);
    assert_eq!(start(&loud), ("triage".to_owned(), true, 1));
    let reasons = decide_it(&acknowledged).reasons;
    let told: Vec<&str> = reasons.iter().map(|one| one.detail.as_str()).collect();
    assert_eq!(
        told.get(1..),
        Some(
            &[
                "The team's rule \"broken\" could not be evaluated and was skipped: the text \"\" is no number.",
                "The team's rule \"acknowledged\" holds, and it gives such events to the agent pay: kind == \
                 'incident_acknowledged' (kind is \"incident_acknowledged\").",
            ][..]
        )
    );
}

fn since_2026(seconds: i64, event: Event) -> Event {
    let at = jiff::Timestamp::from_second(1_767_225_600 + seconds).expect("in range");
    Event {
        received_at: Some(time::to_proto(at)),
        ..event
    }
}

/// `acme/pay` is silent until the beginning of 2026.
fn silence_rows() -> Vec<Row> {
    let incident = || pagerduty("incident_triggered", "P1");
    let silenced = "IGNORE matched_identifier trigger silenced";
    let heard = "RUN matched_identifier trigger";
    let elsewhere = pagerduty("incident_triggered", "PQUIET");
    let elsewhere_heard = "RUN matched_identifier trigger no_destination";
    vec![
        row("in the window", since_2026(-1, incident()), silenced),
        row("after it", since_2026(0, incident()), heard),
        row("a person asks in it", since_2026(-1, mention("C1")), heard),
        row(
            "an alert in Slack",
            since_2026(-1, alert("CALERTS")),
            silenced,
        ),
        row("another team's", since_2026(-1, elsewhere), elsewhere_heard),
    ]
}

fn all_rows() -> Vec<Row> {
    [
        silence_rows(),
        slack_addressed(),
        slack_channels(),
        slack_bots(),
        github_rows(),
        pagerduty_rows(),
        ruled_rows(),
        alerts::alert_rows(),
        alerts::source_rows(),
    ]
    .concat()
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
fn a_silence_is_named_with_its_end_and_its_reason() {
    let event = since_2026(-86_400, pagerduty("incident_triggered", "P1"));
    let decided = decide_it(&event);
    let told = &decided.reasons.last().expect("one").detail;
    assert_eq!(
        told,
        "The silence \"upgrade\" of the team holds until 2026-01-01T00:00:00Z: new database."
    );
}

#[test]
fn every_code_is_covered_or_needs_the_bus() {
    let rows = all_rows().into_iter();
    let mut seen: BTreeSet<&str> = rows
        .flat_map(|(_, _, row)| row.split(' ').skip(1))
        .collect();
    // Claims, full queues, open runs and replays: tests/it.
    let with_bus = "claimed_before duplicate_delivery duplicate_event queued queue_full joined_run \
                    resolved_run no_open_run replayed";
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
