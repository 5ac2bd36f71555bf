//! Questions of the operator over NATS: `svc.config.effective` and `svc.config.lookup`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tocsin_bus::{Answer, Bus};
use tocsin_kit::{Context, Problem};

use crate::Error;
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::http::App;
use crate::lookup::{self, Question};
use crate::node;

/// Answers until the context stops.
pub(crate) fn spawn(bus: &Bus, app: &Arc<App>, context: &Context) {
    let (serving, shared, stop) = (bus.clone(), Arc::clone(app), context.stop.clone());
    context.tasks.spawn("answer effective", async move {
        let handler = move |question| effective(Arc::clone(&shared), question);
        let serving = serving.serve("effective", stop.soft(), handler);
        serving.await.map_err(Error::Bus)
    });
    let (serving, shared, stop) = (bus.clone(), Arc::clone(app), context.stop.clone());
    context.tasks.spawn("answer lookup", async move {
        let handler = move |question| lookup(Arc::clone(&shared), question);
        let serving = serving.serve("lookup", stop.soft(), handler);
        serving.await.map_err(Error::Bus)
    });
}

#[derive(Debug, Deserialize)]
struct Team {
    org: String,
    team: String,
}

/// `{"org", "team"}` → the bare effective config; any node will do.
async fn effective(app: Arc<App>, question: Value) -> Result<Value, Answer> {
    let question: Team = parse(question)?;
    let read = async {
        let org = node::org_id(&question.org).map_err(Refusal::from)?;
        let node = node::node_id(&question.team).map_err(Refusal::from)?;
        app.database.lineage(&org, &node).await
    };
    let line = read.await.map_err(refused)?;
    Ok(Value::Object(line.effective(&app.defaults)))
}

/// `{"org_id"?, "identifiers": {…}}` → as the HTTP lookup answers.
async fn lookup(app: Arc<App>, question: Value) -> Result<Value, Answer> {
    let question: Question = parse(question)?;
    let reply = lookup::answer(&app.database, &question).await;
    serde_json::to_value(reply.map_err(refused)?).map_err(|source| {
        refused(OperationError::Encode {
            what: "a lookup's answer",
            source,
        })
    })
}

fn parse<T: for<'a> Deserialize<'a>>(question: Value) -> Result<T, Answer> {
    serde_json::from_value(question).map_err(|error| Answer {
        code: 400,
        detail: format!("the question does not have the expected shape: {error}"),
    })
}

/// The same words as over HTTP.
fn refused(error: OperationError) -> Answer {
    let problem = Problem::from(error);
    Answer {
        code: problem.status.as_u16(),
        detail: problem.detail.into_owned(),
    }
}
