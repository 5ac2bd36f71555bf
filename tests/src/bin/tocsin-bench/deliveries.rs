//! Signed deliveries, each with an id of its own.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// Makes the request number `index` (counted over all runs of a process) into `buffer`.
pub(crate) type Build = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

/// Hex HMAC-SHA256.
pub(crate) fn hex_mac(secret: &str, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    for part in parts {
        mac.update(part);
    }
    tocsin_wire::signing::hex(&mac.finalize().into_bytes())
}

/// Where delivery `index` goes below `/webhooks/<provider>`, and the secret that signs it.
pub(crate) type Address = dyn Fn(u64) -> (String, String) + Send + Sync;

/// Signed with the secret that senders of a provider share.
fn shared(secret: &'static str) -> Box<Address> {
    Box::new(move |_| (String::new(), secret.to_owned()))
}

/// A signed GitHub push of 7 KB; each has its own delivery id, commit and signature.
pub(crate) fn github_push(secret: &'static str) -> Arc<Build> {
    github_push_to(shared(secret))
}

/// The same, to sources of their own.
pub(crate) fn github_push_to(address: Box<Address>) -> Arc<Build> {
    const BODY: &[u8] = include_bytes!("../../../fixtures/webhooks/github/push.json");
    const PLACEHOLDER: &[u8] = b"\"after\": \"";
    let offset = BODY
        .windows(PLACEHOLDER.len())
        .position(|window| window == PLACEHOLDER)
        .map_or(0, |position| position + PLACEHOLDER.len());
    Arc::new(move |index, request| {
        let mut body = BODY.to_vec();
        let commit = format!("{index:040x}");
        if let Some(place) = body.get_mut(offset..offset + commit.len()) {
            place.copy_from_slice(commit.as_bytes());
        }
        let (path, secret) = address(index);
        let signature = hex_mac(&secret, &[&body]);
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/github{path} HTTP/1.1\r\nHost: ingress\r\nContent-Type: application/json\r\n\
                 User-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Event: push\r\n\
                 X-GitHub-Delivery: {index:08x}-0000-4000-8000-{index:012x}\r\n\
                 X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        request.extend_from_slice(&body);
    })
}

/// PagerDuty event id of delivery `index`.
pub(crate) fn pagerduty_event(index: u64) -> String {
    format!("01BENCH{index:019}")
}

/// A signed PagerDuty V3 `incident.triggered` for one of `teams` teams.
pub(crate) fn pagerduty(secret: &'static str, teams: u64) -> Arc<Build> {
    pagerduty_to(shared(secret), teams)
}

/// The same, to sources of their own.
pub(crate) fn pagerduty_to(address: Box<Address>, teams: u64) -> Arc<Build> {
    Arc::new(move |index, request| {
        let event = pagerduty_event(index);
        let team = index % teams.max(1);
        let body = format!(
            "{{\"event\":{{\"id\":\"{event}\",\"event_type\":\"incident.triggered\",\"resource_type\":\"incident\",\
             \"occurred_at\":\"2026-01-01T00:00:00Z\",\"agent\":null,\"client\":null,\"data\":{{\"id\":\"Q{index:013}\",\
             \"type\":\"incident\",\"html_url\":\"https://bench.pagerduty.com/incidents/Q{index:013}\",\"number\":{index},\
             \"status\":\"triggered\",\"title\":\"bench incident {index}\",\"service\":{{\"id\":\"PBENCH{team}\",\
             \"summary\":\"bench\",\"type\":\"service_reference\"}},\"urgency\":\"high\",\"priority\":null}}}}}}"
        );
        let (path, secret) = address(index);
        let signature = hex_mac(&secret, &[body.as_bytes()]);
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/pagerduty{path} HTTP/1.1\r\nHost: ingress\r\nContent-Type: application/json\r\n\
                 X-PagerDuty-Signature: v1={signature}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
    })
}
