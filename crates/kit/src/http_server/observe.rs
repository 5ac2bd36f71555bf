//! The server's metrics, registered once so that a request only updates them.

use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram};

/// Metrics of one server, all labelled `service`.
pub(super) struct Observed {
    /// `http_server_requests_total{status}`, by the first digit of the status.
    by_class: [Counter; 6],
    /// `http_server_request_seconds`: from the headers' arrival to the start of the response.
    seconds: Histogram,
    /// `http_server_in_flight`.
    pub(super) in_flight: Gauge,
    /// `http_server_connections`.
    pub(super) connections: Gauge,
}

impl Observed {
    pub(super) fn new(service: &'static str) -> Self {
        let class = |status: &'static str| metrics::counter!("http_server_requests_total", "service" => service, "status" => status);
        Self {
            by_class: [
                class("other"),
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            seconds: metrics::histogram!("http_server_request_seconds", "service" => service),
            in_flight: metrics::gauge!("http_server_in_flight", "service" => service),
            connections: metrics::gauge!("http_server_connections", "service" => service),
        }
    }

    pub(super) fn request(&self, status: StatusCode, took: Duration) {
        let [other, classes @ ..] = &self.by_class;
        let class = usize::from(status.as_u16() / 100).checked_sub(1);
        class
            .and_then(|class| classes.get(class))
            .unwrap_or(other)
            .increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}
