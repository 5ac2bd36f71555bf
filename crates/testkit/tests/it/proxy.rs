use std::net::SocketAddr;
use std::time::Duration;

use tocsin_testkit::{FaultProxy, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(10);
/// Long enough that a byte on the loopback would have arrived.
const NOTHING_COMES: Duration = Duration::from_millis(100);

/// Sends everything back, and says how much it has received in all.
async fn echo() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ended = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    (address, server)
}

async fn echoes(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text).await?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, text);
    Ok(())
}

#[tokio::test]
async fn cut_and_heal() {
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(&address.to_string()).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    echoes(&mut stream, b"hello").await.unwrap();
    let traffic = proxy.traffic();
    assert_eq!(
        (traffic.accepted, traffic.open, traffic.request_bytes),
        (1, 1, 5)
    );

    proxy.cut();
    echoes(&mut stream, b"hello").await.unwrap_err();
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    echoes(&mut refused, b"hello").await.unwrap_err();

    proxy.heal();
    let mut healed = TcpStream::connect(proxy.address()).await.unwrap();
    echoes(&mut healed, b"hello").await.unwrap();
    eventually("one connection", SOON, || async {
        let traffic = proxy.traffic();
        if (traffic.accepted, traffic.open) == (2, 1) && traffic.refused > 0 {
            Ok(())
        } else {
            Err(format!("{traffic:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_cut_that_heals_at_once_still_ends_the_connections() {
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(&address.to_string()).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    echoes(&mut stream, b"hello").await.unwrap();
    proxy.cut();
    proxy.heal();
    echoes(&mut stream, b"hello").await.unwrap_err();
}

#[tokio::test]
async fn stall_withholds_and_resume_delivers() {
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(&address.to_string()).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    echoes(&mut stream, b"hello").await.unwrap();
    proxy.stall_replies();
    timeout(NOTHING_COMES, echoes(&mut stream, b"ack me"))
        .await
        .unwrap_err();
    assert_eq!(
        proxy.traffic().request_bytes,
        11,
        "the server has the request"
    );
    proxy.resume();
    let mut late = [0; 6];
    timeout(SOON, stream.read_exact(&mut late))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&late, b"ack me");
}

#[tokio::test]
async fn a_delay_does_not_reduce_throughput_or_lose_the_end() {
    const DELAY: Duration = Duration::from_millis(50);
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(&address.to_string()).await.unwrap();
    proxy.delay(DELAY);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let began = Instant::now();
    let sent = vec![7; 1_000_000];
    let (mut from, mut to) = stream.split();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(write, from.read_to_end(&mut back));
    assert_eq!(read.unwrap(), sent.len());
    // 61 chunks, one after the other in both directions, would take 6 s.
    let took = began.elapsed();
    assert!(
        took >= 2 * DELAY && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test]
async fn rewrites_urls() {
    for (target, expected) in [
        ("nats://127.0.0.1:4222", "nats://{}"),
        (
            "postgres://me:pw@localhost:5432/db?sslmode=disable",
            "postgres://me:pw@{}/db?sslmode=disable",
        ),
    ] {
        let proxy = FaultProxy::start(target).await.unwrap();
        assert_eq!(
            proxy.url().unwrap(),
            expected.replace("{}", &proxy.address().to_string())
        );
    }
    assert!(FaultProxy::start("nats://").await.is_err());
}
