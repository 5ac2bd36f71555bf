//! What ingress knows of sources, asked over the bus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tocsin_bus::{AskError, Bus};
use tocsin_wire::Service;
use tocsin_wire::source::SourceFigures;

use crate::source::SourceId;

/// Longest wait where the answer only adds to what config knows itself.
const GLANCE: Duration = Duration::from_secs(2);

/// Why ingress did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngressError {
    /// The bus has never been there since the start.
    #[error("config is not connected to NATS yet")]
    NoBus,
    /// Nobody answered, or it refused.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It answered too late to be of use.
    #[error("ingress did not answer within {} s", GLANCE.as_secs())]
    Slow,
    /// It answered something else.
    #[error("ingress's answer is not understood")]
    Answer(#[source] serde_json::Error),
}

/// The way to ingress; there is none until the bus is joined.
#[derive(Default)]
pub(crate) struct Ingress(OnceLock<Bus>);

impl fmt::Debug for Ingress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_joined = self.0.get().is_some();
        formatter.debug_tuple("Ingress").field(&is_joined).finish()
    }
}

impl Ingress {
    /// The bus is there.
    pub(crate) fn ask_over(&self, bus: Bus) {
        self.0.get_or_init(|| bus);
    }

    async fn ask(&self, verb: &str, question: &Value) -> Result<Value, IngressError> {
        let bus = self.0.get().ok_or(IngressError::NoBus)?;
        Ok(bus.ask(Service::Ingress, verb, question).await?)
    }

    /// What every ingress together saw of these sources; one that none has seen is left out.
    pub(crate) async fn health(
        &self,
        ids: &[&SourceId],
    ) -> Result<BTreeMap<String, SourceFigures>, IngressError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.ask("source_health", &json!({"sources": ids})).await?;
        serde_json::from_value(answer).map_err(IngressError::Answer)
    }

    /// The same for a look in passing: nobody waits long for it.
    pub(crate) async fn glance(
        &self,
        ids: &[&SourceId],
    ) -> Result<BTreeMap<String, SourceFigures>, IngressError> {
        let answer = tokio::time::timeout(GLANCE, self.health(ids)).await;
        answer.map_err(|_elapsed| IngressError::Slow)?
    }

    /// Whether a delivery would be taken, and why not. `captured` is a request as it was captured.
    pub(crate) async fn test(
        &self,
        id: &SourceId,
        captured: &Captured,
    ) -> Result<Value, IngressError> {
        let mut question = json!({"source": id});
        if let Some(fields) = question.as_object_mut() {
            if let Some(headers) = &captured.headers {
                fields.insert("headers".to_owned(), json!(headers));
            }
            if let Some(body) = &captured.body_base64 {
                fields.insert("body_base64".to_owned(), json!(body));
            }
            if let Some(at) = &captured.received_at {
                fields.insert("received_at".to_owned(), json!(at));
            }
        }
        self.ask("source_test", &question).await
    }
}

/// A request as a sender sent it.
#[derive(Default)]
pub(crate) struct Captured {
    pub(crate) headers: Option<BTreeMap<String, String>>,
    pub(crate) body_base64: Option<String>,
    pub(crate) received_at: Option<Timestamp>,
}
