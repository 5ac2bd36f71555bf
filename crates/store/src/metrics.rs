//! The names of all metrics of this crate, with unit and help.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Labels: schema, name, outcome (`committed`, `rolled_back`, `failed`).
pub(crate) const TRANSACTIONS: &str = "store_transactions_total";
/// Labels: schema, name, reason (`serialization`, `deadlock`, `disconnected`).
pub(crate) const RETRIES: &str = "store_transaction_retries_total";
/// Labels: schema, name. All attempts of one transaction together.
pub(crate) const DURATION: &str = "store_transaction_duration_seconds";
/// Label: schema.
pub(crate) const PUBLISHED: &str = "store_outbox_published_total";
/// Label: schema.
pub(crate) const PUBLISH_FAILURES: &str = "store_outbox_publish_failures_total";
/// Label: schema. Rises while nothing can be published, 0 when the outbox is empty.
pub(crate) const OLDEST: &str = "store_outbox_oldest_seconds";

pub(crate) fn describe() {
    describe_counter!(TRANSACTIONS, Unit::Count, "Transactions by how they ended");
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Attempts of transactions that had to be repeated"
    );
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time of a transaction with all its attempts"
    );
    describe_counter!(
        PUBLISHED,
        Unit::Count,
        "Messages from the outbox that the bus has taken"
    );
    describe_counter!(
        PUBLISH_FAILURES,
        Unit::Count,
        "Messages that the bus did not take; they are tried again"
    );
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "Age of the oldest message that is not published yet"
    );
}
