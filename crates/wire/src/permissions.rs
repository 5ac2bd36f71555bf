//! The NATS users that follow from the table: who may publish and subscribe what.
//!
//! The server enforces this for direct publishes. Replies and schedules can still reach foreign
//! subjects, so every consumer verifies the signature over the subject as well.

use std::fmt::Write as _;

use crate::service::Service;
use crate::streams::{
    BUCKETS, BucketSpec, CONSUMERS, OBJECT_STORES, ObjectStoreSpec, READ_BELOW, STREAMS, VERBS,
};

/// What one user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish to.
    pub publish: Vec<String>,
    /// Subjects it may subscribe to.
    pub subscribe: Vec<String>,
}

/// Prefix of a service's reply subjects, so that nobody reads another's replies.
pub fn inbox_prefix(service: Service) -> String {
    format!("_INBOX_{service}")
}

/// Permissions of `service`.
pub fn permissions(service: Service) -> Permissions {
    if service == Service::Operator {
        // Declares streams, publishes keys, looks at everything; a person, never a service.
        let all = vec![">".to_owned()];
        return Permissions {
            publish: all.clone(),
            subscribe: all,
        };
    }
    let mut publish = vec!["$JS.API.INFO".to_owned()];
    for stream in STREAMS {
        publish.push(format!("$JS.API.STREAM.INFO.{}", stream.name));
        let writes = stream
            .writers
            .iter()
            .filter(|(writer, _)| *writer == service);
        publish.extend(
            writes
                .flat_map(|(_, patterns)| *patterns)
                .map(|text| (*text).to_owned()),
        );
    }
    publish.extend(consumer_subjects(service));
    for bucket in BUCKETS {
        publish.extend(bucket_subjects(service, bucket));
    }
    for store in OBJECT_STORES {
        publish.extend(object_store_subjects(service, store));
    }
    publish.extend(own_subjects(service).iter().map(|text| (*text).to_owned()));
    for (owner, verb, askers) in VERBS {
        if askers.contains(&service) {
            publish.push(format!("svc.{owner}.{verb}"));
        }
    }
    let mut subscribe = vec![format!("{}.>", inbox_prefix(service)), "$SRV.>".to_owned()];
    if VERBS.iter().any(|(owner, ..)| *owner == service) {
        subscribe.push(format!("svc.{service}.>"));
    }
    publish.sort();
    publish.dedup();
    Permissions { publish, subscribe }
}

fn consumer_subjects(service: Service) -> Vec<String> {
    let own = CONSUMERS
        .iter()
        .filter(|consumer| consumer.service == service);
    own.flat_map(|consumer| {
        // A worker of any pool reads WORK; the pool is a matter of deployment, not of trust.
        let name = if consumer.stream == "WORK" {
            "*"
        } else {
            consumer.name
        };
        let stream = consumer.stream;
        [
            format!("$JS.API.CONSUMER.INFO.{stream}.{name}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            format!("$JS.ACK.{stream}.{name}.>"),
        ]
    })
    .collect()
}

fn bucket_subjects(service: Service, bucket: &BucketSpec) -> Vec<String> {
    let name = bucket.name;
    let mut subjects = Vec::new();
    let writes = bucket.writers.contains(&service);
    let below = READ_BELOW
        .iter()
        .find(|(bucket, reader, _)| *bucket == name && *reader == service);
    if let Some((_, _, prefix)) = below {
        // Key by key, and no watch: the server sees in the subject what is read.
        subjects.push(format!("$JS.API.STREAM.INFO.KV_{name}"));
        subjects.push(format!(
            "$JS.API.DIRECT.GET.KV_{name}.$KV.{name}.{prefix}.>"
        ));
        return subjects;
    }
    if writes || bucket.readers.contains(&service) {
        subjects.push(format!("$JS.API.STREAM.INFO.KV_{name}"));
        subjects.push(format!("$JS.API.DIRECT.GET.KV_{name}.>"));
        subjects.push(format!("$JS.API.STREAM.MSG.GET.KV_{name}"));
        // A watch: the last two are used only to resume after a reconnect, and it goes deaf
        // without them.
        subjects.push(format!("$JS.API.CONSUMER.CREATE.KV_{name}"));
        subjects.push(format!("$JS.API.CONSUMER.CREATE.KV_{name}.>"));
        subjects.push(format!("$JS.API.CONSUMER.DELETE.KV_{name}.*"));
        subjects.push(format!("$JS.FC.KV_{name}.>"));
    }
    if writes {
        subjects.push(format!("$KV.{name}.>"));
    }
    subjects
}

/// A writer looks up what is there, and never reads, purges or deletes.
fn object_store_subjects(service: Service, store: &ObjectStoreSpec) -> Vec<String> {
    let name = store.name;
    let mut subjects = Vec::new();
    let (writes, reads) = (
        store.writers.contains(&service),
        store.readers.contains(&service),
    );
    if writes || reads {
        subjects.push(format!("$JS.API.STREAM.INFO.OBJ_{name}"));
        subjects.push(format!("$JS.API.DIRECT.GET.OBJ_{name}.$O.{name}.M.>"));
    }
    if reads {
        subjects.push(format!("$JS.API.DIRECT.GET.OBJ_{name}"));
    }
    if writes {
        subjects.push(format!("$O.{name}.>"));
    }
    subjects
}

/// What a room needs beyond its streams, consumers and buckets.
fn own_subjects(service: Service) -> &'static [&'static str] {
    match service {
        Service::AgentWorker => &[
            // Moving a team's next run from BACKLOG to WORK.
            "$JS.API.DIRECT.GET.BACKLOG",
            "$JS.API.STREAM.MSG.DELETE.BACKLOG",
            // Is the message that owns a run still there?
            "$JS.API.DIRECT.GET.WORK",
            "$JS.API.DIRECT.GET.JOURNAL",
            "$JS.API.DIRECT.GET.JOURNAL.>",
            // What a run is told, and what it was told before another worker took it over.
            "$JS.API.DIRECT.GET.SIGNALS",
        ],
        Service::Router => &[
            // Reading the events that are to be replayed.
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.DIRECT.GET.DEFERRED",
            // Whether a run still listens.
            "$JS.API.DIRECT.GET.SIGNALS",
            // The newest run of an org, behind which nothing may come in between; who waits, in which order.
            "$JS.API.DIRECT.GET.BACKLOG",
            "$JS.API.DIRECT.GET.WORK",
        ],
        _ => &[],
    }
}

/// Environment variable from which the server takes the public user key of `service`.
pub fn user_key_variable(service: Service) -> String {
    format!(
        "TOCSIN_NKEY_{}",
        service.name().to_ascii_uppercase().replace('-', "_")
    )
}

/// The `accounts` block of the server's configuration, as it lies in `deploy/nats/accounts.conf`.
pub fn accounts_conf() -> String {
    let mut text = String::from(
        "# Generated from crates/wire/src/streams.rs; `tocsin bus permissions` prints it.\n\
         # Each service has its own user key; the server takes the public halves from its environment.\n\
         accounts {\n  TOCSIN {\n    jetstream: enabled\n    users: [\n",
    );
    for service in Service::ALL {
        let Permissions { publish, subscribe } = permissions(service);
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "      {{\n        # {service}\n        nkey: ${}\n        permissions: {{\n          \
             publish: {{ allow: [\n{}          ] }}\n          subscribe: {{ allow: [\n{}          ] }}\n          \
             allow_responses: {{ max: 1, expires: \"1m\" }}\n        }}\n      }}\n",
            user_key_variable(service),
            quoted(&publish),
            quoted(&subscribe)
        );
    }
    text.push_str("    ]\n  }\n}\n");
    text
}

fn quoted(subjects: &[String]) -> String {
    subjects
        .iter()
        .map(|subject| format!("            \"{subject}\"\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::matches;

    fn may_publish(service: Service, subject: &str) -> bool {
        permissions(service)
            .publish
            .iter()
            .any(|pattern| matches(pattern, subject))
    }

    #[test]
    fn nobody_publishes_on_a_foreign_subject() {
        for service in Service::ALL {
            if service == Service::Operator {
                continue;
            }
            for (subject, owners) in [
                ("events.slack.shared.message.C1", &[Service::Ingress][..]),
                (
                    "work.run.default.a.b",
                    &[Service::Router, Service::AgentWorker],
                ),
                ("journal.a.b.c", &[Service::AgentWorker]),
                ("$KV.keys.abc", &[]),
                ("$KV.routing.github_repo.x", &[Service::Config]),
                ("$KV.secrets.ingress.a.b.c", &[Service::Config]),
                (
                    "$JS.API.DIRECT.GET.KV_secrets.$KV.secrets.ingress.a.b.c",
                    &[Service::Config, Service::Ingress],
                ),
                (
                    "$JS.API.DIRECT.GET.KV_secrets.$KV.secrets.worker.default.a.b.c",
                    &[Service::Config, Service::AgentWorker],
                ),
                ("$JS.API.STREAM.MSG.GET.KV_secrets", &[Service::Config]),
                ("$JS.API.CONSUMER.CREATE.KV_secrets", &[Service::Config]),
                ("$O.bodies.C.a", &[Service::Ingress]),
                ("$O.bodies.M.a", &[Service::Ingress]),
                (
                    "$JS.API.DIRECT.GET.OBJ_bodies.$O.bodies.M.a",
                    &[Service::Ingress],
                ),
                ("$JS.API.DIRECT.GET.OBJ_bodies", &[]),
                ("$JS.API.STREAM.PURGE.OBJ_bodies", &[]),
                ("$JS.API.STREAM.CREATE.EVENTS", &[]),
                ("$JS.API.STREAM.DELETE.EVENTS", &[]),
                ("$JS.API.CONSUMER.CREATE.EVENTS.x", &[]),
            ] {
                let allowed = owners.contains(&service);
                assert_eq!(
                    may_publish(service, subject),
                    allowed,
                    "{service} {subject}"
                );
            }
        }
    }

    #[test]
    fn the_committed_configuration_is_the_generated_one() {
        assert_eq!(
            include_str!("../../../deploy/nats/accounts.conf"),
            accounts_conf()
        );
    }
}
