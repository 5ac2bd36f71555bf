//! Prometheus.

#[derive(Clone, Debug)]
pub struct Prometheus {}
