//! A server under test, and a client that says exactly which bytes it sends.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tocsin_kit::{
    Context, Stop, Tasks,
    http_server::{self, Limits, Tls},
    settings::HttpListen,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Nothing that these tests wait for takes this long, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    tasks: Tasks,
}

impl Server {
    pub(crate) async fn start(router: Router, limits: Limits) -> Self {
        Self::start_on(router, limits, None).await
    }

    pub(crate) async fn start_tls(router: Router, limits: Limits, tls: Tls) -> Self {
        Self::start_on(router, limits, Some(tls)).await
    }

    async fn start_on(router: Router, limits: Limits, tls: Option<Tls>) -> Self {
        let listener = http_server::bind(&HttpListen::loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let context = Context::for_test("example").unwrap();
        let (stop, tasks) = (context.stop.clone(), context.tasks.clone());
        tasks.spawn("http", async move {
            match tls {
                Some(tls) => http_server::serve_tls(listener, tls, router, limits, &context).await,
                None => http_server::serve(listener, router, limits, &context).await,
            }
        });
        Self {
            address,
            stop,
            tasks,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until the server takes no more connections.
    pub(crate) async fn refuses(&self) {
        within(async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until the server has closed everything.
    pub(crate) async fn ended(self) {
        within(self.tasks.ended()).await;
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends the bytes and reads what comes back until the server closes.
    pub(crate) async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this must not take so long")
}

/// Reads until the peer closes; a reset counts as closed.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = within(stream.read_to_end(&mut answer)).await;
    if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).unwrap()
}

/// The JSON body of a raw answer that is not chunked.
pub(crate) fn body(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("headers end");
    serde_json::from_str(body).expect("a JSON body")
}
