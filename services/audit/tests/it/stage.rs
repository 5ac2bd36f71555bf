//! Audit running, with everything that it stands on.

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tocsin_audit::Settings;
use tocsin_bus::{AskError, Bus, Outgoing};
use tocsin_kit::{Context, Stop, Tasks};
use tocsin_store::StoreSettings;
use tocsin_testkit::{Postgres, TestBus, eventually};
use tocsin_wire::{Service, Subject, proto::Envelope};

/// Long enough for a loaded machine; a passing test never waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

pub(crate) struct Stage {
    pub(crate) test_bus: TestBus,
    pub(crate) postgres: Postgres,
    pub(crate) ingress: Bus,
    pub(crate) router: Bus,
    pub(crate) worker: Bus,
    pub(crate) config: Bus,
    pub(crate) operator: Bus,
    pub(crate) context: Context,
}

impl Stage {
    pub(crate) async fn start(postgres: Postgres) -> Self {
        let test_bus = TestBus::start().await.expect("bus");
        let connect = async |service| test_bus.connect(service).await.expect("connects");
        let (ingress, router) = (
            connect(Service::Ingress).await,
            connect(Service::Router).await,
        );
        let (worker, config) = (
            connect(Service::AgentWorker).await,
            connect(Service::Config).await,
        );
        let operator = connect(Service::Operator).await;
        let context = Context::for_test("audit").expect("context");
        let stage = Self {
            test_bus,
            postgres,
            ingress,
            router,
            worker,
            config,
            operator,
            context,
        };
        stage.start_audit();
        stage
    }

    fn start_audit(&self) {
        let settings = Settings {
            bus: self.test_bus.settings(),
            store: StoreSettings {
                database_url: self.postgres.url().to_owned().into(),
                database_max_connections: 8,
            },
            migrate: true,
        };
        let context = self.context.clone();
        context.tasks.spawn(
            "audit",
            Box::pin(tocsin_audit::run(settings, context.clone())),
        );
    }

    /// Stops audit and starts another instance.
    pub(crate) async fn restart_audit(&mut self) {
        self.context.stop.trigger_soft();
        self.context.tasks.wait(LIMIT).await.expect("audit stops");
        self.context.stop = Stop::new();
        self.context.tasks = Tasks::new(self.context.stop.clone());
        self.start_audit();
    }

    pub(crate) async fn publish(&self, bus: &Bus, subject: &str, envelope: &Envelope) -> u64 {
        let subject: Subject = subject.parse().expect("subject");
        let outgoing = Outgoing::new(subject, envelope.clone());
        bus.publish(outgoing).await.expect("published").sequence
    }

    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(self.postgres.url())
            .await
            .expect("connects")
    }

    /// Waits until so many rows are recorded.
    pub(crate) async fn recorded(&self, rows: i64) {
        eventually(&format!("{rows} rows"), LIMIT, || async {
            let mut sql = PgConnection::connect(self.postgres.url()).await?;
            let count: i64 = sqlx::query_scalar("select count(*) from audit.records")
                .fetch_one(&mut sql)
                .await?;
            anyhow::ensure!(count == rows, "there are {count}");
            Ok(())
        })
        .await;
    }

    pub(crate) async fn ask(&self, verb: &str, question: Value) -> Result<Value, AskError> {
        self.operator.ask(Service::Audit, verb, &question).await
    }
}
