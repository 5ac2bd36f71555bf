//! `tocsin decode`: any message of ours as JSON, without knowing its type beforehand.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use tocsin_wire::proto::{DESCRIPTORS, SignedEnvelope};

use crate::error::CommandError;

/// Largest message that is read; the bus refuses larger ones.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Bodies that are text are shown as text up to this size.
const SHOWN_TEXT: usize = 64 * 1024;

/// Stdin to stdout.
pub(crate) fn decode() -> Result<(), CommandError> {
    let files = |operation: &str| {
        let operation = operation.to_owned();
        move |source| CommandError::Files { operation, source }
    };
    let mut payload = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin
        .take(MAX_BYTES)
        .read_to_end(&mut payload)
        .map_err(files("read stdin"))?;
    let json = to_json(&payload)?;
    let mut stdout = std::io::stdout().lock();
    let text = format!("{json:#}\n");
    stdout
        .write_all(text.as_bytes())
        .map_err(files("write stdout"))
}

/// An envelope, a signed value of a bucket, or what is JSON already.
pub(crate) fn to_json(payload: &[u8]) -> Result<Value, CommandError> {
    if let Ok(json) = serde_json::from_slice::<Value>(payload) {
        return Ok(json);
    }
    if let Ok(signed) = SignedEnvelope::decode(payload)
        && !signed.envelope.is_empty()
    {
        let mut json = envelope(&signed.envelope)?;
        if let Some(object) = json.as_object_mut() {
            object.insert("signature".to_owned(), Value::String(signed.signature));
        }
        return Ok(json);
    }
    envelope(payload)
}

fn envelope(payload: &[u8]) -> Result<Value, CommandError> {
    let broken = |error: &dyn std::fmt::Display| {
        CommandError::Input(format!(
            "this is not a Tocsin message (tocsin.v1.Envelope, a bucket's value, or JSON): {error}"
        ))
    };
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| broken(&error))?;
    let descriptor = pool
        .get_message_by_name("tocsin.v1.Envelope")
        .ok_or_else(|| broken(&"tocsin.v1.Envelope is not in the descriptor set"))?;
    let message = DynamicMessage::decode(descriptor, payload).map_err(|error| broken(&error))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut json = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| broken(&error))?;
    show_bytes(&mut json);
    Ok(json)
}

/// Protobuf JSON writes bytes as base64; these fields mostly hold text that people want to read.
fn show_bytes(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_bytes = matches!(name.as_str(), "raw_body" | "payload" | "effective_config");
                match value {
                    Value::String(encoded) if is_bytes => {
                        if let Some(text) = readable(encoded) {
                            *value = text;
                        }
                    }
                    other => show_bytes(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(show_bytes),
        _ => {}
    }
}

fn readable(encoded: &str) -> Option<Value> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    if bytes.len() > SHOWN_TEXT {
        return None;
    }
    if let Ok(json) = serde_json::from_slice(&bytes) {
        return Some(json);
    }
    if let Ok(inner) = envelope(&bytes) {
        return Some(inner);
    }
    String::from_utf8(bytes).ok().map(Value::String)
}

#[cfg(test)]
mod tests {
    use tocsin_wire::ids::EventId;
    use tocsin_wire::proto::envelope::Body;
    use tocsin_wire::proto::{Envelope, Event};
    use tocsin_wire::{Service, SigningKey, Subject};

    use super::*;

    fn sample() -> Envelope {
        let id = EventId::derive("x");
        let event = Event {
            provider: "github".to_owned(),
            raw_body: br#"{"action":"opened"}"#.as_slice().into(),
            ..Event::default()
        };
        let at = jiff::Timestamp::UNIX_EPOCH;
        Envelope::new(id.into(), Service::Ingress, at, id, None, Body::from(event))
    }

    #[test]
    fn an_envelope_reads_well() {
        let json = to_json(&sample().encode_to_vec()).expect("decodes");
        assert_eq!(json["source"], "tocsin/ingress");
        assert_eq!(json["time"], "1970-01-01T00:00:00Z");
        assert_eq!(json["event"]["raw_body"]["action"], "opened");
    }

    #[test]
    fn a_value_of_a_bucket_shows_its_signature() {
        let key = SigningKey::from_seed(Service::Ingress, [1; 32]);
        let subject = Subject::KeyValue {
            bucket: "seen".to_owned(),
            key: "a".to_owned(),
        };
        let value = tocsin_wire::message::seal_value(&sample(), &subject, &key);
        let json = to_json(&value).expect("decodes");
        assert_eq!(json["event"]["provider"], "github");
        assert!(
            json["signature"]
                .as_str()
                .is_some_and(|text| text.starts_with("v1;k="))
        );
    }

    #[test]
    fn json_passes_and_noise_is_refused() {
        assert_eq!(
            to_json(b"{\"stream\":\"EVENTS\"}").expect("JSON")["stream"],
            "EVENTS"
        );
        let error = to_json(&[0xff, 0xff, 0xff]).expect_err("noise");
        assert!(
            error.to_string().contains("not a Tocsin message"),
            "{error}"
        );
    }
}
