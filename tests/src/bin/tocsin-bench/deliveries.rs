//! Signed deliveries, each with an id of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use tocsin_wire::signing::hex;

/// Makes the request number `index` (counted over all runs of a process) into `buffer`.
pub(crate) type Build = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

type HmacSha256 = Hmac<Sha256>;

/// The MAC of what begins with `begin`; any secret is one.
fn mac_of(secret: &str, begin: &[u8]) -> Option<HmacSha256> {
    let mac = <HmacSha256 as KeyInit>::new_from_slice(secret.as_bytes());
    mac.ok().map(|mac| mac.chain_update(begin))
}

/// Hex HMAC-SHA256.
pub(crate) fn hex_mac(secret: &str, parts: &[&[u8]]) -> String {
    let mac =
        mac_of(secret, b"").map(|mac| parts.iter().fold(mac, |mac, part| mac.chain_update(part)));
    let mac = mac.map(|mac| hex(&mac.finalize().into_bytes()));
    mac.unwrap_or_default()
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

/// The same, to sources of their own. What differs stands at the end of the body, so that a delivery is signed
/// by a few blocks and the sender takes as little as it can of the cores that it shares with what it measures.
pub(crate) fn github_push_to(address: Box<Address>) -> Arc<Build> {
    let begin = push_without_commit();
    let begun: Mutex<HashMap<String, HmacSha256>> = Mutex::default();
    Arc::new(move |index, request| {
        let end = format!(",\n  \"after\": \"{index:040x}\"\n}}\n");
        let (path, secret) = address(index);
        let mac = {
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.get(&secret).cloned().or_else(|| {
                let mac = mac_of(&secret, &begin)?;
                begun.insert(secret, mac.clone());
                Some(mac)
            })
        };
        let signature = mac.map(|mac| hex(&mac.chain_update(&end).finalize().into_bytes()));
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/github{path} HTTP/1.1\r\nHost: ingress\r\nContent-Type: application/json\r\n\
                 User-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Event: push\r\n\
                 X-GitHub-Delivery: {index:08x}-0000-4000-8000-{index:012x}\r\n\
                 X-Hub-Signature-256: sha256={}\r\nContent-Length: {}\r\n\r\n",
                signature.unwrap_or_default(),
                begin.len() + end.len()
            )
            .as_bytes(),
        );
        request.extend_from_slice(&begin);
        request.extend_from_slice(end.as_bytes());
    })
}

/// The fixture up to the end of its last member, without the commit that each delivery names for itself.
fn push_without_commit() -> Vec<u8> {
    const BODY: &str = include_str!("../../../fixtures/webhooks/github/push.json");
    let lines = BODY.trim_end().trim_end_matches('}').trim_end().lines();
    let kept = lines.filter(|line| !line.trim_start().starts_with("\"after\":"));
    kept.collect::<Vec<_>>().join("\n").into_bytes()
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
