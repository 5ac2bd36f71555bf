//! What to paste where at a sender. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Value, json};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Source, title};

/// Where a provider takes webhooks, and how it comes to its secret.
struct Place {
    provider: &'static str,
    /// Where people click.
    menu: &'static str,
    secret: Whose,
}

#[derive(Clone, Copy)]
enum Whose {
    /// Ours, in a field of this name.
    Field(&'static str),
    /// Ours, in a header that is set here.
    Bearer(&'static str),
    /// Ours, in headers that are written here as JSON.
    BearerAsJson(&'static str),
    /// Its own, which it shows here.
    Theirs(&'static str),
}

/// Of those whose menus are known; at others any place for webhooks is meant.
const PLACES: [Place; 19] = [
    Place {
        provider: "slack",
        menu: "your app at api.slack.com/apps, Event Subscriptions, Request URL",
        secret: Whose::Theirs("the Signing Secret under Basic Information"),
    },
    Place {
        provider: "github",
        menu: "Settings, Webhooks, Add webhook; content type application/json",
        secret: Whose::Field("Secret"),
    },
    Place {
        provider: "pagerduty",
        menu: "Integrations, Generic Webhooks (v3), New Webhook",
        secret: Whose::Theirs("the secret that is shown once the webhook is made"),
    },
    Place {
        provider: "incidentio",
        menu: "Settings, Webhooks, Add endpoint",
        secret: Whose::Theirs("the signing secret of the endpoint, whsec_…"),
    },
    Place {
        provider: "alertmanager",
        menu: "alertmanager.yml, receivers, webhook_configs, url",
        secret: Whose::Field("http_config.authorization.credentials"),
    },
    Place {
        provider: "coralogix",
        menu: "Integrations, Outbound Webhooks, Generic webhook",
        secret: Whose::Bearer("its headers"),
    },
    Place {
        provider: "datadog",
        menu: "Integrations, Webhooks, New",
        secret: Whose::BearerAsJson("Custom Headers"),
    },
    Place {
        provider: "grafana",
        menu: "Alerting, Contact points, Webhook",
        secret: Whose::Field("HMAC Signature, Secret"),
    },
    Place {
        provider: "newrelic",
        menu: "Alerts, Destinations, Webhook",
        secret: Whose::Field("Authorization, Bearer token"),
    },
    Place {
        provider: "opsgenie",
        menu: "Settings, Integrations, Webhook",
        secret: Whose::Bearer("Custom Headers"),
    },
    Place {
        provider: "sentry",
        menu: "Settings, Custom Integrations, Webhook URL",
        secret: Whose::Theirs("the Client Secret of the integration"),
    },
    Place {
        provider: "gitlab",
        menu: "Settings, Webhooks, Add new webhook",
        secret: Whose::Field("Secret token"),
    },
    Place {
        provider: "jira",
        menu: "System, WebHooks, Create a WebHook",
        secret: Whose::Field("Secret"),
    },
    Place {
        provider: "cloudevents",
        menu: "the address of its HTTP sink",
        secret: Whose::Bearer("its headers"),
    },
    Place {
        provider: "generic",
        menu: "the address of its webhooks",
        secret: Whose::Field("the signing secret (Standard Webhooks)"),
    },
    Place {
        provider: "sns",
        menu: "the topic, Create subscription, HTTPS; Tocsin confirms it by itself",
        secret: Whose::Theirs("none but the topic's ARN"),
    },
    Place {
        provider: "stripe",
        menu: "Developers, Webhooks, Add endpoint",
        secret: Whose::Theirs("the signing secret of the endpoint, whsec_…"),
    },
    Place {
        provider: "firehydrant",
        menu: "Settings, Integrations, Webhooks",
        secret: Whose::Field("its secret"),
    },
    Place {
        provider: "blameless",
        menu: "Settings, Integrations, Webhooks",
        secret: Whose::Field("its secret"),
    },
];

/// A source that was made a moment ago.
pub(super) struct Setup<'a> {
    source: &'a Source,
    /// Where Tocsin made it.
    secret: Option<&'a str>,
    url: String,
}

impl<'a> Setup<'a> {
    pub(super) fn new(source: &'a Source, secret: Option<&'a str>, ingress_url: &str) -> Self {
        let base = ingress_url.trim_end_matches('/');
        Self {
            url: format!("{base}{}", source.path),
            source,
            secret,
        }
    }

    pub(super) fn page(&self) -> String {
        let source = self.source;
        let sender = title(&source.provider);
        let place = PLACES
            .iter()
            .find(|place| place.provider == source.provider);
        let menu = place.map_or("the address of its webhooks", |place| place.menu);
        let mut page = format!(
            "{} of {} is {}\n\nat {sender} ({menu}):\n",
            source.label(),
            source.org_id,
            source.id
        );
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _infallible = writeln!(page, "  {name:<8} {value}");
        };
        line("URL", &self.url);
        let Some(secret) = self.secret else {
            line("secret", "the one that you gave");
            return page;
        };
        let whose = place.map_or(Whose::Field("its secret"), |place| place.secret);
        let given = self
            .by_scheme(secret)
            .unwrap_or_else(|| whose.given(secret));
        match given {
            Given::Into(name, value) => {
                line("secret", &value);
                line("", &format!("into {name}; it is shown this once"));
            }
            Given::Nothing(shown) => {
                let _infallible = write!(
                    page,
                    "\n{sender} makes a secret of its own: {shown}. Give it to Tocsin; until then all that comes is refused:\n  \
                     tocsin sources rotate {} --org {} --secret-stdin --old-expires-in 0s\n",
                    source.id, source.org_id
                );
            }
        }
        page
    }

    /// The scheme that the source names itself.
    fn scheme(&self) -> Option<Scheme> {
        let scheme: &Value = self.source.settings.get("scheme")?;
        serde_json::from_value(scheme.clone()).ok()
    }

    fn by_scheme(&self, secret: &str) -> Option<Given> {
        let same = secret.to_owned();
        Some(match self.scheme()? {
            Scheme::Bearer => Given::into("its headers", bearer(secret)),
            Scheme::Token { header } => Given::into("its headers", format!("{header}: {secret}")),
            Scheme::Basic => Given::into("user:password of Basic authentication", same),
            Scheme::Hmac(HmacScheme { header, .. }) | Scheme::Stripe { header } => {
                Given::Into(format!("what it signs {header} with").into(), same)
            }
            _ => Given::into("its signing secret", same),
        })
    }
}

/// What is pasted.
enum Given {
    /// Into what, and what.
    Into(Cow<'static, str>, String),
    /// The sender has its own, shown here.
    Nothing(&'static str),
}

impl Given {
    fn into(name: &'static str, value: String) -> Self {
        Self::Into(name.into(), value)
    }
}

impl Whose {
    fn given(self, secret: &str) -> Given {
        match self {
            Self::Field(name) => Given::into(name, secret.to_owned()),
            Self::Bearer(name) => Given::into(name, bearer(secret)),
            Self::BearerAsJson(name) => {
                let headers = json!({"Authorization": format!("Bearer {secret}")});
                Given::into(name, headers.to_string())
            }
            Self::Theirs(shown) => Given::Nothing(shown),
        }
    }
}

fn bearer(secret: &str) -> String {
    format!("Authorization: Bearer {secret}")
}

#[cfg(test)]
mod tests {
    use tocsin_wire::source::PROVIDERS;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn source(provider: &str, settings: Value) -> Source {
        let id = "src_0123456789abcdef01234567";
        serde_json::from_value(json!({
            "id": id, "org_id": "acme", "provider": provider, "name": "prod",
            "path": format!("/webhooks/{provider}/{id}"), "disabled": false, "settings": settings,
            "secrets": [], "usage_known": true, "version": 1}))
        .expect("a source")
    }

    fn page(provider: &str, settings: Value, secret: Option<&str>) -> String {
        Setup::new(
            &source(provider, settings),
            secret,
            "https://hooks.example.com/",
        )
        .page()
    }

    #[test]
    fn a_place_is_of_a_provider_and_stands_once() {
        for (index, place) in PLACES.iter().enumerate() {
            let provider = place.provider;
            assert!(
                PROVIDERS.iter().any(|row| row.name == provider),
                "{provider}"
            );
            let first = PLACES.iter().position(|one| one.provider == provider);
            assert_eq!(first, Some(index), "{provider} twice");
        }
    }

    #[test]
    fn what_to_paste_is_printed_as_it_is_pasted() {
        let url = "https://hooks.example.com/webhooks/github/src_0123456789abcdef01234567\n";
        let github = page("github", json!({}), Some("s3"));
        assert!(
            github.contains(url) && github.contains("  secret   s3\n"),
            "{github}"
        );
        let datadog = page("datadog", json!({}), Some("s3"));
        assert!(
            datadog.contains(r#"{"Authorization":"Bearer s3"}"#),
            "{datadog}"
        );
        let named = json!({"scheme": {"type": "token", "header": "X-Key"}});
        let named = page("pagerduty", named, Some("s3"));
        assert!(
            named.contains("X-Key: s3") && !named.contains("of its own"),
            "{named}"
        );
    }

    #[test]
    fn a_sender_with_a_secret_of_its_own_hears_how_to_hand_it_over() {
        let own = page("pagerduty", json!({}), Some("s3"));
        assert!(own.contains(
            "tocsin sources rotate src_0123456789abcdef01234567 --org acme --secret-stdin"
        ));
        assert!(!own.contains("s3"), "{own}");
        let given = page("pagerduty", json!({}), None);
        assert!(
            given.contains("the one that you gave") && !given.contains("rotate"),
            "{given}"
        );
    }
}
