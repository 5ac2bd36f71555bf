//! Settings of a source as flags. Whether they make sense, config judges.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use tocsin_kit::settings::{Bytes, Seconds};
use tocsin_wire::TeamId;
use tocsin_wire::scheme::Scheme;

/// What is said of a source beyond its name; the rest is as its provider has it.
#[derive(Debug, Default, Args)]
pub(super) struct SettingsGiven {
    /// How deliveries prove themselves: bearer, basic, standard_webhooks, or JSON such as
    /// {"type": "hmac", "header": "X-Incident-Signature"}.
    #[arg(long, value_parser = scheme)]
    scheme: Option<Scheme>,
    /// Addresses that may deliver, as 192.0.2.0/24; may be repeated [default: any].
    #[arg(long = "allow", value_name = "RANGE")]
    allowed_addresses: Vec<String>,
    /// How far a signed time may be off.
    #[arg(long, value_name = "TIME")]
    tolerance: Option<Seconds>,
    /// Largest body.
    #[arg(long, value_name = "SIZE")]
    max_body: Option<Bytes>,
    /// Kinds that are taken; may be repeated [default: all].
    #[arg(long = "only-kind", value_name = "KIND")]
    only_kinds: Vec<String>,
    /// How much it may send: small, medium or large.
    #[arg(long, value_name = "TIER")]
    rate_tier: Option<String>,
    /// Owner of what no identifier routes: a team of the org.
    #[arg(long, value_name = "TEAM")]
    default_team: Option<TeamId>,
    /// What is taken out of a body of any JSON, as FIELD=EXPRESSION over body: title=body.check.name,
    /// identifiers.service=body.service; may be repeated, and all are replaced together. Fields: title, text,
    /// severity, status, url, type, dedupe_key, occurred_at, delivery_id, identifiers.<type>. Only of generic.
    #[arg(long = "pick", value_name = "FIELD=EXPRESSION", value_parser = picked)]
    pick: Vec<(String, String)>,
}

/// A setting that goes back to what the provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Unset {
    /// How deliveries prove themselves.
    Scheme,
    /// The allow-list.
    Allow,
    /// How far a signed time may be off.
    Tolerance,
    /// Largest body.
    MaxBody,
    /// The filter.
    OnlyKind,
    /// How much it may send.
    RateTier,
    /// Owner of what no identifier routes.
    DefaultTeam,
    /// What is taken out of bodies.
    Pick,
}

impl Unset {
    /// As config names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Allow => "allowed_addresses",
            Self::Tolerance => "tolerance_seconds",
            Self::MaxBody => "max_body_bytes",
            Self::OnlyKind => "only_kinds",
            Self::RateTier => "rate_tier",
            Self::DefaultTeam => "default_team",
            Self::Pick => "pick",
        }
    }
}

impl SettingsGiven {
    /// What was said, as config reads it.
    pub(super) fn given(&self) -> Map<String, Value> {
        let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
        let fields = [
            (
                Unset::Scheme,
                self.scheme.as_ref().map(|scheme| json!(scheme)),
            ),
            (Unset::Allow, list(&self.allowed_addresses)),
            (
                Unset::Tolerance,
                self.tolerance.map(|time| json!(time.duration().as_secs())),
            ),
            (Unset::MaxBody, self.max_body.map(|size| json!(size.get()))),
            (Unset::OnlyKind, list(&self.only_kinds)),
            (
                Unset::RateTier,
                self.rate_tier.as_ref().map(|tier| json!(tier)),
            ),
            (
                Unset::DefaultTeam,
                self.default_team.as_ref().map(|team| json!(team.as_str())),
            ),
            (Unset::Pick, self.pick()),
        ];
        let said = fields.into_iter();
        said.filter_map(|(setting, value)| Some((setting.name().to_owned(), value?)))
            .collect()
    }

    fn pick(&self) -> Option<Value> {
        let (mut pick, mut identifiers) = (Map::new(), Map::new());
        for (field, expression) in &self.pick {
            let (into, name) = match field.strip_prefix("identifiers.") {
                Some(name) => (&mut identifiers, name),
                None => (&mut pick, field.as_str()),
            };
            into.insert(name.to_owned(), expression.as_str().into());
        }
        if !identifiers.is_empty() {
            pick.insert("identifiers".to_owned(), Value::Object(identifiers));
        }
        (!pick.is_empty()).then_some(Value::Object(pick))
    }

    /// The settings that there are, with what was said in its place.
    pub(super) fn applied(
        &self,
        present: &Map<String, Value>,
        unset: &[Unset],
    ) -> Map<String, Value> {
        let mut settings = present.clone();
        settings.retain(|name, _| !unset.iter().any(|setting| setting.name() == name));
        settings.extend(self.given());
        settings
    }
}

/// The first `=` ends the field: an expression may hold others.
fn picked(text: &str) -> Result<(String, String), String> {
    let (field, expression) = text
        .split_once('=')
        .ok_or("write it as FIELD=EXPRESSION, such as title=body.check.name")?;
    Ok((field.trim().to_owned(), expression.trim().to_owned()))
}

/// A word for a scheme without parts, or JSON.
fn scheme(text: &str) -> Result<Scheme, String> {
    let value = match text {
        "bearer" | "basic" | "standard_webhooks" => json!({ "type": text }),
        json => serde_json::from_str(json).map_err(|error| {
            format!("neither bearer, basic, standard_webhooks nor JSON: {error}")
        })?,
    };
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_wire::source::SourceSettings;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn every_flag_is_a_setting_and_can_be_unset() {
        let whole = SettingsGiven {
            scheme: Some(Scheme::Bearer),
            allowed_addresses: vec!["192.0.2.0/24".to_owned()],
            tolerance: Some("10m".parse().expect("a time")),
            max_body: Some("64KiB".parse().expect("a size")),
            only_kinds: vec!["push".to_owned()],
            rate_tier: Some("small".to_owned()),
            default_team: Some(TeamId::new("sre").expect("a team")),
            pick: [
                "title = body.name",
                "identifiers.service=body.service",
                "status='ok' if body.code == 0 else 'down'",
            ]
            .map(|text| picked(text).expect("a pick"))
            .into(),
        };
        let given = whole.given();
        assert_eq!(
            given,
            object(
                json!({"scheme": {"type": "bearer"}, "allowed_addresses": ["192.0.2.0/24"],
                "tolerance_seconds": 600, "max_body_bytes": 65_536, "only_kinds": ["push"],
                "rate_tier": "small", "default_team": "sre",
                "pick": {"title": "body.name", "identifiers": {"service": "body.service"},
                    "status": "'ok' if body.code == 0 else 'down'"}})
            )
        );
        serde_json::from_value::<SourceSettings>(Value::Object(given.clone())).expect("settings");
        let nothing = SettingsGiven::default();
        assert!(nothing.applied(&given, Unset::value_variants()).is_empty());
        assert_eq!(nothing.applied(&given, &[]), given);
    }

    #[test]
    fn what_is_not_named_stays() {
        let present =
            object(json!({"rate_tier": "small", "default_team": "sre", "max_body_bytes": 5}));
        let change = SettingsGiven {
            rate_tier: Some("large".to_owned()),
            ..SettingsGiven::default()
        };
        assert_eq!(
            change.applied(&present, &[Unset::MaxBody]),
            object(json!({"rate_tier": "large", "default_team": "sre"}))
        );
    }

    #[test]
    fn a_pick_without_a_field_is_refused() {
        assert!(picked("body.title").is_err());
    }

    #[test]
    fn a_scheme_is_a_word_or_json() {
        assert_eq!(scheme("basic"), Ok(Scheme::Basic));
        let alias = scheme(r#"{"type": "hmac", "header": "X-Incident-Signature"}"#);
        assert!(matches!(alias, Ok(Scheme::Hmac(hmac)) if hmac.header == "X-Incident-Signature"));
        for bad in ["hmac", "{}", r#"{"type": "hmac"}"#] {
            assert!(scheme(bad).is_err(), "{bad}");
        }
    }
}
