//! The connection: one per service, with its own user and its own signing key.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, context::ContextBuilder};
use jiff::Timestamp;
use tocsin_wire::permissions::inbox_prefix;
use tocsin_wire::{Service, SigningKey};
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::declare::{self, declare};
use crate::error::BusError;
use crate::identity;
use crate::keys::Keys;
use crate::settings::BusSettings;
use crate::state::{self, BusState};

/// How long a publish waits for its acknowledgement. The server answers in milliseconds; a refused
/// permission never answers, so this is also how fast that shows.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an administrative request (stream info, consumer info) may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes without acknowledgement at once; more wait, so memory stays bounded.
const MAX_UNACKNOWLEDGED: usize = 5_000;

/// Commands that the client buffers while it is disconnected.
const CLIENT_QUEUE: usize = 4_096;

/// Messages that one subscription buffers; fetches ask for fewer.
const SUBSCRIPTION_QUEUE: usize = 8_192;

/// Longest pause between two attempts to reconnect: recovery is promised within seconds.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Gives the time.
pub(crate) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A service's place on the bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) service: Service,
    pub(crate) instance: String,
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) key: SigningKey,
    pub(crate) keys: Keys,
    pub(crate) state: watch::Receiver<BusState>,
    /// Places of publishes that wait for their acknowledgement.
    pub(crate) unacknowledged: Semaphore,
    pub(crate) now: Now,
    pub(crate) micro: OnceCell<async_nats::service::Service>,
}

impl Bus {
    /// Connects as `service`, waits until the server is there, verifies the streams that the
    /// service needs (or declares them, with `declare_streams`) and loads the key ring.
    pub async fn connect(
        settings: &BusSettings,
        service: Service,
        instance: &str,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Self, BusError> {
        if settings.declare_streams {
            declare(settings, Arc::clone(&now)).await?;
        }
        let bus = Self::open(settings, service, instance, now).await?;
        declare::verify(&bus).await?;
        bus.inner.keys.load(&bus.inner.jetstream).await?;
        Ok(bus)
    }

    /// A connection without any check of what is on the server.
    pub(crate) async fn open(
        settings: &BusSettings,
        service: Service,
        instance: &str,
        now: Now,
    ) -> Result<Self, BusError> {
        let with_service = |source| BusError::Identity {
            service: service.name(),
            source,
        };
        let key = identity::signing_key(settings, service).map_err(with_service)?;
        let root = identity::root(settings).map_err(with_service)?;
        let (sender, state) =
            watch::channel(BusState::Disconnected("not connected yet".to_owned()));
        let options = options(settings, service, instance, sender).await?;
        let client = options
            .connect(settings.nats_url.as_str())
            .await
            .map_err(|source| BusError::Connect {
                url: settings.nats_url.clone(),
                source: Box::new(source),
            })?;
        let mut connected = state.clone();
        // The sender lives in the client's callback, so this only ends early with the client.
        let _closed = connected
            .wait_for(|state| *state == BusState::Connected)
            .await;
        let jetstream = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(MAX_UNACKNOWLEDGED)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let inner = Inner {
            service,
            instance: instance.to_owned(),
            client,
            jetstream,
            key,
            keys: Keys::new(root),
            state,
            unacknowledged: Semaphore::new(MAX_UNACKNOWLEDGED),
            now,
            micro: OnceCell::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Who speaks here.
    pub fn service(&self) -> Service {
        self.inner.service
    }

    /// Name of this instance among those of its service.
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// The time, as the process sees it.
    pub fn now(&self) -> Timestamp {
        (self.inner.now)()
    }

    /// Connection state, for health checks.
    pub fn watch_state(&self) -> watch::Receiver<BusState> {
        self.inner.state.clone()
    }

    /// `None` as soon as the connection is lost: the answer would never come, and waiting out the
    /// time limit would only hold up who asks again.
    pub(crate) async fn while_connected<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        let mut state = self.inner.state.clone();
        tokio::select! {
            biased;
            answer = asking => Some(answer),
            _lost = state.wait_for(|state| matches!(state, BusState::Disconnected(_))) => None,
        }
    }

    /// Whether publishing has a chance right now.
    pub fn is_connected(&self) -> bool {
        *self.inner.state.borrow() == BusState::Connected
    }
}

async fn options(
    settings: &BusSettings,
    service: Service,
    instance: &str,
    state: watch::Sender<BusState>,
) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new()
        .name(format!("tocsin-{service} {instance}"))
        .custom_inbox_prefix(inbox_prefix(service))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .client_capacity(CLIENT_QUEUE)
        .subscription_capacity(SUBSCRIPTION_QUEUE)
        .event_callback(move |event| {
            state::record(service.name(), &event, &state);
            std::future::ready(())
        });
    let seed = identity::user_seed(settings, service).map_err(|source| BusError::Identity {
        service: service.name(),
        source,
    })?;
    if let Some(seed) = seed {
        options = options.nkey(seed);
    }
    if let Some(path) = settings.creds_path(service) {
        options = options
            .credentials_file(&path)
            .await
            .map_err(|source| BusError::ReadFile { path, source })?;
    }
    if let Some(path) = &settings.nats_ca_file {
        readable(path).await?;
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&settings.nats_cert_file, &settings.nats_cert_key_file)
    {
        readable(certificate).await?;
        readable(key).await?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// A missing certificate must be named here; later it would only be a failed handshake.
async fn readable(path: &Path) -> Result<(), BusError> {
    let read = tokio::fs::File::open(path).await;
    read.map(|_| ()).map_err(|source| BusError::ReadFile {
        path: path.to_owned(),
        source,
    })
}

/// 50 ms, doubled each time, up to [`MAX_RECONNECT_DELAY`].
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    Duration::from_millis(50)
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(MAX_RECONNECT_DELAY)
}
