//! The language model: one turn asked, one whole answer back.
//!
//! [`Request`] and [`Answer`] belong to no vendor; [`openai`] maps them to Chat Completions. A turn is
//! atomic: nothing of it is used before all of it is there, so an answer that breaks off may be asked
//! for again.

mod client;
mod openai;
mod sse;

use serde_json::Value;
use tocsin_wire::proto::{ToolCall, Usage};

use crate::decide::Message;

pub use client::{ModelClient, ModelError, ModelTimeouts};
pub use openai::StreamError;

/// One turn.
#[derive(Debug, Clone)]
pub struct Request {
    pub model: String,
    pub messages: Vec<Message>,
    /// Empty: the model must answer.
    pub tools: Vec<ToolSpec>,
    /// Always sent: endpoints differ wildly in their default.
    pub max_tokens: u32,
    /// Of models that do not reason.
    pub temperature: Option<f64>,
    /// Of models that do: none, low, medium, high.
    pub reasoning: Option<String>,
    pub verbosity: Option<String>,
}

/// A tool as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of the arguments.
    pub schema: Value,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    /// Ids are present and unique.
    pub calls: Vec<ToolCall>,
    pub usage: Usage,
    pub finish_reason: String,
}
