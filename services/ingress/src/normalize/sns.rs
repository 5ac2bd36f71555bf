//! Amazon SNS: a message of any publisher, and CloudWatch's alarms, which are JSON inside its text.

use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::draft::{self, Draft};
use super::{Delivery, Malformed, Normalized, first, read_json, times, utf8};
use crate::json::{Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "sns";

/// Topics of SNS, which have no secret: the list of those allowed is what lets a message in.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "sns-topic-arns",
        variable: "SNS_TOPIC_ARNS",
        help: "ARNs of the topics that may send; a subscription of one of them is confirmed by itself",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Sns],
    single_headers: &[],
    kept_headers: &[
        "x-amz-sns-message-type",
        "x-amz-sns-message-id",
        "x-amz-sns-topic-arn",
        "x-amz-sns-subscription-arn",
    ],
    throttled: Throttled::TooManyRequests,
};

const SUBSCRIPTION: &str = "SubscriptionConfirmation";

object! {
    Body {
        "Type" => kind: Text<'a>,
        "MessageId" => id: Text<'a>,
        "TopicArn" => topic: Text<'a>,
        "Subject" => subject: Text<'a>,
        "Message" => message: Text<'a>,
        "Timestamp" => timestamp: Text<'a>,
        "SubscribeURL" => subscribe_url: Text<'a>,
    }
}

object! {
    /// What CloudWatch publishes.
    Alarm {
        "AlarmName" => name: Text<'a>,
        "AlarmArn" => arn: Text<'a>,
        "AlarmDescription" => description: Text<'a>,
        "NewStateValue" => state: Text<'a>,
        "OldStateValue" => old_state: Text<'a>,
        "NewStateReason" => reason: Text<'a>,
        "StateChangeTime" => changed: Text<'a>,
        "Trigger" => trigger: Trigger<'a>,
    }
}

object! {
    Trigger { "MetricName" => metric: Text<'a>, "Namespace" => namespace: Text<'a> }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body: Body<'_> = read_json(utf8(delivery.body)?)?;
    if body.kind.text() == SUBSCRIPTION {
        return Ok(Normalized::Subscription(body.subscribe_url.owned()));
    }
    // Text that is no JSON is a message like any other.
    let alarm: Alarm<'_> = read_json(body.message.text()).unwrap_or_default();
    let is_alarm = alarm.name.get().is_some() && alarm.state.get().is_some();
    let alarm = is_alarm.then_some(&alarm);
    Ok(Normalized::Event(Box::new(event(delivery, &body, alarm))))
}

fn event(delivery: Delivery<'_>, body: &Body<'_>, alarm: Option<&Alarm<'_>>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let native = body.kind.text();
    let kind = match (native, alarm.map(|alarm| alarm.state.text())) {
        ("Notification", Some("ALARM")) => "alarm_firing",
        ("Notification", Some("OK")) => "alarm_resolved",
        ("Notification", Some("INSUFFICIENT_DATA")) => "alarm_insufficient_data",
        ("Notification", _) => "notification",
        // Its URL would subscribe again.
        ("UnsubscribeConfirmation", _) => "unsubscribe_confirmation",
        _ => super::OTHER,
    };
    kind.clone_into(&mut draft.event.kind);
    native.clone_into(&mut draft.event.native_type);

    if let Some(alarm) = alarm {
        draft.identifier("aws_alarm_arn", alarm.arn.text());
    }
    // arn:<partition>:sns:<region>:<account>:<name>
    let mut topic = body.topic.text().split(':').skip(3);
    let (region, account) = (topic.next(), topic.next());
    draft.identifier("aws_sns_topic_arn", body.topic.text());
    draft.identifier("aws_account_id", account.unwrap_or_default());
    draft.identifier("aws_region", region.unwrap_or_default());

    draft.attribute("subject", body.subject.text());
    draft.attribute("topic", topic.next().unwrap_or_default());
    draft.occurred(times::date(body.timestamp.text()));
    let semantic = match alarm {
        Some(alarm) => of_alarm(&mut draft, alarm),
        None => {
            draft.title(first(&[&body.subject, &body.message]));
            draft.text(body.message.text(), TextFormat::Plain);
            draft.event.status = EventStatus::Info.into();
            None
        }
    };
    let id = body.id.get().filter(|id| draft::is_id(id));
    draft.finish(body.id.text(), semantic.as_deref().or(id))
}

/// Gives what the same change of one alarm has in every topic that it is published to.
fn of_alarm(draft: &mut Draft<'_>, alarm: &Alarm<'_>) -> Option<String> {
    let state = alarm.state.text();
    let (status, severity) = match state {
        "ALARM" => (EventStatus::Firing, Severity::High),
        "OK" => (EventStatus::Resolved, Severity::Unspecified),
        _ => (EventStatus::Info, Severity::Unspecified),
    };
    draft.actor(ActorKind::System, alarm.arn.text(), "CloudWatch");
    draft.title(alarm.name.text());
    draft.text(
        first(&[&alarm.reason, &alarm.description]),
        TextFormat::Plain,
    );
    draft.occurred(times::date(alarm.changed.text()));
    draft.state(state, status);
    // CloudWatch has no severities: an alarm is one, or not.
    draft.severity(severity, "");
    draft.correlation(&[alarm.arn.text()]);
    draft.attribute("alarm_name", alarm.name.text());
    draft.attribute("previous_state", alarm.old_state.text());
    draft.attribute("metric", alarm.trigger.metric.text());
    draft.attribute("namespace", alarm.trigger.namespace.text());
    let parts = [alarm.arn.get()?, state, alarm.changed.get()?];
    Some(parts.join(":"))
}
