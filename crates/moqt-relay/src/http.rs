//! Facts about the relay, over HTTP: the certificate's fingerprint, health, and the names that are announced. For
//! developers also the page.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderName, StatusCode, Uri, header},
    response::IntoResponse,
    routing::get,
};
use moqt::Namespace;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, timeout},
};
use tracing::{error, info};

use crate::{
    error::StartError,
    metrics::{self, Page},
    page,
    shared::Shared,
};

/// Pages of any origin may ask.
const ANYBODY: (HeaderName, &str) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// Listens. Must be called within a tokio runtime.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::HttpInUse(address),
        _ => StartError::Http { address, source },
    })
}

/// Answers until the relay closes.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving HTTP");
    }
    let limits = shared.limits.clone();
    let listener = Limited {
        listener,
        places: Arc::new(Semaphore::new(limits.http_connections.min(Semaphore::MAX_PERMITS))),
        lifetime: limits.http_lifetime,
    };
    let mut closing = shared.closing();
    let mut closed = shared.closing();
    let app = Router::new()
        .route("/certificate.sha256", get(fingerprint))
        .route("/fingerprint", get(fingerprint))
        .route("/metrics", get(metrics))
        .route("/health", get(async || ([ANYBODY], "ok")))
        .route("/ready", get(ready))
        .route("/announced", get(announced))
        .route("/announced/", get(announced))
        .route("/announced/{*prefix}", get(announced))
        .merge(if shared.page { page::router() } else { Router::new() })
        .with_state(shared);
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move { closing.wait().await });
    let too_long = async {
        closed.wait().await;
        let _ = timeout(limits.close, std::future::pending::<()>()).await;
    };
    tokio::select! {
        biased;
        served = serving => {
            if let Err(error) = served {
                error!(%error, "HTTP failed");
            }
        }
        () = too_long => {}
    }
}

async fn fingerprint(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    match shared.fingerprint {
        Some(fingerprint) => (StatusCode::OK, [ANYBODY], fingerprint.to_string()),
        None => (StatusCode::NOT_FOUND, [ANYBODY], String::new()),
    }
}

/// Whether new clients are welcome. A relay that drains is healthy all the same.
async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    if shared.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, [ANYBODY], "draining")
    } else {
        (StatusCode::OK, [ANYBODY], "ok")
    }
}

/// Numbers for Prometheus. Not for pages of other origins.
async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], Page::new(&shared).text())
}

/// The names below a prefix, as a JSON array of texts. The query's `scope` is a URL path; without it, `/`.
async fn announced(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
    uri: Uri,
) -> impl IntoResponse {
    let prefix = uri.path().strip_prefix("/announced").unwrap_or_default();
    let Ok(prefix) = prefix.trim_matches('/').parse::<Namespace>() else {
        let error = Json(Value::from("not a prefix: percent-encode what is not text"));
        return (StatusCode::BAD_REQUEST, [ANYBODY], error);
    };
    let scope = query.get("scope").map_or("/", String::as_str);
    let names = shared.names(scope).into_iter().filter(|name| name.starts_with(&prefix));
    let names = names.map(|name| Value::from(name.to_string())).collect();
    (StatusCode::OK, [ANYBODY], Json(Value::Array(names)))
}

/// A listener with so many connections at a time, each for so long.
struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    lifetime: Duration,
}

impl axum::serve::Listener for Limited {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        // The semaphore is never closed; without a place nothing is accepted.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(self.lifetime));
        (LimitedStream { stream, deadline, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds a place, and fails at its deadline.
struct LimitedStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl LimitedStream {
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
