//! Bodies of answers, up to a limit.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

/// The body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the answer of {host} is over the limit of {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("read the answer of {host}")]
    Read {
        host: String,
        #[source]
        source: reqwest::Error,
    },
}

/// Reads a body of at most `limit` bytes; a declared length over it is refused unread.
///
/// # Errors
/// When the body is larger, or the connection fails.
pub async fn read_capped(mut response: Response, limit: usize) -> Result<Bytes, ReadError> {
    let host = response.url().host_str().unwrap_or_default().to_owned();
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(ReadError::TooLarge { host, limit });
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(ReadError::TooLarge { host, limit });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            // The URL may hold a secret: only its host is named.
            Err(source) => {
                let source = source.without_url();
                return Err(ReadError::Read { host, source });
            }
        }
    }
}
