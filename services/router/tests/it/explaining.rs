//! `svc.router.explain`.

use serde_json::json;
use tocsin_bus::AskError;
use tocsin_wire::Service;

use crate::stage::{PAY, Stage};

#[tokio::test]
async fn a_question_is_answered_and_changes_nothing() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let ask = async |question| stage.eye.ask(Service::Router, "explain", &question).await;
    let whose = json!({"identifiers": {"slack_channel_id": "C1", "slack_workspace_id": ["T1"]}});
    let answer = ask(whose).await.expect("answered");
    assert_eq!(answer["owner"], json!({"org": "acme", "team": "pay"}));
    assert_eq!(answer["matched_by"], json!("slack_channel_id"));
    assert_eq!(answer["index"], json!({"identifiers": 2, "teams": 1}));
    let event = json!({
        "provider": "slack", "kind": "app_mention", "text": "why?", "actor": {"id": "U1"},
        "identifiers": {"slack_channel_id": "C1"},
        "conversation": {"channel": "C1", "thread": "1.1", "message": "1.1"},
    });
    let answer = ask(event).await.expect("answered");
    assert_eq!(answer["action"], json!("run"));
    let thread = json!([{"slack": {"channel": "C1", "thread": "1.1", "user": "U1"}}]);
    assert_eq!(answer["run"]["destinations"], thread);
    stage
        .claim("slack_channel_id", "C2", &[PAY, "globex.web"])
        .await;
    let shared = json!({"identifiers": {"slack_channel_id": "C2"}});
    let answer = stage.explained(shared, "ambiguous", json!(true)).await;
    let both = json!([{"org": "acme", "team": "pay"}, {"org": "globex", "team": "web"}]);
    assert_eq!(answer["claimed_by"], both);
    assert!(
        !answer["reasons"].to_string().contains("globex"),
        "{answer}"
    );
    for bad in [
        json!(null),
        json!({"identifier": {}}),
        json!({"identifiers": 5}),
    ] {
        let refused = ask(bad.clone()).await;
        assert!(
            matches!(refused, Err(AskError::Refused { code: 400, .. })),
            "{bad}: {refused:?}"
        );
    }
    assert!(stage.work("acme.pay").await.is_empty());
    router.stop().await;
}
