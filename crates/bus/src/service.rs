//! Questions between rooms: NATS micro services, so that `nats micro ls` shows them.
//!
//! A question never changes state; what changes state is a command. Questions and answers are JSON,
//! so that an operator can ask with plain `nats req`; only users with the permission can.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::ServiceExt as _;
use async_nats::service::endpoint::Endpoint;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;
use tocsin_wire::Service;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::connect::Bus;
use crate::error::{BusError, Cause};

/// Questions answered at once per verb; more wait in the subscription.
const MAX_CONCURRENT_ANSWERS: usize = 32;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A refusal, as `Nats-Service-Error-Code` and `Nats-Service-Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in HTTP: 400, 404, 503.
    pub code: u16,
    /// A sentence.
    pub detail: String,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The other room refused.
    #[error("{service} answered {code}: {detail}")]
    Refused {
        /// Who.
        service: Service,
        /// As in HTTP.
        code: u16,
        /// Why.
        detail: String,
    },
    /// Nobody answered.
    #[error("{service} does not answer {verb}; is it running?")]
    Unreachable {
        /// Who.
        service: Service,
        /// What was asked.
        verb: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl Bus {
    /// Answers `svc.<service>.<verb>` until `stop` completes.
    pub async fn serve<H, F>(
        &self,
        verb: &'static str,
        stop: impl Future<Output = ()>,
        handler: H,
    ) -> Result<(), BusError>
    where
        H: Fn(Value) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Value, Answer>> + Send,
    {
        let mut endpoint = self.endpoint(verb).await?;
        let handler = Arc::new(handler);
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT_ANSWERS));
        let mut running = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let request = tokio::select! {
                () = &mut stop => break,
                request = endpoint.next() => request,
            };
            let Some(request) = request else { break };
            let Ok(permit) = Arc::clone(&slots).acquire_owned().await else {
                break;
            };
            while running.try_join_next().is_some() {}
            let handler = Arc::clone(&handler);
            running.spawn(async move {
                let answer = answer(handler.as_ref(), &request.message.payload).await;
                if let Err(error) = request.respond(answer).await {
                    tracing::debug!(verb, %error, "cannot answer a question");
                }
                drop(permit);
            });
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }

    async fn endpoint(&self, verb: &'static str) -> Result<Endpoint, BusError> {
        let service = self.service();
        let start = || {
            let metadata = [("instance".to_owned(), self.instance().to_owned())].into();
            self.inner
                .client
                .service_builder()
                .description(format!("Tocsin {service}"))
                .metadata(metadata)
                .start(format!("tocsin-{service}"), env!("CARGO_PKG_VERSION"))
        };
        let failed =
            |error: async_nats::Error| BusError::request(format!("answering {verb}"), error);
        let micro = self
            .inner
            .micro
            .get_or_try_init(start)
            .await
            .map_err(failed)?;
        micro
            .endpoint_builder()
            .name(verb)
            .add(format!("svc.{service}.{verb}"))
            .await
            .map_err(failed)
    }

    /// Asks another room. An empty payload counts as `null`.
    pub async fn ask(
        &self,
        service: Service,
        verb: &str,
        question: &Value,
    ) -> Result<Value, AskError> {
        let unreachable = |source: Cause| AskError::Unreachable {
            service,
            verb: verb.to_owned(),
            source,
        };
        let subject = format!("svc.{service}.{verb}");
        let payload = Bytes::from(question.to_string());
        let request = async_nats::Request::new()
            .payload(payload)
            .timeout(Some(ANSWER_TIMEOUT));
        let message = self
            .inner
            .client
            .send_request(subject, request)
            .await
            .map_err(|error| unreachable(Box::new(error)))?;
        // The client hands a refusal over as a success with an empty body.
        if let Some(headers) = &message.headers
            && let Some(code) = headers.get("Nats-Service-Error-Code")
        {
            let detail = headers
                .get("Nats-Service-Error")
                .map(|text| text.to_string());
            return Err(AskError::Refused {
                service,
                code: code.as_str().parse().unwrap_or(500),
                detail: detail.unwrap_or_default(),
            });
        }
        serde_json::from_slice(&message.payload).map_err(|error| unreachable(Box::new(error)))
    }
}

async fn answer<H, F>(
    handler: &H,
    payload: &Bytes,
) -> Result<Bytes, async_nats::service::error::Error>
where
    H: Fn(Value) -> F,
    F: Future<Output = Result<Value, Answer>>,
{
    let refuse = |code: u16, status: String| async_nats::service::error::Error {
        code: usize::from(code),
        // A header value holds no line feeds.
        status: status.replace(['\r', '\n'], " "),
    };
    let question = if payload.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(payload)
            .map_err(|error| refuse(400, format!("the question is not JSON: {error}")))?
    };
    match handler(question).await {
        Ok(value) => Ok(Bytes::from(value.to_string())),
        Err(Answer { code, detail }) => Err(refuse(code, detail)),
    }
}
