//! Providers that may have sources, as far as config and ingress must agree on them.

use super::MAX_BODY_BYTES;

/// Largest body of a sender that documents no larger one.
pub const USUAL_BODY_BYTES: u32 = 1 << 20;

/// One provider. How it signs and what it sends is in ingress's module of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceProvider {
    /// As URLs and subjects name it.
    pub name: &'static str,
    /// As it writes itself.
    pub title: &'static str,
    /// Bytes of the largest body: where a source says nothing, and what it may say at most.
    pub max_body_bytes: u32,
    /// What its secrets look like, where a source names no scheme.
    pub secret: SecretForm,
}

/// What a secret looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// Any text.
    Text,
    /// `whsec_…` or `whpk_…`: Standard Webhooks.
    StandardWebhooks,
    /// The ARN of a topic of Amazon SNS, in place of a secret: nobody but AWS makes one.
    TopicArn,
}

/// The table of providers: the one place that names them all, in the order of the README. A row has the form of
/// its secrets and bodies, the name, which is also that of its module in ingress, and the title.
///
/// Calls the macro `$with` with all rows.
#[macro_export]
macro_rules! providers {
    ($with:ident) => {
        $with! {
            usual slack "Slack",
            large github "GitHub",
            usual pagerduty "PagerDuty",
            standard incidentio "incident.io",
            usual alertmanager "Alertmanager",
            usual coralogix "Coralogix",
            usual datadog "Datadog",
            usual grafana "Grafana",
            usual newrelic "New Relic",
            usual opsgenie "Opsgenie",
            usual sentry "Sentry",
            large gitlab "GitLab",
            usual jira "Jira",
            usual cloudevents "CloudEvents",
            standard generic "Generic webhooks",
            topics sns "Amazon SNS",
            usual stripe "Stripe",
            usual firehydrant "FireHydrant",
            usual blameless "Blameless",
        }
    };
}

macro_rules! rows {
    ($($form:ident $name:ident $title:literal,)*) => {
        /// Every provider.
        pub const PROVIDERS: &[SourceProvider] =
            &[$(SourceProvider::$form(stringify!($name), $title)),*];
    };
}

providers!(rows);

impl SourceProvider {
    const fn usual(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            max_body_bytes: USUAL_BODY_BYTES,
            secret: SecretForm::Text,
        }
    }

    /// One that documents bodies of up to 25 MiB.
    const fn large(name: &'static str, title: &'static str) -> Self {
        Self {
            max_body_bytes: MAX_BODY_BYTES,
            ..Self::usual(name, title)
        }
    }

    /// One that signs by Standard Webhooks.
    const fn standard(name: &'static str, title: &'static str) -> Self {
        Self {
            secret: SecretForm::StandardWebhooks,
            ..Self::usual(name, title)
        }
    }

    /// One whose topics stand in place of secrets.
    const fn topics(name: &'static str, title: &'static str) -> Self {
        Self {
            secret: SecretForm::TopicArn,
            ..Self::usual(name, title)
        }
    }

    /// Whether its sources may say what is picked from a body: the others have bodies of a known form.
    #[must_use]
    pub fn takes_pick(&self) -> bool {
        self.name == "generic"
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROVIDERS.iter().find(|provider| provider.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    #[test]
    fn providers_are_subject_tokens_and_stand_once() {
        for (index, provider) in PROVIDERS.iter().enumerate() {
            Token::new(provider.name).expect("a token");
            let first = PROVIDERS.iter().position(|one| one.name == provider.name);
            assert_eq!(first, Some(index), "{} twice", provider.name);
            assert!(provider.max_body_bytes <= MAX_BODY_BYTES);
        }
        let takes_pick = PROVIDERS.iter().filter(|provider| provider.takes_pick());
        assert_eq!(takes_pick.count(), 1);
    }
}
