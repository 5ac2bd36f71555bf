//! A bus as in production, for one test: a real server with the generated users and permissions,
//! keys for every service, all streams declared.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tocsin_bus::{Bus, BusSettings, KeyDirectory, declare, publish_keys, publish_sealing_keys};
use tocsin_wire::Service;
use tocsin_wire::permissions::accounts_conf;

use crate::directory::Directory;
use crate::nats::{NatsOptions, NatsServer};

/// A server with everything declared.
pub struct TestBus {
    /// The server; kill, stop and restart it at will.
    pub server: NatsServer,
    keys: KeyDirectory,
    _directory: Directory,
}

impl TestBus {
    /// Starts a server, makes keys, declares streams, publishes the key records.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_sized(1).await
    }

    /// The same with larger streams, for tests that fill them.
    pub async fn start_sized(stream_size_factor: u32) -> anyhow::Result<Self> {
        let directory = Directory::create()?;
        let keys = KeyDirectory::new(directory.path());
        keys.init(&mut random)?;
        let server = NatsServer::start_with(NatsOptions {
            config: Some(accounts_conf()),
            env: keys.server_environment()?,
            ..NatsOptions::default()
        })
        .await?;
        let mut settings = keys.settings(&server.url());
        settings.stream_size_factor = stream_size_factor;
        declare(&settings, clock())
            .await
            .context("declaring streams")?;
        let records = keys.records(clock()())?;
        publish_keys(&settings, clock(), &records)
            .await
            .context("publishing keys")?;
        // Valid for every clock that a test may stand at.
        let sealing = keys.sealing_records(Timestamp::from_second(1_000_000_000)?)?;
        publish_sealing_keys(&settings, clock(), &sealing)
            .await
            .context("publishing sealing keys")?;
        Ok(Self {
            server,
            keys,
            _directory: directory,
        })
    }

    /// Settings for any service.
    pub fn settings(&self) -> BusSettings {
        self.keys.settings(&self.server.url())
    }

    /// Settings that reach the server through another address (a fault proxy).
    pub fn settings_through(&self, url: &str) -> BusSettings {
        self.keys.settings(url)
    }

    /// The keys.
    pub fn keys(&self) -> &KeyDirectory {
        &self.keys
    }

    /// A connection as `service`.
    pub async fn connect(&self, service: Service) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.settings(), service, "test", clock()).await?)
    }
}

/// The system's time.
pub fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    #[expect(clippy::disallowed_methods, reason = "tests run in real time")]
    Arc::new(Timestamp::now)
}

/// 32 bytes that no other call gives; random enough for the keys of a test.
pub fn random() -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(uuid::Uuid::now_v7().as_bytes());
    hash.update(uuid::Uuid::now_v7().as_bytes());
    hash.finalize().into()
}
