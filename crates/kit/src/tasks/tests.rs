use std::{convert::Infallible, io};

use super::*;

#[tokio::test]
async fn an_essential_failure_stops_every_scope_above_and_is_remembered() {
    let process = Stop::new();
    let all = Tasks::new(process.clone());
    let service = all.child(process.child());
    service.spawn("consume", async { Err(io::Error::other("broker gone")) });
    process.soft().await;
    let failure = all.failure().unwrap();
    assert_eq!(failure.to_string(), "task consume failed: broker gone");
    service.wait(Duration::from_secs(5)).await.unwrap();
    assert!(service.alive().is_empty());
}

#[tokio::test]
async fn a_panic_counts_as_a_failure() {
    let tasks = Tasks::new(Stop::new());
    tasks.spawn::<_, Infallible>("mover", async { panic!("row {}", 7) });
    tasks.wait(Duration::from_secs(5)).await.unwrap();
    assert_eq!(tasks.failure().unwrap().reason, "panicked: row 7");
}

#[tokio::test]
async fn a_contained_failure_stops_nothing() {
    let stop = Stop::new();
    let tasks = Tasks::new(stop.clone());
    tasks.spawn_contained("connection", async { Err(io::Error::other("reset")) });
    tasks.spawn_contained::<_, Infallible>("connection", async { panic!("odd") });
    tasks.wait(Duration::from_secs(5)).await.unwrap();
    assert!(!stop.is_soft() && tasks.failure().is_none());
}

#[tokio::test]
async fn the_deadline_names_and_aborts_what_is_left() {
    let tasks = Tasks::new(Stop::new());
    let (held, dropped) = tokio::sync::oneshot::channel::<()>();
    tasks.spawn::<_, Infallible>("stuck", async move {
        let _held = held;
        std::future::pending().await
    });
    tasks.spawn::<_, Infallible>("quick", async { Ok(()) });
    let unfinished = tasks.wait(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(unfinished.names, ["stuck"]);
    assert!(dropped.await.is_err(), "its future was dropped");
}
