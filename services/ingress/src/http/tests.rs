//! Who waits for a secret, and who does not; without a bus, so that no answer takes any time of its own.

use std::time::Duration;

use axum::body::Body;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use http::header;
use tocsin_kit::Context;
use tocsin_wire::scheme::Scheme;

use super::*;
use crate::limits::{RateLimits, SharedTiers};
use crate::normalize::generic;
use crate::publish::Publisher;
use crate::sns::Sns;
use crate::verify::LiveSecret;

const SECRET: &str = "the secret";

fn receiver() -> Receiver {
    let context = Context::for_test("ingress").expect("context");
    let sns = Sns::new(context.http.clone(), None);
    let limits = RateLimits::new(context.tasks.clone(), SharedTiers::default());
    let publisher = Arc::new(Publisher::default());
    Receiver {
        shared: Vec::new(),
        sources: Arc::default(),
        intake: Arc::new(Intake::new(context.clock, publisher, sns, limits)),
        large: LargeBodies::default(),
        slow: SlowBodies::default(),
        at_work: AtWork::new(Duration::from_secs(60)),
        waiting_room: WaitingRoom::of_all_sources(),
        proxies: Vec::new(),
    }
}

fn source(id: &str) -> Arc<Source> {
    let secrets = [LiveSecret::always(SECRET)];
    let tolerance = Duration::from_secs(1);
    let source = Source::new(&generic::PROVIDER, &Scheme::Bearer, &secrets, tolerance);
    let mut source = source.expect("a source");
    source.id = id.to_owned();
    source.org = "acme".into();
    Arc::new(source)
}

async fn deliver(receiver: &Receiver, source: &Arc<Source>, secret: &str) -> Response {
    let request = Request::post("/").header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let request = request.body(Body::from("{}")).expect("a request");
    let endpoint = source.endpoint().expect("an endpoint");
    receiver.receive(source, endpoint, request).await
}

/// A secret may be on its way, but only some forgeries wait for it: they must not take the places of everybody's
/// deliveries. What is left of the 300 is answered before a moment has passed.
#[tokio::test(start_paused = true)]
async fn a_flood_of_forgeries_at_one_source_holds_up_no_other() {
    let receiver = receiver();
    let attacked = ["src_a", "src_b", "src_c"].map(source);
    let mut held = FuturesUnordered::new();
    for (source, places) in attacked.iter().zip([128, 128, 0]) {
        let before = held.len();
        for _ in 0..300 {
            let mut answer = Box::pin(deliver(&receiver, source, "a guess"));
            if answer.as_mut().now_or_never().is_none() {
                held.push(answer);
            }
        }
        assert_eq!(held.len() - before, places, "{}", source.id);
    }
    // It is believed, and hears of the bus that is not there.
    let good = deliver(&receiver, &source("src_d"), SECRET).now_or_never();
    let good = good.expect("at once");
    assert_eq!(good.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    let began = Instant::now();
    while held.next().await.is_some() {}
    assert_eq!(began.elapsed(), ARRIVAL_LIMIT);
    let next = deliver(&receiver, &attacked[2], "a guess").now_or_never();
    assert!(next.is_none(), "there are places again");
}
