//! Ingress over real sockets against a real nats-server with the generated permissions.
#![cfg(test)]

mod bad_input;
mod bus_trouble;
mod fixtures;
mod rotation;
mod secrets;
mod sns;
mod sockets;
mod sources;
mod stage;
