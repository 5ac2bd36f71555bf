//! A process from settings to exit code, and services inside it.

use std::{io, process::ExitCode};

use clap::Parser;
use tocsin_kit::{Context, Cores, ProcessSettings, Stop, run_process};

use crate::support::within;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    process: ProcessSettings,
}

/// Telemetry can be set up once per process, so everything about it is in one test.
#[test]
fn a_process_tells_the_truth_about_itself_and_its_end() {
    let port = tocsin_testkit::ReservedPort::take().unwrap();
    let address = port.address();
    let arguments = [
        "example",
        "--metrics-listen",
        &address.to_string(),
        "--instance",
        "one",
    ];
    let arguments = arguments.map(Into::into);
    let cli: Cli = tocsin_kit::settings::try_parse(arguments).unwrap();
    let mut settings = cli.process;
    settings.outbound.outbound_allow = "127.0.0.1/32".parse().unwrap();

    // A failed assertion is a panic of the service, which only shows as this missing.
    let (passed, all_passed) = std::sync::mpsc::channel();
    let code = run_process("example", &settings, Cores::Half, |context| async move {
        let get = async |path: &str| {
            let url = format!("http://{address}{path}");
            let answer = context.http.get(url).unwrap().send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(get("/health").await.0, 200);
        let check = context.health.child("router").register("nats");
        let (status, body) = get("/ready").await;
        assert_eq!(status, 503);
        assert_eq!(
            body,
            r#"{"ready":false,"checks":{"router.nats":{"ready":false,"reason":"starting"}}}"#
        );
        check.ready();
        assert_eq!(get("/ready").await.0, 200);

        metrics::histogram!("example_seconds").record(0.004);
        let (_, metrics) = get("/metrics").await;
        for line in [
            r#"build_info{service="example",version="0.1.0",instance="one"} 1"#,
            r#"example_seconds_bucket{le="0.005"} 1"#,
            r#"http_server_requests_total{service="health",status="5xx"} 1"#,
        ] {
            assert!(metrics.contains(line), "{line} is in:\n{metrics}");
        }

        context.stop.trigger_soft();
        let (status, body) = get("/ready").await;
        assert_eq!(status, 503);
        assert!(body.contains("asked to stop"), "{body}");
        assert_eq!(get("/health").await.0, 200, "alive while it drains");
        passed.send(()).unwrap();
        Err(io::Error::other("the disk is gone"))
    });
    all_passed
        .recv()
        .expect("the log above tells which assertion failed");
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
}

#[tokio::test]
async fn one_service_of_a_process_stops_alone() {
    let process = Context::for_test("process").unwrap();
    let stop = process.start("router", wait_for_stop);
    let other = process.start("audit", wait_for_stop);
    stop.trigger_soft();
    within(async {
        while process.tasks.alive() != ["audit"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!process.stop.is_soft() && !other.is_soft());
    process.stop.trigger_soft();
    within(process.tasks.ended()).await;
    assert!(process.tasks.failure().is_none());
}

#[tokio::test]
async fn a_service_that_fails_or_leaves_early_stops_the_process() {
    type Run = fn(Context) -> futures::future::BoxFuture<'static, Result<(), io::Error>>;
    let cases: [(Run, &str); 4] = [
        (
            |_| Box::pin(async { Ok(()) }),
            "ended without being asked to stop",
        ),
        (
            |_| Box::pin(async { Err(io::Error::other("no broker")) }),
            "no broker",
        ),
        (|_| Box::pin(async { panic!("odd") }), "panicked: odd"),
        (
            |context| {
                context
                    .tasks
                    .spawn("consume", async { Err(io::Error::other("no stream")) });
                Box::pin(wait_for_stop(context))
            },
            "no stream",
        ),
    ];
    for (run, reason) in cases {
        let process = Context::for_test("process").unwrap();
        process.start("other", wait_for_stop);
        process.start("router", run);
        within(process.stop.soft()).await;
        within(process.tasks.ended()).await;
        let failure = process.tasks.failure().unwrap();
        assert!(failure.reason.contains(reason), "{failure}");
    }
}

async fn wait_for_stop(context: Context) -> Result<(), io::Error> {
    let Context { stop, .. } = context;
    Stop::soft(&stop).await;
    Ok(())
}
