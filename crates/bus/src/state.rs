//! Whether the broker is there, as the client tells it.

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// What a service's health check shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// Messages flow.
    Connected,
    /// The client is reconnecting by itself; publishes fail at once meanwhile.
    Disconnected(String),
    /// The server refused a publish or a subscription: a wrong or missing permission. Stays until
    /// the process is restarted, because the call itself only times out.
    Denied(String),
}

/// Tells `tell` how the connection is, now and after every change, until the client is gone: `Ok`,
/// or why messages do not flow. For a service's health check.
pub async fn follow_state(
    mut state: watch::Receiver<BusState>,
    mut tell: impl FnMut(Result<(), &str>),
) {
    loop {
        match &*state.borrow_and_update() {
            BusState::Connected => tell(Ok(())),
            BusState::Disconnected(why) | BusState::Denied(why) => tell(Err(why)),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Turns the client's events into state, one log line per change.
pub(crate) fn record(service: &'static str, event: &Event, state: &watch::Sender<BusState>) {
    match event {
        Event::Connected => {
            tracing::info!(service, "connected to NATS");
            replace_unless_denied(state, BusState::Connected);
        }
        Event::Disconnected => {
            tracing::warn!(service, "lost the connection to NATS; reconnecting");
            let why = "connection lost; reconnecting".to_owned();
            replace_unless_denied(state, BusState::Disconnected(why));
        }
        Event::Closed => {
            replace_unless_denied(
                state,
                BusState::Disconnected("connection closed".to_owned()),
            );
        }
        Event::ServerError(ServerError::Other(text))
            if text.to_ascii_lowercase().contains("permissions violation") =>
        {
            metrics::counter!("tocsin_bus_denied_total", "service" => service).increment(1);
            let denied = BusState::Denied(text.clone());
            let is_new = state.send_if_modified(|known| {
                let is_new = *known != denied;
                *known = denied;
                is_new
            });
            if is_new {
                tracing::error!(service, error = %text, "NATS refused an operation; compare deploy/nats/accounts.conf");
            }
        }
        Event::SlowConsumer(subscription) => {
            tracing::warn!(
                service,
                subscription,
                "a subscription is read too slowly; messages were dropped and will be redelivered"
            );
        }
        other => tracing::debug!(service, event = %other, "NATS client event"),
    }
}

fn replace_unless_denied(state: &watch::Sender<BusState>, new: BusState) {
    state.send_if_modified(|known| {
        let changes = !matches!(known, BusState::Denied(_)) && *known != new;
        if changes {
            *known = new;
        }
        changes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_permission_is_not_forgotten_by_a_reconnect() {
        let (sender, receiver) = watch::channel(BusState::Disconnected("starting".to_owned()));
        record("router", &Event::Connected, &sender);
        assert_eq!(*receiver.borrow(), BusState::Connected);
        let text = "Permissions Violation for Publish to \"work.x\"".to_owned();
        record(
            "router",
            &Event::ServerError(ServerError::Other(text.clone())),
            &sender,
        );
        record("router", &Event::Disconnected, &sender);
        record("router", &Event::Connected, &sender);
        assert_eq!(*receiver.borrow(), BusState::Denied(text));
    }
}
