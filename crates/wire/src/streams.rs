//! The table of the bus: every stream, consumer and bucket, once, as data.
//!
//! From it come the streams that the bus crate declares, the NATS users and permissions in
//! `deploy/nats/`, the tables in ARCHITECTURE.md, and the rule that a signature only counts on a
//! subject that its service may write.

use std::time::Duration;

use crate::limits;
use crate::rate::{DEFERRALS, LARGE, MEDIUM, RateTier, SMALL};
use crate::service::Service;
use crate::service::Service::{AgentWorker, Audit, Config, Ingress, Operator, Router};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MEBIBYTE: i64 = 1024 * 1024;

/// How long messages stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Until the age or size limit.
    Limits,
    /// Until its one consumer has acknowledged it.
    WorkQueue,
}

/// What happens to a message for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The publisher gets an error: nothing that was acknowledged is lost.
    RefuseNew,
    /// The oldest goes: for what can be rebuilt.
    DropOldest,
}

/// One stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamSpec {
    /// Name on the server.
    pub name: &'static str,
    /// Subjects it captures.
    pub subjects: &'static [&'static str],
    /// How long messages stay.
    pub retention: Retention,
    /// Oldest message; zero means no limit.
    pub max_age: Duration,
    /// Largest size; the server reserves it, so an installation multiplies it to fit its disks.
    pub max_bytes: i64,
    /// Most messages per subject; -1 means no limit.
    pub max_messages_per_subject: i64,
    /// What happens when a limit is reached.
    pub when_full: WhenFull,
    /// Who may publish what. A pattern may use `*` and a final `>`.
    pub writers: &'static [(Service, &'static [&'static str])],
    /// One sentence for the documentation.
    pub purpose: &'static str,
}

impl StreamSpec {
    /// Whether it takes messages that it publishes itself at a later time.
    pub fn schedules(&self) -> bool {
        self.name == "DEFERRED"
    }
}

/// One durable pull consumer.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerSpec {
    /// Durable name; stable, because autoscalers and alarms name it.
    pub name: &'static str,
    /// Stream it reads.
    pub stream: &'static str,
    /// Filter; empty for the whole stream.
    pub filter: &'static str,
    /// Who reads with it.
    pub service: Service,
    /// How long a silent reader keeps a message.
    pub ack_wait: Duration,
    /// Most messages out at once, over all instances.
    pub max_ack_pending: i64,
}

/// One key-value bucket.
#[derive(Debug, Clone, Copy)]
pub struct BucketSpec {
    /// Name of the bucket.
    pub name: &'static str,
    /// Age at which a key goes; zero means never.
    pub max_age: Duration,
    /// Who may write which keys.
    pub writers: &'static [Service],
    /// Who reads or watches.
    pub readers: &'static [Service],
    /// One sentence for the documentation.
    pub purpose: &'static str,
}

/// One object store: a stream of pieces and of what they make up, as NATS's own clients read it.
#[derive(Debug, Clone, Copy)]
pub struct ObjectStoreSpec {
    /// Name of the store; its stream is `OBJ_<name>`.
    pub name: &'static str,
    /// Age at which an object goes.
    pub max_age: Duration,
    /// Largest size; full, it refuses.
    pub max_bytes: i64,
    /// Who may write objects. They see what is there, not what is in it.
    pub writers: &'static [Service],
    /// Who may read objects.
    pub readers: &'static [Service],
    /// One sentence for the documentation.
    pub purpose: &'static str,
}

/// Every stream.
pub const STREAMS: &[StreamSpec] = &[
    StreamSpec {
        name: "EVENTS",
        subjects: &["events.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(7 * DAY.as_secs()),
        max_bytes: 2_048 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::RefuseNew,
        writers: &[(Ingress, &["events.>"])],
        purpose: "Verified webhooks, as they came and normalized.",
    },
    // The server schedules no messages in a stream that refuses new ones; ingress bounds what it defers.
    StreamSpec {
        name: "DEFERRED",
        subjects: &["deferred.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(7 * DAY.as_secs()),
        max_bytes: 1_024 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::DropOldest,
        writers: &[(Ingress, &["deferred.>"])],
        purpose: "Events over a rate limit whose sender never tries again, until there is room.",
    },
    StreamSpec {
        name: "WORK",
        subjects: &["work.run.>"],
        retention: Retention::WorkQueue,
        max_age: Duration::ZERO,
        max_bytes: 512 * MEBIBYTE,
        max_messages_per_subject: limits::TEAM_WINDOW,
        when_full: WhenFull::RefuseNew,
        writers: &[(Router, &["work.run.>"]), (AgentWorker, &["work.run.>"])],
        purpose: "Runs that are admitted, waiting or running; at most one window per team.",
    },
    StreamSpec {
        name: "BACKLOG",
        subjects: &["backlog.run.>"],
        retention: Retention::Limits,
        max_age: Duration::ZERO,
        max_bytes: 512 * MEBIBYTE,
        max_messages_per_subject: limits::TEAM_BACKLOG,
        when_full: WhenFull::RefuseNew,
        writers: &[(Router, &["backlog.run.>"])],
        purpose: "Runs behind a team's window, by severity; moved to WORK as its runs finish.",
    },
    StreamSpec {
        name: "SIGNALS",
        subjects: &["signal.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(30 * DAY.as_secs()),
        max_bytes: 256 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::RefuseNew,
        writers: &[(Router, &["signal.>"]), (AgentWorker, &["signal.>"])],
        purpose: "What people and alerts tell a running run.",
    },
    StreamSpec {
        name: "COMMANDS",
        subjects: &["cmd.>"],
        retention: Retention::WorkQueue,
        max_age: Duration::ZERO,
        max_bytes: 64 * MEBIBYTE,
        max_messages_per_subject: limits::COMMANDS_WAITING,
        when_full: WhenFull::RefuseNew,
        writers: &[(Operator, &["cmd.>"])],
        purpose: "What people tell a room to do; what came of it is in RESULTS.",
    },
    StreamSpec {
        name: "JOURNAL",
        subjects: &["journal.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(90 * DAY.as_secs()),
        max_bytes: 2_048 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::RefuseNew,
        writers: &[(AgentWorker, &["journal.>"])],
        purpose: "Every step of every run, fenced by the expected sequence.",
    },
    StreamSpec {
        name: "RESULTS",
        subjects: &["results.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(7 * DAY.as_secs()),
        max_bytes: 1_024 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::DropOldest,
        writers: &[
            (Router, &["results.router.>"]),
            (AgentWorker, &["results.agent-worker.>"]),
        ],
        purpose: "Decisions, runs started and finished, posts made.",
    },
    StreamSpec {
        name: "CONFIG",
        subjects: &["config.changed.>"],
        retention: Retention::Limits,
        max_age: Duration::from_secs(7 * DAY.as_secs()),
        max_bytes: 128 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::DropOldest,
        writers: &[(Config, &["config.changed.>"])],
        purpose: "Which node of the configuration changed, by whom.",
    },
    StreamSpec {
        name: "DEAD",
        subjects: &[
            "dead.>",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
            "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
        ],
        retention: Retention::Limits,
        max_age: Duration::from_secs(30 * DAY.as_secs()),
        max_bytes: 512 * MEBIBYTE,
        max_messages_per_subject: -1,
        when_full: WhenFull::DropOldest,
        writers: &[
            (
                Router,
                &[
                    "dead.EVENTS.router",
                    "dead.DEFERRED.router",
                    "dead.COMMANDS.router",
                ],
            ),
            (AgentWorker, &["dead.WORK.>"]),
            (
                Audit,
                &[
                    "dead.EVENTS.audit",
                    "dead.DEFERRED.audit",
                    "dead.SIGNALS.audit",
                    "dead.JOURNAL.audit",
                    "dead.RESULTS.audit",
                    "dead.CONFIG.audit",
                    "dead.DEAD.audit",
                ],
            ),
        ],
        purpose: "What could not be handled, with the reason and the original bytes.",
    },
    rate(
        SMALL,
        &[(Ingress, &["rate.small.>"])],
        "Admissions of tier small: at most 100 in any 10 s.",
    ),
    rate(
        MEDIUM,
        &[(Ingress, &["rate.medium.>"])],
        "Admissions of tier medium: at most 5,000 in any 10 s.",
    ),
    rate(
        LARGE,
        &[(Ingress, &["rate.large.>"])],
        "Admissions of tier large, the default: at most 250,000 in any 10 s.",
    ),
    rate(
        DEFERRALS,
        &[(Ingress, &["rate.deferral.>"])],
        "Events put aside: at most 20,000 of a source in any 10 min.",
    ),
];

/// Who may publish what.
type Writers = &'static [(Service, &'static [&'static str])];

/// A tier's stream: the server refuses what is over the limit, and forgets it after the window.
const fn rate(tier: &RateTier, writers: Writers, purpose: &'static str) -> StreamSpec {
    StreamSpec {
        name: tier.stream,
        subjects: tier.subjects,
        retention: Retention::Limits,
        max_age: tier.max_age(),
        max_bytes: 64 * MEBIBYTE,
        max_messages_per_subject: tier.messages() as i64,
        when_full: WhenFull::RefuseNew,
        writers,
        purpose,
    }
}

/// `ack_wait` of readers that write batches and send no signs of life meanwhile: long enough for a
/// slow database, short enough that a killed reader's messages move on within the five seconds
/// promised.
const BATCH_ACK_WAIT: Duration = Duration::from_secs(4);

const fn audit(stream: &'static str, filter: &'static str) -> ConsumerSpec {
    ConsumerSpec {
        name: "audit",
        stream,
        filter,
        service: Audit,
        ack_wait: BATCH_ACK_WAIT,
        max_ack_pending: 2_000,
    }
}

/// Every durable consumer. Worker pools other than `default` get theirs by [`workers_consumer`].
pub const CONSUMERS: &[ConsumerSpec] = &[
    ConsumerSpec {
        name: "router",
        stream: "EVENTS",
        filter: "events.>",
        service: Router,
        ack_wait: limits::WORK_ACK_WAIT,
        max_ack_pending: 4_000,
    },
    ConsumerSpec {
        name: "router",
        stream: "DEFERRED",
        filter: "deferred.due.>",
        service: Router,
        ack_wait: limits::WORK_ACK_WAIT,
        max_ack_pending: 4_000,
    },
    ConsumerSpec {
        name: "workers-default",
        stream: "WORK",
        filter: "work.run.default.>",
        service: AgentWorker,
        ack_wait: limits::WORK_ACK_WAIT,
        max_ack_pending: 10_000,
    },
    ConsumerSpec {
        name: "router",
        stream: "COMMANDS",
        filter: "cmd.router.>",
        service: Router,
        ack_wait: limits::WORK_ACK_WAIT,
        max_ack_pending: 100,
    },
    audit("EVENTS", "events.>"),
    audit("DEFERRED", "deferred.due.>"),
    audit("SIGNALS", "signal.>"),
    audit("JOURNAL", "journal.>"),
    audit("RESULTS", "results.>"),
    audit("CONFIG", "config.changed.>"),
    audit("DEAD", "dead.>"),
];

/// Every key-value bucket.
pub const BUCKETS: &[BucketSpec] = &[
    BucketSpec {
        name: "routing",
        max_age: Duration::ZERO,
        writers: &[Config],
        readers: &[Router],
        purpose: "Identifier to owners; the router's index follows it.",
    },
    BucketSpec {
        name: "teams",
        max_age: Duration::ZERO,
        writers: &[Config],
        readers: &[Router, AgentWorker],
        purpose: "Effective config of each team.",
    },
    BucketSpec {
        name: "revoked",
        max_age: limits::REVOKED_WINDOW,
        writers: &[Config],
        readers: &[Ingress, Router, Config, AgentWorker, Audit],
        purpose: "Tokens that ended before their time; whoever keeps tokens in memory follows it.",
    },
    BucketSpec {
        name: "seen",
        max_age: limits::SEEN_WINDOW,
        writers: &[Router],
        readers: &[Router],
        purpose: "Delivery and semantic keys that already led to a run; created once, given up when there was no room for it.",
    },
    BucketSpec {
        name: "open",
        max_age: Duration::from_secs(7 * DAY.as_secs()),
        writers: &[Router, AgentWorker],
        readers: &[Router, AgentWorker],
        purpose: "Fingerprint of an alert to the run that is looking into it; compare-and-set.",
    },
    BucketSpec {
        name: "keys",
        max_age: Duration::ZERO,
        writers: &[Operator],
        readers: &[Ingress, Router, Config, AgentWorker, Audit, Operator],
        purpose: "Public signing and sealing keys under the operator's root; never deleted.",
    },
    BucketSpec {
        name: "sources",
        max_age: Duration::ZERO,
        writers: &[Config],
        readers: &[Ingress],
        purpose: "Senders with a URL, secrets and limits of their own.",
    },
    BucketSpec {
        name: "source_health",
        max_age: Duration::from_secs(30 * DAY.as_secs()),
        writers: &[Ingress],
        readers: &[Ingress],
        purpose: "What each ingress saw of each source.",
    },
    BucketSpec {
        name: "secrets",
        max_age: Duration::ZERO,
        writers: &[Config],
        readers: &[Ingress, AgentWorker],
        purpose: "Secrets, each sealed to its one audience; a room reads only below its own name.",
    },
];

/// Every object store.
pub const OBJECT_STORES: &[ObjectStoreSpec] = &[ObjectStoreSpec {
    name: crate::stored_body::BODIES,
    // A day longer than an event: what names an object goes before it (stored_body::REUSE_WINDOW).
    max_age: Duration::from_secs(8 * DAY.as_secs()),
    max_bytes: 2_048 * MEBIBYTE,
    writers: &[Ingress],
    readers: &[Operator],
    purpose: "Raw bodies over 512 KiB, by their SHA-256; the event says where.",
}];

/// Readers that may read only below one prefix of a bucket.
pub const READ_BELOW: &[(&str, Service, &str)] = &[
    ("secrets", Ingress, "ingress"),
    ("secrets", AgentWorker, "worker"),
];

/// Verbs answered by NATS micro services, `svc.<service>.<verb>`: who answers, who may ask.
pub const VERBS: &[(Service, &str, &[Service])] = &[
    (Audit, "life", &[Operator]),
    (Audit, "events", &[Operator]),
    // Rules are tried out on events of old; who may ask the router that may see all of them.
    (Audit, "event", &[Operator, Router]),
    (Config, "effective", &[Operator]),
    (Config, "lookup", &[Operator]),
    (Router, "explain", &[Operator]),
    (Router, "queue", &[Operator]),
    (Router, "replay_plan", &[Operator]),
    (Ingress, "source_health", &[Config, Operator]),
    (Ingress, "source_test", &[Config, Operator]),
];

/// The stream called `name`.
pub fn stream(name: &str) -> Option<&'static StreamSpec> {
    STREAMS.iter().find(|stream| stream.name == name)
}

/// The bucket called `name`.
pub fn bucket(name: &str) -> Option<&'static BucketSpec> {
    BUCKETS.iter().find(|bucket| bucket.name == name)
}

/// The object store called `name`.
pub fn object_store(name: &str) -> Option<&'static ObjectStoreSpec> {
    OBJECT_STORES.iter().find(|store| store.name == name)
}

/// Durable name and filter for a pool of workers.
pub fn workers_consumer(pool: &crate::token::Pool) -> (String, String) {
    (format!("workers-{pool}"), format!("work.run.{pool}.>"))
}

/// Whether `service` may write messages that are consumed on `subject`.
pub fn may_write(service: Service, subject: &str) -> bool {
    if let Some(rest) = subject.strip_prefix("$KV.") {
        let name = rest.split('.').next().unwrap_or_default();
        return bucket(name).is_some_and(|bucket| bucket.writers.contains(&service));
    }
    STREAMS
        .iter()
        .flat_map(|stream| stream.writers)
        .filter(|(writer, _)| *writer == service)
        .flat_map(|(_, patterns)| *patterns)
        .any(|pattern| matches(pattern, subject))
}

/// NATS wildcard match: `*` is one token, a final `>` one or more.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut tokens = subject.split('.');
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(token)) if want == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_server_matches_them() {
        for (pattern, subject, expected) in [
            ("events.>", "events.a.b", true),
            ("events.>", "events", false),
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.b.c", false),
            ("a.b", "a.b", true),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn every_subject_has_one_stream_and_every_stream_a_writer() {
        for (index, stream) in STREAMS.iter().enumerate() {
            assert!(!stream.writers.is_empty(), "{} has no writer", stream.name);
            for (_, patterns) in stream.writers {
                for pattern in *patterns {
                    let concrete = pattern.replace(['>', '*'], "x");
                    assert!(
                        stream
                            .subjects
                            .iter()
                            .any(|subject| matches(subject, &concrete)),
                        "{pattern} is not a subject of {}",
                        stream.name
                    );
                    for other in STREAMS.iter().skip(index + 1) {
                        let taken = other
                            .subjects
                            .iter()
                            .any(|subject| matches(subject, &concrete));
                        assert!(!taken, "{pattern} is captured by {} too", other.name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_work_queue_has_one_reader_per_message() {
        for consumer in CONSUMERS {
            let stream = stream(consumer.stream).expect(consumer.stream);
            if stream.retention == Retention::WorkQueue {
                let readers = CONSUMERS
                    .iter()
                    .filter(|other| other.stream == consumer.stream)
                    .count();
                assert_eq!(readers, 1, "{}", consumer.stream);
            }
        }
    }

    #[test]
    fn only_the_owner_may_write() {
        for (service, subject, allowed) in [
            (Ingress, "events.slack.shared.message.C1", true),
            (Router, "events.slack.shared.message.C1", false),
            (Router, "work.run.default.acme.pay", true),
            (Ingress, "work.run.default.acme.pay", false),
            (AgentWorker, "results.router.decision.a.b", false),
            (AgentWorker, "journal.a.b.c", true),
            (Config, "$KV.routing.slack_channel_id.C1", true),
            (Router, "$KV.routing.slack_channel_id.C1", false),
            (Operator, "cmd.router.replay.all.all", true),
            (Router, "cmd.router.replay.all.all", false),
            (Operator, "$KV.keys.abc", true),
        ] {
            assert_eq!(may_write(service, subject), allowed, "{service} {subject}");
        }
    }
}
