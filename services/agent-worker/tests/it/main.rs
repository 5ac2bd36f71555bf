//! The worker against a real nats-server and stand-ins of Slack, the model and Prometheus. One binary:
//! each costs a link.
#![cfg(test)]

mod fairness;
mod harness;
mod outside;
mod sandbox;
mod secrets;
mod storms;
mod take_over;
mod whole;
