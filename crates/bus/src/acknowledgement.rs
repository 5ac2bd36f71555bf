//! What a stream answers to a publish.
//!
//! Read here and not by the client, which keeps a copy of each to try one form after the other.

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;

use crate::publish::{PublishError, Published};

/// The broker's code for a publish whose expectation hangs on another one that is not stored yet.
const SEQUENCE_IN_FLIGHT: ErrorCode = ErrorCode(10164);

/// The broker's code for a last message with another id than the expected one.
const WRONG_ID: ErrorCode = ErrorCode(10070);

/// The broker's code for a stream or a subject without room; the text tells which.
const FULL: ErrorCode = ErrorCode(10077);

/// Either has its part.
#[derive(Deserialize)]
struct Acknowledgement {
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<jetstream::Error>,
}

/// The answer to a publish on `subject`.
pub(crate) fn read(subject: &str, answer: &[u8]) -> Result<Published, PublishError> {
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| PublishError::Refused {
        subject: subject.to_owned(),
        source,
    };
    let answer: Acknowledgement =
        serde_json::from_slice(answer).map_err(|error| unreadable(Box::new(error)))?;
    match answer {
        Acknowledgement {
            error: Some(error), ..
        } => Err(refused(subject.to_owned(), error)),
        Acknowledgement {
            seq: Some(sequence),
            duplicate,
            ..
        } => Ok(Published {
            sequence,
            duplicate,
        }),
        _ => Err(unreadable(
            "the acknowledgement has neither a sequence nor an error".into(),
        )),
    }
}

/// What the server's own error means.
pub(crate) fn refused(subject: String, error: jetstream::Error) -> PublishError {
    match error.error_code() {
        FULL if error.to_string().contains("per subject") => PublishError::SubjectFull { subject },
        FULL => PublishError::StreamFull { subject },
        SEQUENCE_IN_FLIGHT | WRONG_ID | ErrorCode::STREAM_WRONG_LAST_SEQUENCE => {
            PublishError::WrongSequence { subject }
        }
        _ => PublishError::Refused {
            subject,
            source: Box::new(error),
        },
    }
}

/// Why there is no answer.
pub(crate) fn unanswered(subject: String, error: RequestError) -> PublishError {
    match error.kind() {
        RequestErrorKind::TimedOut => PublishError::TimedOut { subject },
        // No responders: the stream has no leader, or is not there at all.
        RequestErrorKind::NoResponders | RequestErrorKind::Other => PublishError::Unavailable {
            source: Some(Box::new(error)),
        },
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            PublishError::Refused {
                subject,
                source: Box::new(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(answer: &str) -> String {
        match read("events.x", answer.as_bytes()) {
            Ok(published) => format!("{} {}", published.sequence, published.duplicate),
            Err(PublishError::SubjectFull { .. }) => "subject full".to_owned(),
            Err(PublishError::StreamFull { .. }) => "stream full".to_owned(),
            Err(PublishError::WrongSequence { .. }) => "wrong sequence".to_owned(),
            Err(PublishError::Refused { .. }) => "refused".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn every_answer_of_the_server_has_its_meaning() {
        let error = |code: u64, text: &str| {
            format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"EVENTS","seq":0}}"#
            )
        };
        for (answer, expected) in [
            (r#"{"stream":"EVENTS","seq":7}"#.to_owned(), "7 false"),
            (
                r#"{"stream":"EVENTS","domain":"hub","seq":7,"duplicate":true}"#.to_owned(),
                "7 true",
            ),
            (error(10077, "maximum messages exceeded"), "stream full"),
            (
                error(10077, "maximum messages per subject exceeded"),
                "subject full",
            ),
            (error(10071, "wrong last sequence: 3"), "wrong sequence"),
            (error(10070, "wrong last msg ID: a"), "wrong sequence"),
            (error(10164, "in flight"), "wrong sequence"),
            (error(10053, "consumer not found"), "refused"),
            (r#"{"stream":"EVENTS"}"#.to_owned(), "refused"),
            ("+OK".to_owned(), "refused"),
        ] {
            assert_eq!(outcome(&answer), expected, "{answer}");
        }
    }
}
