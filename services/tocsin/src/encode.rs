//! `tocsin encode`: the inverse of `tocsin decode`, for messages made by hand.

use std::io::{Read as _, Write as _};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tocsin_wire::proto::DESCRIPTORS;

use crate::error::CommandError;

/// Longest JSON that is read; the bus refuses messages of a megabyte.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Stdin to stdout.
pub(crate) fn encode() -> Result<(), CommandError> {
    let files = |operation: &str| {
        let operation = operation.to_owned();
        move |source| CommandError::Files { operation, source }
    };
    let mut json = String::new();
    let stdin = std::io::stdin().lock();
    stdin
        .take(MAX_BYTES)
        .read_to_string(&mut json)
        .map_err(files("read stdin"))?;
    let message = to_message(&json)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&message).map_err(files("write stdout"))
}

/// An encoded envelope; unknown fields are refused, for they would be lost.
fn to_message(json: &str) -> Result<Vec<u8>, CommandError> {
    let broken = |error: &dyn std::fmt::Display| {
        CommandError::Input(format!("this is no tocsin.v1.Envelope as JSON: {error}"))
    };
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| broken(&error))?;
    let descriptor = pool
        .get_message_by_name("tocsin.v1.Envelope")
        .ok_or_else(|| broken(&"it is not in the descriptor set"))?;
    let mut reader = serde_json::Deserializer::from_str(json);
    let message =
        DynamicMessage::deserialize(descriptor, &mut reader).map_err(|error| broken(&error))?;
    reader.end().map_err(|error| broken(&error))?;
    Ok(message.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::to_json;

    #[test]
    fn encoding_undoes_decoding_and_refuses_what_it_does_not_know() {
        let json = r#"{"id": "6f0d4d5b-9c0e-4b1a-8000-000000000000", "source": "tocsin/operator",
            "time": "2026-01-31T12:00:00Z", "correlation_id": "6f0d4d5b-9c0e-4b1a-8000-000000000000",
            "command": {"replay": {"request_id": "6f0d4d5b-9c0e-4b1a-8000-000000000000", "target": "REPLAY_TARGET_SANDBOX",
                "events": [{"event_id": "e", "stream_sequence": "7"}], "requested_by": "ann"}}}"#;
        let message = to_message(json).expect("encoded");
        let back = to_json(&message).expect("decoded");
        let written: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(back, written);
        for (wrong, says) in [
            (r#"{"identity": 1}"#, "identity"),
            (r#"{"id": "x"} more"#, "trailing"),
            ("", "EOF"),
        ] {
            let error = to_message(wrong).expect_err(wrong).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
