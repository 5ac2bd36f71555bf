//! The rules of sources, as tables.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use tocsin_wire::source::{PROVIDERS, SecretForm, SourceProvider, SourceSettings};
use tocsin_wire::{OrgId, SecretName, Token};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn known(name: &str) -> &'static SourceProvider {
    provider(name).expect("known")
}

fn secret(number: u32, not_before: Option<i64>, expires: Option<i64>) -> SourceSecret {
    SourceSecret {
        number,
        version: 1,
        not_before: not_before.map(at),
        expires: expires.map(at),
        created_at: at(0),
        created_by: "x".to_owned(),
    }
}

fn with(secrets: Vec<SourceSecret>) -> Source {
    Source {
        id: SourceId::from_random(&[7; ID_BYTES]),
        org: OrgId::new("acme").expect("id"),
        provider: "github".to_owned(),
        name: "web".to_owned(),
        disabled: false,
        settings: SourceSettings::default(),
        last_secret: secrets
            .iter()
            .map(|secret| secret.number)
            .max()
            .unwrap_or(1),
        secrets,
        version: 1,
        created_at: at(0),
        created_by: "x".to_owned(),
        updated_at: at(0),
        updated_by: "x".to_owned(),
    }
}

fn rotation(not_before: Option<i64>, expires: Option<i64>, old: u32) -> Rotation {
    Rotation {
        not_before: not_before.map(at),
        expires: expires.map(at),
        old_expires_in_seconds: old,
    }
}

proptest! {
    #[test]
    fn ids_are_subject_tokens_and_own_their_secrets(bytes: [u8; ID_BYTES], number in 1_u32..) {
        let id = SourceId::from_random(&bytes);
        prop_assert!(Token::new(id.as_str()).is_ok());
        prop_assert_eq!(SourceId::parse(id.as_str()), Some(id.clone()));
        let name = id.secret_name(number).expect("a name");
        prop_assert_eq!(SourceId::owning(&name), Some(id));
    }

    /// Whoever rotates in time is never without a secret, and no secret ever lives longer than it did.
    #[test]
    fn a_rotation_leaves_no_gap_and_prolongs_nothing(
        expires in proptest::option::of(101_i64..1_000),
        not_before in proptest::option::of(0_i64..1_000),
        old in 0_u32..1_000,
    ) {
        let source = with(vec![secret(1, None, expires)]);
        let rotated = source.rotated(&rotation(not_before, None, old), at(100)).expect("allowed");
        let kept = &rotated.kept[0];
        let begins = not_before.unwrap_or(100).max(100);
        prop_assert_eq!(rotated.number, 2);
        let end = kept.expires.expect("it ends");
        prop_assert!(expires.is_none_or(|before| end <= at(before)));
        prop_assert!(end == at(begins) + SignedDuration::from_secs(i64::from(old)) || Some(end) == expires.map(at));
    }
}

#[test]
fn only_names_that_sources_make_are_theirs() {
    for (name, expected) in [
        ("source-src_000000000000000000000000-1", true),
        ("source-src_000000000000000000000000-x", false),
        ("source-src_00000000000000000000000-1", false),
        ("source-src_00000000000000000000000g-1", false),
        ("source-code", false),
        ("slack", false),
    ] {
        let name = SecretName::new(name).expect("a name");
        assert_eq!(SourceId::owning(&name).is_some(), expected, "{name}");
    }
}

#[test]
fn a_secret_counts_from_one_time_to_another() {
    for (not_before, expires, expected) in [
        (None, None, SecretState::Live),
        (Some(100), Some(101), SecretState::Live),
        (Some(101), None, SecretState::Waiting),
        (None, Some(100), SecretState::Expired),
        (Some(50), Some(99), SecretState::Expired),
    ] {
        let state = secret(1, not_before, expires).state(at(100));
        assert_eq!(state, expected, "{not_before:?} {expires:?}");
    }
}

#[test]
fn a_rotation_removes_what_ended_and_leaves_what_waits() {
    let source = with(vec![
        secret(1, None, Some(50)),
        secret(2, None, None),
        secret(3, Some(500), None),
    ]);
    let rotated = source
        .rotated(&rotation(None, None, 60), at(100))
        .expect("allowed");
    assert_eq!((rotated.number, rotated.removed), (4, vec![1]));
    let ends: Vec<_> = rotated.kept.iter().map(|secret| secret.expires).collect();
    assert_eq!(ends, [Some(at(160)), None]);

    for (rotation, expected) in [
        (rotation(None, Some(100), 0), "expires"),
        (rotation(Some(300), Some(300), 0), "expires"),
        (rotation(None, None, u32::MAX), "old_expires_in_seconds"),
    ] {
        match source.rotated(&rotation, at(100)) {
            Err(SourceRefusal::Field(fault)) => assert_eq!(fault.path, expected),
            other => panic!("{other:?}"),
        }
    }
    let full = with((1..=10).map(|number| secret(number, None, None)).collect());
    let refused = full.rotated(&rotation(None, None, 0), at(100));
    assert!(
        matches!(refused, Err(SourceRefusal::TooManySecrets { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_only_secret_that_counts_stays_unless_nothing_is_taken() {
    let source = with(vec![
        secret(1, None, Some(50)),
        secret(2, None, None),
        secret(3, Some(500), None),
    ]);
    let removable = |source: &Source, number| {
        source
            .may_remove(number, at(100))
            .map_err(|error| error.to_string())
    };
    for (number, expected) in [(1, true), (2, false), (3, true), (9, false)] {
        assert_eq!(removable(&source, number).is_ok(), expected, "{number}");
    }
    let disabled = Source {
        disabled: true,
        ..source.clone()
    };
    assert_eq!(removable(&disabled, 2), Ok(()));
    let mut two = source;
    two.secrets.push(secret(4, None, Some(101)));
    assert_eq!(removable(&two, 2), Ok(()));
}

#[test]
fn a_change_that_changes_nothing_is_no_version() {
    let author = Author {
        by: "somebody".to_owned(),
        at: at(9),
    };
    let source = with(vec![secret(1, None, None)]);
    let same = SourceChange {
        name: Some("web".to_owned()),
        disabled: Some(false),
        ..SourceChange::default()
    };
    assert_eq!(source.changed(&same, &author), source);
    let other = SourceChange {
        disabled: Some(true),
        ..SourceChange::default()
    };
    let changed = source.changed(&other, &author);
    assert_eq!((changed.version, changed.disabled), (2, true));
    assert_eq!(
        (changed.updated_by.as_str(), changed.updated_at),
        ("somebody", at(9))
    );
}

#[test]
fn names_are_for_people() {
    for (name, expected) in [
        ("production", true),
        ("Größe 7", true),
        (&"x".repeat(63), true),
        (&"x".repeat(64), false),
        ("", false),
        (" x", false),
        ("a\nb", false),
        ("a\u{0}b", false),
    ] {
        assert_eq!(check_name(name).is_ok(), expected, "{name:?}");
    }
    assert_eq!(
        provider("gopher").expect_err("unknown").code,
        "unknown_provider"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_setting_that_breaks_a_rule_has_its_code_and_its_path() {
    let hmac = |more: Value| {
        let mut scheme = json!({"type": "hmac", "header": "X-Signature"});
        let fields = scheme.as_object_mut().expect("object");
        fields.extend(more.as_object().expect("object").clone());
        json!({ "scheme": scheme })
    };
    let time = |header: &str| hmac(json!({"timestamp": {"header": header, "after": "."}}));
    for (provider, settings, expected) in [
        ("github", json!({}), None),
        ("github", json!({"max_body_bytes": 25 << 20}), None),
        (
            "pagerduty",
            json!({"max_body_bytes": 2 << 20}),
            Some(("invalid_max_body", "settings.max_body_bytes")),
        ),
        (
            "github",
            json!({"max_body_bytes": 26 << 20}),
            Some(("invalid_max_body", "settings.max_body_bytes")),
        ),
        (
            "github",
            json!({"max_body_bytes": 0}),
            Some(("invalid_max_body", "settings.max_body_bytes")),
        ),
        ("github", json!({"tolerance_seconds": 3600}), None),
        (
            "github",
            json!({"tolerance_seconds": 3601}),
            Some(("invalid_tolerance", "settings.tolerance_seconds")),
        ),
        (
            "github",
            json!({"tolerance_seconds": 0}),
            Some(("invalid_tolerance", "settings.tolerance_seconds")),
        ),
        (
            "github",
            json!({"tolerance_seconds": "hunter2"}),
            Some(("invalid_setting", "settings.tolerance_seconds")),
        ),
        (
            "github",
            json!({"password": "hunter2"}),
            Some(("unknown_setting", "settings")),
        ),
        (
            "github",
            json!({"allowed_addresses": ["192.0.2.0/24", "2001:db8::/32", "192.0.2.7"]}),
            None,
        ),
        (
            "github",
            json!({"allowed_addresses": ["192.0.2.0/24", "192.0.2.0/33"]}),
            Some(("invalid_address_range", "settings.allowed_addresses.1")),
        ),
        (
            "github",
            json!({"allowed_addresses": ["10.0.0.0/8,0.0.0.0/0"]}),
            Some(("invalid_address_range", "settings.allowed_addresses.0")),
        ),
        (
            "github",
            json!({"allowed_addresses": [""]}),
            Some(("invalid_address_range", "settings.allowed_addresses.0")),
        ),
        (
            "github",
            json!({"allowed_addresses": vec!["192.0.2.7"; 65]}),
            Some(("too_many_address_ranges", "settings.allowed_addresses")),
        ),
        ("github", json!({"only_kinds": ["workflow_run"]}), None),
        (
            "github",
            json!({"only_kinds": ["ok", "Workflow Run"]}),
            Some(("invalid_kind", "settings.only_kinds.1")),
        ),
        (
            "github",
            json!({"only_kinds": vec!["a"; 101]}),
            Some(("too_many_kinds", "settings.only_kinds")),
        ),
        ("github", json!({"rate_tier": "small"}), None),
        (
            "github",
            json!({"rate_tier": "huge"}),
            Some(("unknown_rate_tier", "settings.rate_tier")),
        ),
        ("github", json!({"default_team": "sre"}), None),
        ("generic", json!({"pick": {}}), None),
        (
            "generic",
            json!({"pick": {"title": "body.a ~ body['b'][0]", "severity": "'high' if body.c else 'low'",
                "identifiers": {"service": "body.service"}}}),
            None,
        ),
        (
            "grafana",
            json!({"pick": {"title": "body.a"}}),
            Some(("pick_not_supported", "settings.pick")),
        ),
        (
            "generic",
            json!({"pick": "hunter2"}),
            Some(("invalid_setting", "settings.pick")),
        ),
        (
            "generic",
            json!({"pick": {"hunter2": "body.a"}}),
            Some(("invalid_setting", "settings.pick")),
        ),
        (
            "generic",
            json!({"pick": {"title": ["hunter2"]}}),
            Some(("invalid_setting", "settings.pick")),
        ),
        (
            "generic",
            json!({"pick": {"identifiers": {"org_id": "body.org"}}}),
            Some(("unknown_identifier", "settings.pick.identifiers.org_id")),
        ),
        (
            "generic",
            json!({"pick": {"title": "body.a", "text": "body."}}),
            Some(("invalid_expression", "settings.pick.text")),
        ),
        (
            "generic",
            json!({"pick": {"identifiers": {"service": "labels.service"}}}),
            Some(("invalid_expression", "settings.pick.identifiers.service")),
        ),
        (
            "generic",
            json!({"pick": {"title": format!("'{}'", "x".repeat(2_000)), "text": format!("'{}'", "x".repeat(2_100))}}),
            Some(("pick_too_long", "settings.pick")),
        ),
        (
            "github",
            json!({"default_team": "S R E"}),
            Some(("unknown_default_team", "settings.default_team")),
        ),
        ("incidentio", hmac(json!({})), None),
        ("github", json!({"scheme": {"type": "bearer"}}), None),
        (
            "github",
            json!({"scheme": {"type": "none"}}),
            Some(("invalid_setting", "settings.scheme")),
        ),
        (
            "github",
            json!({"scheme": {"type": "bearer", "header": "X-Key"}}),
            Some(("invalid_setting", "settings.scheme")),
        ),
        (
            "github",
            json!({"scheme": {"type": "token", "header": "X Token"}}),
            Some(("invalid_header_name", "settings.scheme.header")),
        ),
        (
            "github",
            hmac(json!({"prefix": "a\nb"})),
            Some(("invalid_scheme_text", "settings.scheme.prefix")),
        ),
        ("github", hmac(json!({"separator": ","})), None),
        (
            "github",
            hmac(json!({"separator": "a"})),
            Some(("invalid_separator", "settings.scheme.separator")),
        ),
        ("github", time("X-Time"), None),
        (
            "github",
            time("x-signature"),
            Some(("invalid_header_name", "settings.scheme.timestamp.header")),
        ),
    ] {
        let given = settings.as_object().expect("object");
        let checked =
            read_settings(given).and_then(|settings| check_settings(known(provider), &settings));
        let fault = checked.err();
        assert!(
            fault
                .as_ref()
                .is_none_or(|fault| !fault.to_string().contains("hunter2")),
            "it repeats what was sent: {fault:?}"
        );
        let found = fault
            .as_ref()
            .map(|fault| (fault.code, fault.path.as_str()));
        assert_eq!(found, expected, "{provider} {settings}");
    }
}

#[test]
fn a_fault_of_an_expression_says_where_it_is_and_what_was_meant() {
    for (pick, expected) in [
        (
            json!({"title": "body.a and bdoy.b"}),
            "settings.pick.title: must be an expression over body: column 12: there is no value bdoy; did you mean body?",
        ),
        (
            json!({"identifiers": {"sevice": "body.a"}}),
            "settings.pick.identifiers.sevice: is no type of identifier that routes; did you mean service?",
        ),
    ] {
        let given = json!({ "pick": pick });
        let settings = read_settings(given.as_object().expect("object")).expect("reads");
        let fault = check_settings(known("generic"), &settings).expect_err("refused");
        assert_eq!(fault.to_string(), expected);
    }
}

#[test]
fn what_is_generated_fits_and_what_does_not_fit_is_refused() {
    let schemes = [
        json!({}),
        json!({"scheme": {"type": "standard_webhooks"}}),
        json!({"scheme": {"type": "basic"}}),
        json!({"scheme": {"type": "hmac", "header": "X-Incident-Signature"}}),
    ];
    for kind in PROVIDERS {
        for settings in &schemes {
            let settings = read_settings(settings.as_object().expect("object")).expect("reads");
            let secret = generated_secret(kind, &settings, &[9; 32]);
            if settings.scheme.is_none() && kind.secret == SecretForm::TopicArn {
                // Only AWS makes topics.
                assert_eq!(secret.expect_err("none").code, "invalid_secret");
                continue;
            }
            let secret = secret.expect("one that fits");
            assert_eq!(
                check_secret(kind, &settings, &secret),
                Ok(()),
                "{}",
                kind.name
            );
            let is_standard = secret.starts_with("whsec_");
            let named = settings.scheme.is_none() && kind.secret == SecretForm::StandardWebhooks;
            assert_eq!(
                is_standard,
                named || settings.scheme == Some(tocsin_wire::scheme::Scheme::StandardWebhooks)
            );
        }
    }
    let standard = SourceSettings::default();
    let basic = read_settings(schemes[2].as_object().expect("object")).expect("reads");
    let key = "whpk_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
    for (provider, settings, secret, expected) in [
        ("github", &standard, "x", true),
        ("github", &standard, "", false),
        ("github", &standard, "x\n", false),
        ("github", &standard, &"x".repeat(65_537), false),
        ("incidentio", &standard, "whsec_aGVsbG8", true),
        ("incidentio", &standard, "aGVsbG8=", true),
        ("incidentio", &standard, "whsec_", false),
        ("incidentio", &standard, "whsec_{}", false),
        ("incidentio", &standard, key, true),
        ("incidentio", &standard, "whpk_CQk=", false),
        ("github", &basic, "user:password", true),
        ("github", &basic, "password", false),
        ("sns", &standard, "arn:aws:sns:eu-west-1:1:alarms", true),
        ("sns", &standard, "arn:aws-cn:sns:cn-north-1:1:a.fifo", true),
        ("sns", &standard, "arn:aws:sqs:eu-west-1:1:alarms", false),
        ("sns", &standard, "arn:aws:sns:eu-west-1:1:", false),
        ("sns", &standard, "arn:aws:sns:eu-west-1:1:alarms:id", false),
        ("sns", &standard, "secret", false),
    ] {
        let checked = check_secret(known(provider), settings, secret);
        assert_eq!(checked.is_ok(), expected, "{provider} {secret:.20}");
    }
}
