//! Rebuilding every snapshot from the database, as a command and not as a part of a running service.

use std::sync::Arc;

use tocsin_bus::Bus;
use tocsin_kit::Clock;
use tocsin_store::Store;
use tocsin_wire::Service;

use crate::error::Error;
use crate::pg::Database;
use crate::publish::Publisher;
use crate::secrets::publish::SecretPublisher;
use crate::settings::Settings;
use crate::{defaults, standards, vault};

/// How many keys differed from the database and were written or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// In the bucket `routing`.
    pub identifiers: usize,
    /// In the bucket `teams`.
    pub teams: usize,
    /// In the bucket `sources`.
    pub sources: usize,
    /// In the bucket `secrets`.
    pub secrets: usize,
}

/// Makes all snapshots say what the database says, whatever they said before. Safe while services
/// run: no key is overwritten with what is older.
///
/// # Errors
/// When the database or the bus cannot be used, or the schema is not this program's.
pub async fn rebuild(settings: Settings, instance: &str, clock: Clock) -> Result<Rebuilt, Error> {
    let store =
        Store::connect(&settings.store, "config", sqlx::migrate!()).map_err(Error::Database)?;
    store.check_schema().await.map_err(Error::Database)?;
    let defaults = defaults::system_defaults().map_err(Error::Defaults)?;
    let database = Database::new(store, standards(&defaults)?);
    let bus = Bus::connect(
        &settings.bus,
        Service::Config,
        instance,
        Arc::new(move || clock.now()),
    );
    let bus = Box::pin(bus).await.map_err(Error::Bus)?;
    let secrets = SecretPublisher::new(bus.clone(), database.clone(), vault(&settings)?);
    let publisher = Publisher::new(bus, database, defaults);
    let failed = |error: crate::publish::PublishingError| Error::Rebuild(error.into());
    let sealed = secrets.rebuild().await;
    let sealed = sealed.map_err(|error| failed(error.into()))?;
    let rebuilt = publisher.rebuild().await.map_err(failed)?;
    Ok(Rebuilt {
        identifiers: rebuilt.identifiers,
        teams: rebuilt.teams,
        sources: rebuilt.sources,
        secrets: sealed,
    })
}
