//! What Sentry tells of, as it writes it.

use crate::json::{List, Text, object};

object! {
    Payload {
        "action" => action: Text<'a>,
        "actor" => actor: Actor<'a>,
        "data" => data: Data<'a>,
        "installation" => installation: Installation<'a>,
    }
}

object! {
    Actor { "id" => id: Text<'a>, "name" => name: Text<'a>, "type" => kind: Text<'a> }
}

object! {
    /// It carries a one-time code when it is new, which is not read.
    Installation { "uuid" => uuid: Text<'a>, "organization" => organization: Slug<'a> }
}

object! {
    Slug { "slug" => slug: Text<'a> }
}

object! {
    Data {
        "issue" => issue: Option<Issue<'a>>,
        "event" => event: Option<Sample<'a>>,
        "error" => error: Option<Sample<'a>>,
        "metric_alert" => metric_alert: Option<MetricAlert<'a>>,
        "installation" => new_installation: Option<Installation<'a>>,
        "comment" => comment: Text<'a>,
        "comment_id" => comment_id: Text<'a>,
        "issue_id" => issue_id: Text<'a>,
        "group_id" => group_id: Text<'a>,
        "run_id" => run_id: Text<'a>,
        "project_slug" => project: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "triggered_rule" => rule: Text<'a>,
        "issue_alert" => issue_alert: IssueAlert<'a>,
        "description_title" => title: Text<'a>,
        "description_text" => text: Text<'a>,
        "web_url" => web_url: Text<'a>,
    }
}

object! {
    Issue {
        "id" => id: Text<'a>,
        "shortId" => short_id: Text<'a>,
        "title" => title: Text<'a>,
        "culprit" => culprit: Text<'a>,
        "level" => level: Text<'a>,
        "status" => status: Text<'a>,
        "substatus" => substatus: Text<'a>,
        "platform" => platform: Text<'a>,
        "permalink" => permalink: Text<'a>,
        "web_url" => web_url: Text<'a>,
        "firstSeen" => first_seen: Text<'a>,
        "lastSeen" => last_seen: Text<'a>,
        "count" => count: Text<'a>,
        "userCount" => users: Text<'a>,
        "project" => project: Slug<'a>,
        "assignedTo" => assignee: Actor<'a>,
    }
}

object! {
    /// One occurrence of an issue; its project is a number.
    Sample {
        "event_id" => id: Text<'a>,
        "issue_id" => issue: Text<'a>,
        "title" => title: Text<'a>,
        "culprit" => culprit: Text<'a>,
        "level" => level: Text<'a>,
        "web_url" => web_url: Text<'a>,
        "datetime" => at: Text<'a>,
        "project" => project: Text<'a>,
        "environment" => environment: Text<'a>,
        "release" => release: Text<'a>,
        "platform" => platform: Text<'a>,
    }
}

object! {
    IssueAlert { "title" => title: Text<'a>, "settings" => settings: List<Setting<'a>> }
}

object! {
    /// A field of an alert rule's action, as the rule's author filled it in.
    Setting { "name" => name: Text<'a>, "value" => value: Text<'a> }
}

object! {
    MetricAlert {
        "id" => id: Text<'a>,
        "title" => title: Text<'a>,
        "date_detected" => detected_at: Text<'a>,
        "projects" => projects: List<Text<'a>>,
        "alert_rule" => rule: AlertRule<'a>,
    }
}

object! {
    AlertRule {
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "query" => query: Text<'a>,
        "aggregate" => aggregate: Text<'a>,
        "environment" => environment: Text<'a>,
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource<'a> {
    Issue(&'a Issue<'a>),
    /// An issue alert's rule, with the occurrence that it saw.
    EventAlert(&'a Sample<'a>),
    Error(&'a Sample<'a>),
    MetricAlert(&'a MetricAlert<'a>),
    Comment,
    Installation,
}

impl<'a> Data<'a> {
    /// The resource that is told of; nothing when we do not know its shape.
    pub(super) fn resource(&'a self) -> Option<Resource<'a>> {
        if let Some(issue) = &self.issue {
            return Some(Resource::Issue(issue));
        }
        if let Some(event) = &self.event {
            return Some(Resource::EventAlert(event));
        }
        if let Some(error) = &self.error {
            return Some(Resource::Error(error));
        }
        if let Some(alert) = &self.metric_alert {
            return Some(Resource::MetricAlert(alert));
        }
        if self.comment_id.get().is_some() || self.comment.get().is_some() {
            return Some(Resource::Comment);
        }
        self.new_installation
            .as_ref()
            .map(|_| Resource::Installation)
    }
}

impl Resource<'_> {
    /// As the header names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Issue(_) => "issue",
            Self::EventAlert(_) => "event_alert",
            Self::Error(_) => "error",
            Self::MetricAlert(_) => "metric_alert",
            Self::Comment => "comment",
            Self::Installation => "installation",
        }
    }
}
