//! What SNS needs from outside: the certificate that a message names, and a visit that confirms a
//! subscription. Neither happens for a message whose topic, time and URLs are not right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tocsin_kit::HttpClient;
use tocsin_kit::http_client::{GuardError, ReadError, read_capped};
use tokio::sync::{Mutex, Semaphore, TryAcquireError};

use crate::verify::sns::{Certificate, InvalidCertificate, certificate_name, is_confirmation};

/// SNS waits 15 s for the whole answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A certificate has 2 KB, the answer to a confirmation less.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Certificates kept: one per region and year.
const MAX_CERTIFICATES: usize = 64;
/// Requests to AWS at once. Whoever knows a topic's name can make us ask for certificates.
const MAX_REQUESTS: usize = 4;
/// Whom a certificate from the network must name.
const SIGNER: &str = "sns.amazonaws.com";

/// Why AWS could not be asked, or did not say what was needed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnsError {
    #[error("{url} is no URL of Amazon SNS")]
    Foreign { url: String },
    #[error("{MAX_REQUESTS} requests to Amazon SNS are under way already")]
    Busy(#[source] TryAcquireError),
    #[error("{url} was not asked for")]
    Refused {
        url: String,
        #[source]
        source: GuardError,
    },
    #[error("{host} was asked and gave no answer of use; does the network reach it?")]
    Request {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
    #[error("read the answer of Amazon SNS")]
    Read(#[source] ReadError),
    #[error("read the certificate of SNS_CERTIFICATES_DIR at {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{url} is no certificate that signs messages")]
    Certificate {
        url: String,
        #[source]
        source: InvalidCertificate,
    },
    #[error("{url} is the certificate of {name:?}, not of {SIGNER}")]
    Signer { url: String, name: String },
}

impl SnsError {
    /// Whether the next try may do better.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Certificate { .. } | Self::Signer { .. } => false,
            // AWS has no such certificate, or no longer wants this token.
            Self::Status { status, .. } => !status.is_client_error(),
            Self::Busy(_)
            | Self::Refused { .. }
            | Self::Request { .. }
            | Self::Read(_)
            | Self::File { .. } => true,
        }
    }
}

/// Certificates by URL, and the way to AWS.
pub(crate) struct Sns {
    client: HttpClient,
    folder: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Arc<Certificate>>>,
    requests: Semaphore,
}

impl Sns {
    /// With certificates from `folder` before those from the network.
    pub(crate) fn new(client: HttpClient, folder: Option<PathBuf>) -> Self {
        Self {
            client,
            folder,
            known: Mutex::default(),
            requests: Semaphore::new(MAX_REQUESTS),
        }
    }

    /// The certificate at a URL of AWS; fetched once.
    pub(crate) async fn certificate(&self, url: &str) -> Result<Arc<Certificate>, SnsError> {
        let foreign = || SnsError::Foreign {
            url: url.to_owned(),
        };
        let name = certificate_name(url).ok_or_else(foreign)?;
        if let Some(known) = self.known.lock().await.get(url) {
            return Ok(Arc::clone(known));
        }
        let certificate = match self.filed(name).await? {
            Some(pem) => parse(url, &pem)?,
            None => signer(url, parse(url, &self.get(url).await?)?)?,
        };
        let certificate = Arc::new(certificate);
        let mut known = self.known.lock().await;
        if known.len() >= MAX_CERTIFICATES {
            known.pop_first();
        }
        known.insert(url.to_owned(), Arc::clone(&certificate));
        Ok(certificate)
    }

    /// Confirms a subscription by the visit that AWS asks for.
    pub(crate) async fn confirm(&self, url: &str) -> Result<(), SnsError> {
        if !is_confirmation(url) {
            // It holds a token: not to be logged.
            let url = "the SubscribeURL".to_owned();
            return Err(SnsError::Foreign { url });
        }
        self.get(url).await.map(drop)
    }

    /// What the operator's folder has under the name of a certificate.
    async fn filed(&self, name: &str) -> Result<Option<Vec<u8>>, SnsError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let path: &Path = &folder.join(name);
        match tokio::fs::read(path).await {
            Ok(pem) => Ok(Some(pem)),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SnsError::File {
                path: path.display().to_string(),
                source,
            }),
        }
    }

    async fn get(&self, url: &str) -> Result<bytes::Bytes, SnsError> {
        let _permit = self.requests.try_acquire().map_err(SnsError::Busy)?;
        let request = self.client.get(url).map_err(|source| SnsError::Refused {
            url: without_query(url),
            source,
        })?;
        let sent = request.timeout(FETCH_TIMEOUT).send().await;
        let response = sent.map_err(|source| SnsError::Request {
            host: without_query(url),
            // A URL in the chain could hold a token.
            source: source.without_url(),
        })?;
        let status = response.status();
        if !status.is_success() {
            let host = without_query(url);
            return Err(SnsError::Status { host, status });
        }
        read_capped(response, MAX_ANSWER_BYTES)
            .await
            .map_err(SnsError::Read)
    }
}

fn parse(url: &str, pem: &[u8]) -> Result<Certificate, SnsError> {
    Certificate::from_pem(pem).map_err(|source| SnsError::Certificate {
        url: url.to_owned(),
        source,
    })
}

fn signer(url: &str, certificate: Certificate) -> Result<Certificate, SnsError> {
    if certificate.common_name() == SIGNER {
        return Ok(certificate);
    }
    Err(SnsError::Signer {
        url: url.to_owned(),
        name: certificate.common_name().to_owned(),
    })
}

fn without_query(url: &str) -> String {
    let (plain, _query) = url.split_once('?').unwrap_or((url, ""));
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tocsin_kit::http_client::OutboundPolicy;

    use super::*;

    const AWS: &str = "https://sns.us-west-2.amazonaws.com";
    const NAME: &str = "SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";

    fn sns(folder: Option<PathBuf>) -> Sns {
        let client = HttpClient::new(&OutboundPolicy::for_test()).expect("a client");
        Sns::new(client, folder)
    }

    #[expect(clippy::disallowed_methods, reason = "a test has no service's tasks")]
    async fn aws(answers: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, answers).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn an_answer_is_taken_whole_or_not_at_all() {
        let answers = Router::new()
            .route("/ok", get(|| async { "confirmed" }))
            .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
            .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
            .route(
                "/moved",
                get(|| async { (StatusCode::FOUND, [("location", "/ok")]) }),
            )
            .route("/large", get(|| async { "x".repeat(MAX_ANSWER_BYTES + 1) }));
        let aws = aws(answers).await;
        let sns = sns(None);
        let taken = sns.get(&format!("{aws}/ok")).await.expect("an answer");
        assert_eq!(taken, "confirmed");
        for (path, is_ours) in [
            ("gone", false),
            ("broken", true),
            ("moved", true),
            ("large", true),
        ] {
            let error = sns
                .get(&format!("{aws}/{path}?Token=2336"))
                .await
                .expect_err(path);
            assert_eq!(error.is_ours(), is_ours, "{error:?}");
            let told = format!("{}", tocsin_kit::ErrorChain(&error));
            assert!(!told.contains("2336"), "{told}");
        }
        let busy = sns.requests.acquire_many(4).await.expect("open");
        let error = sns.get(&format!("{aws}/ok")).await.expect_err("busy");
        assert!(matches!(error, SnsError::Busy(_)) && error.is_ours());
        drop(busy);
    }

    #[tokio::test]
    async fn only_aws_is_asked() {
        let sns = sns(None);
        for url in [
            "http://127.0.0.1:1/x.pem",
            "https://sns.evil.example/x.pem",
            "",
        ] {
            let certificate = sns.certificate(url).await;
            assert!(
                matches!(certificate, Err(SnsError::Foreign { .. })),
                "{url}"
            );
            let confirmed = sns.confirm(url).await;
            assert!(matches!(confirmed, Err(SnsError::Foreign { .. })), "{url}");
        }
        assert_eq!(sns.known.lock().await.len(), 0);
    }

    #[tokio::test]
    async fn a_certificate_is_read_once() {
        let folder = "../../tests/fixtures/webhooks/sns";
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut sns = sns(Some(folder));
        let url = format!("{AWS}/{NAME}");
        let first = sns.certificate(&url).await.expect("a certificate");
        sns.folder = None;
        let again = sns.certificate(&url).await.expect("kept");
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.common_name(), SIGNER);
    }

    #[test]
    fn a_certificate_of_somebody_else_signs_nothing() {
        let pem = include_bytes!("../../../tests/fixtures/webhooks/sns/test-cert.pem");
        let url = format!("{AWS}/{NAME}");
        let other = parse(&url, pem).and_then(|certificate| signer(&url, certificate));
        assert!(matches!(other, Err(SnsError::Signer { .. })));
        let none = parse(&url, b"hello").expect_err("no certificate");
        assert!(!none.is_ours());
    }
}
