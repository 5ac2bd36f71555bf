//! Webhooks from the world: verified over their raw bytes, normalized, signed, published, and only
//! then acknowledged.
//!
//! * **Reads** HTTP requests of the senders in [`provider::ALL`], and nothing else.
//! * **Writes** `events.<provider>.shared.<kind>.<key>`: one event per delivery, with the raw body and
//!   what is needed to verify it again.
//! * **Owns** nothing: the same delivery has the same id in every replica and after every restart.
//! * **Never** says 2xx before the bus has stored the event, holds a delivery in memory after its
//!   answer, asks another service or a database, logs a body or a signature, or lets anything in a
//!   body choose a tenant.
//!
//! [`verify`] and [`normalize`] are pure functions over headers and bytes; [`run`] is the shell.

mod error;
mod http;
mod json;
mod metrics;
pub mod normalize;
pub mod provider;
mod publish;
pub mod secrets;
pub mod settings;
pub mod verify;

use std::sync::Arc;

use tocsin_bus::{Bus, follow_state};
use tocsin_kit::http_server::{self, Tls};
use tocsin_kit::{Check, Context};
use tocsin_wire::Service;
use tokio::net::TcpListener;

pub use error::Error;
pub use settings::Settings;

use crate::http::Receiver;
use publish::Publisher;

/// Receives webhooks until `context` stops it. The port is open before the bus is there; until then
/// every delivery gets 503.
///
/// # Errors
/// When the port is taken, the certificate cannot be used, or the bus refuses us or lacks the stream EVENTS.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let listener = http_server::bind(&settings.listen)
        .await
        .map_err(Error::Serve)?;
    run_on(listener, settings, context).await
}

/// [`run`] on a port that is open already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    listener: TcpListener,
    settings: Settings,
    context: Context,
) -> Result<(), Error> {
    let nats = context.health.register("nats");
    let publisher = Arc::new(Publisher::default());
    let receiver = Receiver::new(&settings, context.clock.clone(), Arc::clone(&publisher))?;
    let (on, off) = receiver.providers();
    tracing::info!(?on, ?off, "providers; those without a secret are refused");

    let tls = settings.tls().map(Tls::load).transpose();
    let serving = serve(
        listener,
        tls.map_err(Error::Tls)?,
        receiver,
        &settings,
        &context,
    );
    let connecting = connect(&settings, &context, nats, &publisher);
    tokio::try_join!(Box::pin(serving), connecting)?;
    Ok(())
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    receiver: Receiver,
    settings: &Settings,
    context: &Context,
) -> Result<(), Error> {
    let (router, limits) = (receiver.router(), settings.limits());
    let served = match tls {
        Some(tls) => http_server::serve_tls(listener, tls, router, limits, context).await,
        None => http_server::serve(listener, router, limits, context).await,
    };
    served.map_err(Error::Serve)
}

async fn connect(
    settings: &Settings,
    context: &Context,
    nats: Check,
    publisher: &Publisher,
) -> Result<(), Error> {
    let clock = context.clock.clone();
    let now = Arc::new(move || clock.now());
    let connecting = Bus::connect(&settings.bus, Service::Ingress, &context.instance, now);
    let Some(connected) = context.stop.until_soft(Box::pin(connecting)).await else {
        return Ok(());
    };
    let bus = connected.map_err(Error::Connect)?;
    let state = bus.watch_state();
    publisher.connected(bus);
    // Keeps the check at what the connection says, until the stop or the end of the client.
    let following = follow_state(state, |state| match state {
        Ok(()) => nats.ready(),
        Err(why) => nats.not_ready(why),
    });
    context.stop.until_soft(following).await;
    Ok(())
}
