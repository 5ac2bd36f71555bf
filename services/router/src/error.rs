//! What ends the router.

use tocsin_bus::BusError;

/// The router cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect the router to the bus")]
    Connect(#[source] BusError),
    #[error("consume events; is the consumer EVENTS/router declared?")]
    Consume(#[source] BusError),
    #[error("consume commands; is the consumer COMMANDS/router declared?")]
    Commands(#[source] BusError),
    #[error("name the subject of decisions")]
    Subject(#[source] tocsin_wire::InvalidToken),
    #[error("answer svc.router.explain")]
    Explain(#[source] BusError),
    #[error("answer svc.router.replay_plan")]
    Plan(#[source] BusError),
    #[error("answer svc.router.queue")]
    Queue(#[source] BusError),
}
