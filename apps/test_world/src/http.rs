//! HTTP by hand: what goes over the socket is in the test's sight.

use std::net::SocketAddr;

use axum::Router;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Routes, served on a port of their own.
#[derive(Debug, Clone, Copy)]
pub struct Http(pub SocketAddr);

impl Http {
    /// Serves these routes until the test's runtime ends.
    pub async fn serve(router: Router) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Http(address)
    }

    /// The status and the body of an answer to a request whose body is of this kind.
    pub async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.0).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.0,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The same with JSON, null for no body.
    pub async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.ask(method, path, "application/json", &body).await;
        (status, serde_json::from_str(&answer).unwrap())
    }

    /// The status and the body of an answer.
    pub async fn text(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "text/plain", "").await
    }

    /// The status of an answer, and its JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.json("GET", path, Value::Null).await
    }
}
