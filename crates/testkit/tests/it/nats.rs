use std::time::Duration;

use tocsin_testkit::{NatsOptions, NatsServer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The greeting of a server and its answer to a client that says hello.
async fn hello(server: &NatsServer, credentials: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let command = format!("CONNECT {{\"verbose\":true{credentials}}}\r\nPING\r\n");
    stream.write_all(command.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("PONG") && !answer.contains("-ERR") {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "hung up after {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}

#[tokio::test]
async fn comes_back_after_a_kill_on_the_same_port_with_jetstream() {
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url();
    assert!(hello(&server, "").await.contains("\"jetstream\":true"));
    server.kill().await.unwrap();
    TcpStream::connect(server.address()).await.unwrap_err();
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert!(hello(&server, "").await.contains("PONG"));
    server.stop().await.unwrap();
    assert!(server.process().exit_status().is_some());
}

#[tokio::test]
async fn takes_users_from_the_configuration() {
    let server = NatsServer::start_with(NatsOptions {
        config: Some("authorization { users: [{ user: ann, password: $SECRET }] }".to_owned()),
        env: vec![("SECRET".to_owned(), "xyzzy".to_owned())],
        max_payload: Some(2048),
        ..NatsOptions::default()
    })
    .await
    .unwrap();
    assert!(
        hello(&server, "")
            .await
            .contains("-ERR 'Authorization Violation'")
    );
    let greeting = hello(&server, r#","user":"ann","pass":"xyzzy""#).await;
    assert!(
        greeting.contains("PONG") && greeting.contains("\"max_payload\":2048"),
        "{greeting}"
    );
}

#[tokio::test]
async fn a_refused_configuration_shows_the_reason() {
    let config = Some("no_such_option: 1".to_owned());
    let options = NatsOptions {
        config,
        ..NatsOptions::default()
    };
    let error = NatsServer::start_with(options).await.unwrap_err();
    assert!(format!("{error:#}").contains("no_such_option"), "{error:#}");
}

#[tokio::test]
async fn nothing_is_left_after_the_drop() {
    let server = NatsServer::start().await.unwrap();
    let folder = server.process().log().parent().unwrap().to_path_buf();
    let address = server.address();
    drop(server);
    assert!(!folder.exists());
    eventually(
        "the port to be free",
        Duration::from_secs(5),
        || async move { TcpStream::connect(address).await.is_err() },
    )
    .await;
}
