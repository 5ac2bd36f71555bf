//! TLS of a listener: a certificate and a key from files, read again when they change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::{ErrorChain, telemetry::LogLimiter};

/// How often the files are looked at. Certificates are renewed days before they end.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often to log that the files cannot be used: somebody has days to see it.
const LOG_INTERVAL: Duration = Duration::from_secs(600);
/// Versions of HTTP that clients may ask for, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1, without a password.
    pub key: PathBuf,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read {}; is the path right, and may this process read it?", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a PEM file with {expected}", path.display())]
    Pem {
        path: PathBuf,
        expected: &'static str,
        #[source]
        source: pem::Error,
    },
    #[error("use the certificate in {} with the key in {}; do they belong together?", files.certificate.display(), files.key.display())]
    Pair {
        files: TlsFiles,
        #[source]
        source: rustls::Error,
    },
    #[error("set up TLS")]
    Setup(#[source] rustls::Error),
}

/// What a listener needs to speak TLS 1.2 and 1.3. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read, is no PEM, or the key is not that of the certificate.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (text, key) = read(&files)?;
        let current = Arc::new(Current(RwLock::new((text, Arc::new(key)))));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            files,
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Takes what the files hold now; says whether it is something else than before.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was there stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let (text, key) = read(&self.files)?;
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_new = current.0 != text;
        if is_new {
            *current = (text, Arc::new(key));
        }
        Ok(is_new)
    }

    /// Looks at the files again and again, for as long as it is polled.
    pub(super) async fn follow(&self, service: &'static str) {
        let failures = LogLimiter::new(LOG_INTERVAL);
        loop {
            sleep(LOOK_INTERVAL).await;
            match self.reload() {
                Ok(true) => tracing::info!(
                    service,
                    "the certificate changed; new connections get the new one"
                ),
                Ok(false) => {}
                // Between the writing of one file and the other they do not belong together.
                Err(error) => {
                    if let Some(suppressed) = failures.permit() {
                        let error = ErrorChain(&error);
                        tracing::warn!(service, %error, suppressed, "the certificate that was there stays in use");
                    }
                }
            }
        }
    }
}

/// The text of both files, and what it means.
struct Current(RwLock<(Text, Arc<CertifiedKey>)>);

type Text = (Vec<u8>, Vec<u8>);

impl std::fmt::Debug for Current {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.1))
    }
}

fn read(files: &TlsFiles) -> Result<(Text, CertifiedKey), TlsError> {
    let text = (file(&files.certificate)?, file(&files.key)?);
    let pem = |path: &Path, expected, source| TlsError::Pem {
        path: path.to_owned(),
        expected,
        source,
    };
    let chain = CertificateDer::pem_slice_iter(&text.0)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| {
            if chain.is_empty() {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(|source| pem(&files.certificate, "a certificate", source))?;
    let key = PrivateKeyDer::from_pem_slice(&text.1)
        .map_err(|source| pem(&files.key, "a private key", source))?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| {
        TlsError::Pair {
            files: files.clone(),
            source,
        }
    })?;
    Ok((text, key))
}

fn file(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
