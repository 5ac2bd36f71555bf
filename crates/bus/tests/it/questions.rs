//! Questions between rooms.

use serde_json::json;
use tocsin_bus::{Answer, AskError};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::Service;
use tokio_util::sync::CancellationToken;

use crate::samples::LIMIT;

#[tokio::test]
async fn an_answer_a_refusal_and_silence() {
    let test = TestBus::start().await.expect("bus");
    let audit = test.connect(Service::Audit).await.expect("connects");
    let operator = test.connect(Service::Operator).await.expect("connects");
    let nobody = operator.ask(Service::Audit, "life", &json!({})).await;
    assert!(
        matches!(nobody, Err(AskError::Unreachable { .. })),
        "{nobody:?}"
    );

    let stop = CancellationToken::new();
    let serving = {
        let (audit, stop) = (audit.clone(), stop.clone());
        tokio::spawn(async move {
            let handler = |question: serde_json::Value| async move {
                match question["id"].as_str() {
                    Some(id) => Ok(json!({ "event": id })),
                    None => Err(Answer {
                        code: 400,
                        detail: "id is missing".to_owned(),
                    }),
                }
            };
            audit
                .serve("life", stop.cancelled(), handler)
                .await
                .expect("serves");
        })
    };
    let answer = eventually("an answer", LIMIT, || async {
        operator
            .ask(Service::Audit, "life", &json!({ "id": "e1" }))
            .await
    })
    .await;
    assert_eq!(answer, json!({ "event": "e1" }));
    let refused = operator.ask(Service::Audit, "life", &json!({})).await;
    assert!(
        matches!(&refused, Err(AskError::Refused { code: 400, detail, .. }) if detail == "id is missing"),
        "{refused:?}"
    );
    stop.cancel();
    serving.await.expect("stops");
}
