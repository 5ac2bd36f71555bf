//! Slack: events as JSON, interactions as a form with JSON in `payload`, commands as a plain form.
//!
//! Slack lets an app use one URL for all three, so what came is told by the body; the endpoint only
//! decides what a body that is none of them should have been.

mod command;
mod event;
mod interaction;
mod kinds;
mod mentions;
mod said;

use std::borrow::Cow;

use form_urlencoded as form;
use tocsin_wire::scheme::{HmacScheme, Scheme, SignedTime};

use super::{Delivery, Malformed, Normalized, draft::Draft, utf8};
use crate::provider::{Answer, Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "slack";

/// Slack apps. A source has one URL for events, interactions and commands; apps of this installation have
/// one each.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "slack-signing-secret",
        variable: "SLACK_SIGNING_SECRET",
        help: "Signing secrets of the Slack app",
    },
    endpoints: &[
        Endpoint {
            path: "events",
            read: |delivery| normalize(Kind::Events, delivery),
            answer: |kind| answer(Kind::Events, kind),
            grant: None,
        },
        Endpoint {
            path: "interactions",
            read: |delivery| normalize(Kind::Interactions, delivery),
            answer: |kind| answer(Kind::Interactions, kind),
            grant: None,
        },
        Endpoint {
            path: "commands",
            read: |delivery| normalize(Kind::Commands, delivery),
            answer: |kind| answer(Kind::Commands, kind),
            grant: None,
        },
    ],
    schemes: &[Scheme::Hmac(HmacScheme::timed(
        "x-slack-signature",
        "v0=",
        SignedTime {
            header: Cow::Borrowed("x-slack-request-timestamp"),
            before: Cow::Borrowed("v0:"),
            after: Cow::Borrowed(":"),
        },
    ))],
    single_headers: &[],
    kept_headers: &[RETRY_NUMBER, RETRY_REASON],
    // An interaction is never sent again, but an event is.
    throttled: Throttled::TooManyRequests,
};
/// Kind of a slash command.
const SLASH_COMMAND: &str = "slash_command";
/// Kind whose answer must be a list of options.
const BLOCK_SUGGESTION: &str = "block_suggestion";

/// 1 to 3 on Slack's retries.
pub(crate) const RETRY_NUMBER: &str = "x-slack-retry-num";
/// Why Slack tries again: `http_timeout`, `connection_failed` …
pub(crate) const RETRY_REASON: &str = "x-slack-retry-reason";

/// Which of Slack's three URLs was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Events,
    Interactions,
    Commands,
}

/// Whether a kind is one of Slack's interactive payloads.
fn is_interaction(kind: &str) -> bool {
    kind != super::OTHER && kinds::interaction(kind) == kind
}

/// What Slack reads after an event of `kind`.
fn answer(endpoint: Kind, kind: &str) -> Answer {
    match endpoint {
        _ if kind == BLOCK_SUGGESTION => Answer::NoOptions,
        Kind::Interactions | Kind::Commands => Answer::Empty,
        // A command or an interaction of an app that uses one URL for all.
        Kind::Events if kind == SLASH_COMMAND || is_interaction(kind) => Answer::Empty,
        Kind::Events => Answer::Ok,
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is neither JSON nor one of Slack's forms.
fn normalize(endpoint: Kind, delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let is_json = delivery.body.trim_ascii_start().first() == Some(&b'{');
    let must_be_json = endpoint == Kind::Events && !delivery.is_form();
    if is_json || must_be_json {
        return event::normalize(delivery, utf8(delivery.body)?);
    }
    let fields = Form::parse(delivery.body);
    if fields.get("ssl_check") == "1" {
        return Ok(Normalized::Ping);
    }
    let event = match (fields.get("payload"), fields.get("command")) {
        ("", "") => {
            return Err(Malformed::Form {
                expected: "payload or command",
            });
        }
        ("", _) => command::event(delivery, &fields),
        (payload, _) => interaction::event(delivery, payload)?,
    };
    Ok(Normalized::Event(Box::new(event)))
}

/// A form's fields by name; the first of equal names counts.
struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    fn parse(body: &'a [u8]) -> Self {
        Self(form::parse(body).collect())
    }

    /// The value, empty when there is none.
    fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// Who and where, in the order in which it may route.
#[derive(Clone, Copy, Debug, Default)]
struct Place<'a> {
    channel: &'a str,
    workspace: &'a str,
    enterprise: &'a str,
    app: &'a str,
}

impl Place<'_> {
    fn identify(self, draft: &mut Draft<'_>) {
        draft.identifier("slack_channel_id", self.channel);
        draft.identifier("slack_workspace_id", self.workspace);
        draft.identifier("slack_enterprise_id", self.enterprise);
        draft.identifier("slack_app_id", self.app);
        draft.attribute("team_id", self.workspace);
    }
}

/// What Slack says about this being a retry.
fn record_attempt(draft: &mut Draft<'_>, delivery: &Delivery<'_>) {
    draft.event.attempt = delivery.header(RETRY_NUMBER).parse().unwrap_or_default();
    delivery
        .header(RETRY_REASON)
        .clone_into(&mut draft.event.attempt_reason);
}
