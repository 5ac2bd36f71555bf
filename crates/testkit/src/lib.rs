//! Real servers for tests: nats-server and PostgreSQL on ports of their own, processes that can be killed, a proxy that cuts the
//! wire, and waiting for conditions.
//!
//! A dev-dependency only (and of the stand-in binary): it may panic, read the environment and start processes, which
//! no service may. Everything it starts ends with the test, also when the test is killed.

mod consumers;
mod directory;
mod environment;

pub mod bus;
pub mod eventually;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;

pub use bus::TestBus;
pub use consumers::ConsumerState;
pub use environment::built_program;
pub use eventually::eventually;
pub use nats::{NatsOptions, NatsServer};
pub use ports::ReservedPort;
pub use postgres::Postgres;
pub use process::{Process, Program};
pub use proxy::FaultProxy;
pub mod standins;
