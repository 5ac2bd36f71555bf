use http::StatusCode;
use serde_json::json;
use tocsin_wire::catalogue::Catalogue;

use super::probe::Unready;
use super::*;

fn object(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

#[test]
fn the_shipped_schemas_are_whole() {
    let schemas = shipped().expect("parses");
    for id in [
        "slack",
        "github",
        "pagerduty",
        "incidentio",
        "openai",
        "prometheus",
        "kubernetes",
        "aws",
    ] {
        assert!(schemas.contains_key(id), "{id}");
    }
    let catalogue = Catalogue::shipped().expect("parses");
    for tool in catalogue.tools.values() {
        for needed in tool
            .required_integrations
            .iter()
            .chain(&tool.optional_integrations)
        {
            assert!(schemas.contains_key(needed), "{} needs {needed}", tool.id);
        }
    }
    for one in schemas.values() {
        let mut names: Vec<&str> = one.fields.iter().map(|field| field.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), one.fields.len(), "{}", one.id);
        // With every field set, the call can be made.
        let values = one.fields.iter().map(|field| {
            let value = match field.r#type {
                FieldType::Url => json!("https://vendor.example.com/"),
                _ => json!("x"),
            };
            (field.name.clone(), value)
        });
        match one.call(&values.collect()) {
            Ok(call) => assert!(
                url::Url::parse(&call.url).is_ok(),
                "{} {}",
                one.id,
                call.url
            ),
            Err(error) => assert!(matches!(error, Unready::NoProbe(_)), "{}: {error}", one.id),
        }
    }
}

#[test]
fn values_are_found_wherever_they_are_nested() {
    let config = object(json!({"integrations": {"slack": {
        "config": {"bot_token": "old", "app_id": "A0"}, "config_values": {"default_channel": "C1"}, "bot_token": "new",
    }, "odd": 1}}));
    assert_eq!(
        Value::Object(values(&config, "slack")),
        json!({"bot_token": "new", "app_id": "A0", "default_channel": "C1"})
    );
    for id in ["odd", "gone"] {
        assert!(values(&config, id).is_empty());
    }
}

#[test]
fn secrets_are_shown_as_being_set_and_no_more() {
    let slack = &shipped().expect("parses")["slack"];
    let shown = slack.shown(&object(json!({
        "bot_token": "xoxb-1", "signing_secret": "${secret:slack-signing}", "app_token": "",
        "app_id": "A0", "unheard_of": "xoxb-2", "on": true, "nested": {"deep": "xoxb-3"},
    })));
    assert_eq!(
        Value::Object(shown),
        json!({
            "bot_token": "***", "signing_secret": "${secret:slack-signing}", "app_token": null,
            "app_id": "A0", "unheard_of": "***", "on": true, "nested": "***",
        })
    );
    assert_eq!(slack.missing(&Config::new()), ["bot_token"]);
    assert_eq!(
        slack.missing(&object(json!({"bot_token": " "}))),
        ["bot_token"]
    );
    for (text, expected) in [
        ("${secret:a-b}", Some("a-b")),
        (" ${secret:a} ", Some("a")),
        ("${secret:}", None),
        ("${a}", None),
        ("xoxb", None),
    ] {
        assert_eq!(reference(&json!(text)), expected, "{text}");
    }
}

#[test]
fn values_are_checked_by_path() {
    let schemas = shipped().expect("parses");
    for (id, values, expected) in [
        ("slack", json!({"bot_token": "x", "app_id": null}), None),
        (
            "slack",
            json!({"token": "x"}),
            Some("integrations.slack.token is not known; it has bot_token,"),
        ),
        (
            "slack",
            json!({"bot_token": ""}),
            Some("integrations.slack.bot_token must be the secret itself"),
        ),
        (
            "slack",
            json!({"app_id": 7}),
            Some("integrations.slack.app_id must be a string"),
        ),
        ("prometheus", json!({"url": "https://p.example.com"}), None),
        (
            "prometheus",
            json!({"url": "p.example.com"}),
            Some("integrations.prometheus.url must be an address"),
        ),
        (
            "prometheus",
            json!({"url": "file:///etc/passwd"}),
            Some("integrations.prometheus.url must be an address"),
        ),
        (
            "prometheus",
            json!({"url": "https://u:p@p.example.com"}),
            Some("integrations.prometheus.url must be an address"),
        ),
        (
            "jira",
            json!({"email": "nobody"}),
            Some("integrations.jira.email must be an e-mail address"),
        ),
        ("coralogix", json!({"region": "eu1"}), None),
        (
            "coralogix",
            json!({"region": "mars"}),
            Some("integrations.coralogix.region must be one of eu1,"),
        ),
        (
            "kubernetes",
            json!({"namespaces": ["a", 1]}),
            Some("integrations.kubernetes.namespaces must be a list"),
        ),
    ] {
        let checked = schemas[id].check(&object(values.clone()));
        match expected {
            None => assert_eq!(checked, Ok(()), "{values}"),
            Some(start) => {
                let error = checked.expect_err("refused").to_string();
                assert!(error.starts_with(start), "{error}");
            }
        }
    }
}

#[test]
fn a_call_is_made_from_values_and_defaults() {
    let schemas = shipped().expect("parses");
    let header = |call: &probe::Call, name: &str| {
        let found = call
            .headers
            .iter()
            .find(|(known, _)| known.as_str() == name);
        found.map(|(_, value)| value.to_str().expect("text").to_owned())
    };
    let call = |id: &str, values: Value| schemas[id].call(&object(values));

    let slack = call("slack", json!({"bot_token": " xoxb-1 "})).expect("ready");
    assert_eq!(
        (slack.method.as_str(), slack.url.as_str()),
        ("POST", "https://slack.com/api/auth.test")
    );
    assert_eq!(
        header(&slack, "authorization").as_deref(),
        Some("Bearer xoxb-1")
    );
    let jira = call(
        "jira",
        json!({"url": "https://acme.example.com/", "email": "a@b", "api_token": "t"}),
    )
    .expect("ready");
    assert_eq!(jira.url, "https://acme.example.com/rest/api/3/myself");
    assert_eq!(
        header(&jira, "authorization").as_deref(),
        Some("Basic YUBiOnQ=")
    );
    // A default that names another field; a value that looks like one is taken as it is.
    let datadog = call(
        "datadog",
        json!({"api_key": "{app_key}", "app_key": "s", "site": "datadoghq.eu"}),
    )
    .expect("ready");
    assert_eq!(datadog.url, "https://api.datadoghq.eu/api/v1/validate");
    assert_eq!(header(&datadog, "dd-api-key").as_deref(), Some("{app_key}"));
    // Optional credentials are left out.
    let prometheus = call("prometheus", json!({"url": "http://p:9090"})).expect("ready");
    assert_eq!(
        (
            prometheus.url.as_str(),
            header(&prometheus, "authorization")
        ),
        ("http://p:9090/-/healthy", None)
    );

    let unready = |id: &str, values: Value| call(id, values).err().expect("unready").to_string();
    assert_eq!(
        unready("slack", json!({})),
        "set integrations.slack.bot_token first"
    );
    assert_eq!(
        unready("kubernetes", json!({})),
        "set integrations.kubernetes.api_url first"
    );
    assert!(unready("aws", json!({"region": "eu-central-1"})).starts_with("AWS has no test call"));
    assert!(
        unready("slack", json!({"bot_token": "a\nb"})).starts_with("authorization cannot stand")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn answers_are_judged_by_what_they_say() {
    let schemas = shipped().expect("parses");
    for (id, status, body, success, message) in [
        (
            "slack",
            200,
            json!({"ok": true, "team": "Acme"}),
            true,
            "Slack accepted the credentials",
        ),
        (
            "slack",
            200,
            json!({"ok": false, "error": "invalid_auth"}),
            false,
            "Slack answered 200: invalid_auth",
        ),
        (
            "slack",
            200,
            json!("<html>"),
            false,
            "Slack answered, but not as expected",
        ),
        (
            "github",
            401,
            json!({"message": "Bad credentials"}),
            false,
            "GitHub answered 401: Bad credentials",
        ),
        (
            "github",
            403,
            Value::Null,
            false,
            "GitHub refused the credentials (403)",
        ),
        (
            "prometheus",
            200,
            Value::Null,
            true,
            "Prometheus accepted the credentials",
        ),
        (
            "prometheus",
            503,
            Value::Null,
            false,
            "Prometheus answered 503",
        ),
        (
            "prometheus",
            302,
            Value::Null,
            false,
            "Prometheus answered 302",
        ),
        (
            "newrelic",
            200,
            json!({"errors": [{"message": "no"}]}),
            false,
            "New Relic answered 200: no",
        ),
    ] {
        let verdict = schemas[id].judge(StatusCode::from_u16(status).expect("status"), &body);
        assert_eq!(
            (verdict.success, verdict.message.as_str()),
            (success, message)
        );
        assert_eq!(verdict.details["status"], status);
    }
    let models = schemas["openai"].judge(StatusCode::OK, &json!({"data": [{}, {}]}));
    assert_eq!(models.details["models"], 2);
}
