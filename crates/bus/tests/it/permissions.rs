//! The generated users: each service does its work, and nothing else.

use tocsin_bus::{BusState, Outgoing, PublishError};
use tocsin_testkit::TestBus;
use tocsin_wire::Service;

use crate::samples::{event, event_subject};

#[tokio::test]
async fn every_service_connects_and_verifies() {
    let test = TestBus::start().await.expect("bus");
    for service in Service::ALL {
        let connected = test.connect(service).await;
        let state = connected.map(|bus| bus.watch_state().borrow().clone());
        assert_eq!(state.ok(), Some(BusState::Connected), "{service}");
    }
}

#[tokio::test]
async fn a_foreign_publish_is_refused_and_shows() {
    let test = TestBus::start().await.expect("bus");
    let audit = test.connect(Service::Audit).await.expect("connects");
    let refused = audit
        .publish(Outgoing::new(event_subject(), event(1)))
        .await;
    assert!(
        matches!(refused, Err(PublishError::TimedOut { .. })),
        "{refused:?}"
    );
    let state = audit.watch_state().borrow().clone();
    assert!(
        matches!(&state, BusState::Denied(why) if why.contains("events.")),
        "{state:?}"
    );
}
