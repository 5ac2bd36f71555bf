//! Ingress over real sockets against a real nats-server with the generated permissions.
#![cfg(test)]

mod bad_input;
mod batches;
mod bus_trouble;
mod fixtures;
mod hardening;
mod large_bodies;
mod picks;
mod rotation;
mod secrets;
mod sns;
mod socket_mode;
mod sockets;
mod source_owners;
mod sources;
mod stage;
mod tls;
mod vectors;
