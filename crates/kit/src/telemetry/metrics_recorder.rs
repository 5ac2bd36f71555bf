//! The metrics recorder, and the handle that renders what it recorded.

use std::{convert::Infallible, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::TelemetryError;
use crate::Stop;

/// Upper bounds of all histograms, in seconds: from half a millisecond, below which an ack is never
/// slow, to the longest time limit of a request.
const BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// How often recorded samples move into their histogram's buckets. Until then each takes 8 bytes:
/// 5 s hold at most a few megabytes at the rates that this machine reaches.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Renders the process's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MetricsHandle(Arc<PrometheusHandle>);

impl MetricsHandle {
    pub(super) fn install() -> Result<Self, TelemetryError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(BUCKETS)
            .map_err(TelemetryError::Buckets)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|error| TelemetryError::Recorder(error.to_string().into()))?;
        Ok(Self(Arc::new(handle)))
    }

    /// A handle to a recorder that nothing records to, for tests of what surrounds it.
    #[must_use]
    pub fn detached() -> Self {
        Self(Arc::new(PrometheusBuilder::new().build_recorder().handle()))
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps memory flat when nobody scrapes: drains histograms on a timer until the soft stop.
    pub async fn upkeep(self, stop: Stop) -> Result<(), Infallible> {
        let mut timer = tokio::time::interval(UPKEEP_INTERVAL);
        while stop.until_soft(timer.tick()).await.is_some() {
            self.0.run_upkeep();
        }
        Ok(())
    }

    /// Says which service and version this process runs, as the gauge `build_info`.
    pub fn describe_build(service: &'static str, instance: &str) {
        metrics::gauge!(
            "build_info",
            "service" => service, "version" => crate::VERSION, "instance" => instance.to_owned()
        )
        .set(1.0);
    }
}
