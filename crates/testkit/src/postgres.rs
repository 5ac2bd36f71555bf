//! A real PostgreSQL for tests: a fresh database in a server that runs already, or a private server.

mod cluster;

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use url::Url;

use crate::environment;
use cluster::Cluster;
pub(crate) use cluster::ServerUser;

/// Creating and dropping a database copies or removes some 7 MB.
const ADMINISTRATION_LIMIT: Duration = Duration::from_secs(30);

/// An empty database for one test. Dropping it drops the database, or kills the private server and removes its data.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Private(Cluster),
    Shared {
        administration: String,
        database: String,
    },
}

impl Postgres {
    /// A fresh database: in the server of `TOCSIN_TEST_DATABASE_URL` or `DATABASE_URL` when one is set (its role must be
    /// allowed to create databases), else in a private server.
    ///
    /// # Errors
    /// When neither is to be had.
    pub async fn database() -> anyhow::Result<Self> {
        match environment::database_url() {
            None => Self::start_private().await,
            Some(administration) => {
                let database = fresh_name();
                let url = create_database(&administration, &database).await?;
                Ok(Self {
                    url,
                    server: Server::Shared {
                        administration,
                        database,
                    },
                })
            }
        }
    }

    /// Always a private server, which the test may kill and restart.
    ///
    /// # Errors
    /// When there is no PostgreSQL on this machine or it does not start; the error shows its log.
    pub async fn start_private() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        Ok(Self {
            url: cluster.url(),
            server: Server::Private(cluster),
        })
    }

    /// `postgres://…`, as `DATABASE_URL` wants it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Another empty database in the same server, gone with it (private) or left behind (shared).
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn another_database(&self) -> anyhow::Result<String> {
        create_database(&self.url, &fresh_name()).await
    }

    /// SIGKILL to the private server, as a crash would; returns when it is gone.
    ///
    /// # Errors
    /// When the server is shared or does not go away.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.private()?.kill().await
    }

    /// Immediate shutdown of the private server (SIGQUIT); returns when it is gone.
    ///
    /// # Errors
    /// When the server is shared or does not go away.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.private()?.stop().await
    }

    /// Starts the private server again, on the same port with the same data; stops it first when it still runs.
    ///
    /// # Errors
    /// When the server is shared or does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Private(cluster) => cluster.restart().await,
            Server::Shared { .. } => bail!("{SHARED}"),
        }
    }

    fn private(&self) -> anyhow::Result<&Cluster> {
        match &self.server {
            Server::Private(cluster) => Ok(cluster),
            Server::Shared { .. } => bail!("{SHARED}"),
        }
    }
}

const SHARED: &str =
    "other tests use this PostgreSQL too: a test that stops it takes Postgres::start_private";

impl Drop for Postgres {
    fn drop(&mut self) {
        let Server::Shared {
            administration,
            database,
        } = &self.server
        else {
            return;
        };
        let (administration, database) = (administration.clone(), database.clone());
        // A thread with a runtime of its own: the test's runtime may be the one that runs this drop.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(drop_database(&administration, &database))
        });
        if let Ok(Err(error)) = dropping.join() {
            tracing::warn!(
                error = format!("{error:#}"),
                "a test's database stays behind"
            );
        }
    }
}

fn fresh_name() -> String {
    format!("tocsin_test_{}", uuid::Uuid::now_v7().simple())
}

async fn create_database(administration: &str, name: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(administration).context("DATABASE_URL is no URL")?;
    administer(administration, format!("create database {name}"))
        .await
        .with_context(|| format!("cannot create the test's database {name}"))?;
    url.set_path(name);
    Ok(url.into())
}

async fn drop_database(administration: &str, name: &str) -> anyhow::Result<()> {
    administer(
        administration,
        format!("drop database if exists {name} with (force)"),
    )
    .await
    .with_context(|| format!("cannot drop the test's database {name}"))
}

/// `statement` holds nothing but our own words and [`fresh_name`].
async fn administer(url: &str, statement: String) -> anyhow::Result<()> {
    let work = async {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(ADMINISTRATION_LIMIT, work)
        .await
        .context("the server does not answer")?
}
