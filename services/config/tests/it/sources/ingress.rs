//! What only ingress knows of sources.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use tocsin_bus::{Answer as Refused, Bus};
use tocsin_testkit::eventually;
use tocsin_wire::Service as Room;
use tokio_util::sync::CancellationToken;

use super::{SOURCES, call, create};
use crate::stage::{LIMIT, Servers, Service};

/// An ingress that has seen every source once, with its first secret at noon; it keeps what it is asked.
pub(crate) struct StandIn {
    asked: Arc<Mutex<Vec<Value>>>,
    stop: CancellationToken,
}

impl StandIn {
    pub(crate) async fn start(servers: &Servers) -> Self {
        let bus: Bus = servers.bus.connect(Room::Ingress).await.expect("connects");
        let (asked, stop) = (
            Arc::<Mutex<Vec<Value>>>::default(),
            CancellationToken::new(),
        );
        let (health, stopped) = (bus.clone(), stop.clone());
        tokio::spawn(async move {
            let answer = |question: Value| async move {
                let ids = question["sources"].as_array().expect("ids").clone();
                let seen = ids.iter().map(|id| {
                    let id = id.as_str().expect("an id").to_owned();
                    let figures = json!({"accepted": 7, "last_accepted": 1_772_366_400,
                        "secret_last_used": {"1": 1_772_366_400}});
                    (id, figures)
                });
                Ok(Value::Object(seen.collect()))
            };
            let serving = health.serve("source_health", stopped.cancelled(), answer);
            serving.await.expect("serves");
        });
        let (kept, stopped) = (Arc::clone(&asked), stop.clone());
        tokio::spawn(async move {
            let answer = move |question: Value| {
                kept.lock().expect("not poisoned").push(question.clone());
                async move {
                    match question["body_base64"].as_str() {
                        Some("bm8=") => Err(Refused {
                            code: 422,
                            detail: "that is nothing".to_owned(),
                        }),
                        Some("YnJva2Vu") => Err(Refused {
                            code: 500,
                            detail: "broken".to_owned(),
                        }),
                        _ => Ok(json!({"verdict": "wrong_secret"})),
                    }
                }
            };
            let serving = bus.serve("source_test", stopped.cancelled(), answer);
            serving.await.expect("serves");
        });
        Self { asked, stop }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn ingress_says_how_sources_do_and_what_is_wrong_with_them() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let none = call(&service, Method::GET, &format!("{SOURCES}/health"), None).await;
    assert_eq!(none.body, json!([]), "without sources, nobody is asked");
    let (id, _) = create(&service, json!({"provider": "github", "name": "web"})).await;
    let path = format!("{SOURCES}/{id}");
    for (method, path) in [
        (Method::GET, format!("{path}/health")),
        (Method::GET, format!("{SOURCES}/health")),
        (Method::POST, format!("{path}/test")),
    ] {
        let silent = call(&service, method, &path, None).await;
        assert_eq!(silent.problem(), (503, "ingress_unavailable"), "{path}");
        assert!(silent.headers.contains_key("retry-after"));
    }

    let ingress = StandIn::start(&servers).await;
    let shown = eventually("ingress to answer", LIMIT, || async {
        let shown = call(&service, Method::GET, &path, None).await.body;
        (shown["usage_known"] == true).then_some(shown)
    })
    .await;
    assert_eq!(shown["secrets"][0]["last_used"], "2026-03-01T12:00:00Z");
    for (path, pointer) in [
        (format!("{path}/health"), ""),
        (format!("{SOURCES}/health"), "/0"),
    ] {
        let health = call(&service, Method::GET, &path, None).await.body;
        let health = health.pointer(pointer).expect("one");
        assert_eq!(
            (&health["id"], &health["name"]),
            (&json!(id), &json!("web"))
        );
        assert_eq!(health["figures"]["accepted"], 7);
        assert_eq!(health["figures"]["unavailable"], 0);
    }

    let test = format!("{path}/test");
    let captured = json!({"headers": {"X-Hub-Signature-256": "sha256=00"}, "body_base64": "e30="});
    let answer = eventually("ingress to answer", LIMIT, || async {
        let answer = call(&service, Method::POST, &test, Some(captured.clone())).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(answer, json!({"verdict": "wrong_secret"}));
    call(&service, Method::POST, &test, None).await;
    let asked = ingress.asked.lock().expect("not poisoned").clone();
    let mut whole = captured;
    whole["source"] = json!(id);
    assert_eq!(asked, [whole, json!({"source": id})]);
    for (body, expected) in [
        ("bm8=", (422, "ingress_refused")),
        ("YnJva2Vu", (503, "ingress_unavailable")),
    ] {
        let refused = call(
            &service,
            Method::POST,
            &test,
            Some(json!({"body_base64": body})),
        )
        .await;
        assert_eq!(refused.problem(), expected);
    }
    service.stop().await;
}
