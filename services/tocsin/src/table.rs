//! The bus as tables, for ARCHITECTURE.md and for people.

use std::fmt::Write as _;

use tocsin_wire::Service;
use tocsin_wire::streams::{
    BUCKETS, CONSUMERS, OBJECT_STORES, READ_BELOW, Retention, STREAMS, WhenFull,
};

/// Streams, consumers, buckets and object stores in Markdown.
pub(crate) fn markdown() -> String {
    let mut text = String::from(
        "| stream | subjects | kept | written by | read by | what |\n|---|---|---|---|---|---|\n",
    );
    for stream in STREAMS {
        let subjects: Vec<_> = stream
            .subjects
            .iter()
            .map(|subject| format!("`{subject}`"))
            .collect();
        let writers: Vec<_> = stream
            .writers
            .iter()
            .map(|(writer, _)| writer.name())
            .collect();
        let readers: Vec<_> = CONSUMERS
            .iter()
            .filter(|consumer| consumer.stream == stream.name)
            .map(|consumer| format!("{} (`{}`)", consumer.service, consumer.name))
            .collect();
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            stream.name,
            subjects.join(", "),
            kept(stream),
            writers.join(", "),
            readers.join(", "),
            stream.purpose
        );
    }
    text.push_str("\n| bucket | kept | written by | read by | what |\n|---|---|---|---|---|\n");
    for bucket in BUCKETS {
        let readers: Vec<_> = bucket
            .readers
            .iter()
            .map(|reader| {
                let below = READ_BELOW
                    .iter()
                    .find(|(name, service, _)| *name == bucket.name && service == reader);
                below.map_or_else(
                    || reader.name().to_owned(),
                    |(_, _, prefix)| format!("{reader} (`{prefix}.>`)"),
                )
            })
            .collect();
        let _infallible = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            bucket.name,
            age(bucket.max_age),
            names(bucket.writers),
            readers.join(", "),
            bucket.purpose
        );
    }
    text.push_str(
        "\n| object store | kept | written by | read by | what |\n|---|---|---|---|---|\n",
    );
    for store in OBJECT_STORES {
        let _infallible = writeln!(
            text,
            "| `{}` | {}; full: refuses | {} | {} | {} |",
            store.name,
            age(store.max_age),
            names(store.writers),
            names(store.readers),
            store.purpose
        );
    }
    text
}

fn names(services: &[Service]) -> String {
    let names: Vec<_> = services.iter().map(|service| service.name()).collect();
    names.join(", ")
}

fn kept(stream: &tocsin_wire::streams::StreamSpec) -> String {
    let mut parts = vec![match stream.retention {
        Retention::WorkQueue => "until acknowledged".to_owned(),
        Retention::Limits if stream.max_age.is_zero() => "until moved".to_owned(),
        Retention::Limits => age(stream.max_age),
    }];
    if stream.max_messages_per_subject > 0 {
        parts.push(format!("{} per subject", stream.max_messages_per_subject));
    }
    parts.push(match stream.when_full {
        WhenFull::RefuseNew => "full: refuses".to_owned(),
        WhenFull::DropOldest => "full: drops the oldest".to_owned(),
    });
    parts.join("; ")
}

fn age(age: std::time::Duration) -> String {
    const HOUR: u64 = 60 * 60;
    match age.as_secs() {
        0 => "last value".to_owned(),
        seconds if seconds % (24 * HOUR) == 0 => format!("{} d", seconds / (24 * HOUR)),
        seconds => format!("{} h", seconds / HOUR),
    }
}
