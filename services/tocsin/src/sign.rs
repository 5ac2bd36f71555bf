//! `tocsin sign`: the headers for a message made by hand.

use std::fs;
use std::io::Read as _;

use prost::Message as _;
use tocsin_bus::BusSettings;
use tocsin_wire::proto::Envelope;
use tocsin_wire::{Service, SigningKey, Subject, message, streams};

use crate::cli::Sign;
use crate::error::CommandError;
use crate::run::print;

/// Largest payload that is read; the bus refuses larger ones.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Prints `Name: value` lines, ready for `nats pub -H`.
pub(crate) fn sign(command: &Sign) -> Result<(), CommandError> {
    let subject: Subject = command
        .subject
        .parse()
        .map_err(|error: tocsin_wire::SubjectError| CommandError::Input(error.to_string()))?;
    if !streams::may_write(command.service, &subject.consumed_on().to_string()) {
        return Err(CommandError::Input(format!(
            "{} may not write {}; readers would refuse the message (`tocsin bus table` shows who may)",
            command.service, command.subject
        )));
    }
    let key = signing_key(&command.bus, command.service)?;
    let payload = payload(command)?;
    let envelope = Envelope::decode(payload.as_slice()).map_err(|error| {
        CommandError::Input(format!(
            "the payload is not an encoded tocsin.v1.Envelope: {error}"
        ))
    })?;
    let sealed = message::seal(&envelope, &subject, &key, None);
    if sealed.payload != payload {
        return Err(CommandError::Input(
            "the payload has fields that this version does not know; signing it would change it"
                .to_owned(),
        ));
    }
    let lines: String = sealed
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    print(&lines)
}

fn signing_key(settings: &BusSettings, service: Service) -> Result<SigningKey, CommandError> {
    let path = settings
        .signing_key_file
        .replace("{service}", service.name());
    let text = fs::read_to_string(&path).map_err(|source| CommandError::Files {
        operation: format!("read {path}"),
        source,
    })?;
    SigningKey::from_file(&text).map_err(|error| CommandError::Input(format!("{path}: {error}")))
}

fn payload(command: &Sign) -> Result<Vec<u8>, CommandError> {
    let failed = |source| CommandError::Files {
        operation: format!("read {}", command.payload.display()),
        source,
    };
    let mut bytes = Vec::new();
    if command.payload.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        bytes = fs::read(&command.payload).map_err(failed)?;
    }
    Ok(bytes)
}
