//! A channel's server: it remembers what it was sent and answers as the test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The key by which a repetition is known.
    pub(crate) fn key(&self) -> String {
        self.header("idempotency-key").to_owned()
    }
}

/// What to answer: the status, headers, and the body.
pub(crate) type Answer = (u16, Vec<(&'static str, &'static str)>, &'static str);
/// Decides by what came, and by how many came before it.
type Script = Arc<dyn Fn(&Received, usize) -> Answer + Send + Sync>;

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    script: Script,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Shared,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Takes everything.
    pub(crate) async fn start() -> Receiver {
        Receiver::answering(|_, _| (200, vec![], "ok")).await
    }

    pub(crate) async fn answering(
        script: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::bind("127.0.0.1:0".parse().unwrap(), Arc::default(), Arc::new(script)).await
    }

    async fn bind(address: SocketAddr, received: Arc<Mutex<Vec<Received>>>, script: Script) -> Receiver {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { received, script };
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Receiver { address, shared, serving }
    }

    /// Closes the port; [`Receiver::back`] opens it again.
    pub(crate) async fn down(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    pub(crate) async fn back(&mut self) {
        *self =
            Receiver::bind(self.address, Arc::clone(&self.shared.received), Arc::clone(&self.shared.script))
                .await;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How often each key came.
    pub(crate) fn by_key(&self) -> BTreeMap<String, usize> {
        let mut by_key = BTreeMap::new();
        for received in self.received() {
            *by_key.entry(received.key()).or_default() += 1;
        }
        by_key
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait_until(|received| received.len() >= count).await
    }

    pub(crate) async fn wait_until(&self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let received = self.received();
            if enough(&received) {
                return received;
            }
            assert!(Instant::now() < until, "only {} requests came: {received:#?}", received.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let received = Received { at: Instant::now(), path: uri.to_string(), headers, body };
    let before = {
        let mut all = shared.received.lock().unwrap();
        all.push(received.clone());
        all.len() - 1
    };
    // It may kill the sender, which is to be done by the time that the answer is on its way.
    let (status, headers, body) = (shared.script)(&received, before);
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
