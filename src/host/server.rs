//! The HTTP server behind the host: bound to loopback, ready before anything else is. Knows sockets and bodies, no function.

use super::answer::HttpAnswer;
use super::dispatch::{Dispatch, Target, too_large};
use super::drain::{Activity, DrainLimits, End, next};
use crate::host::answer::Problem;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::StatusCode;
use http_body_util::BodyExt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// From this size on, bodies are read one at a time, in bytes: sixteen parallel messages of 100 MB would end a 2 GB
/// instance, and with it every other invocation. What Dataverse sends is far below.
const LARGE_BODY_BYTES: usize = 8 << 20;

/// How much of a body that is too large is read and thrown away, in bytes, so that the client sees the answer rather
/// than a reset connection.
const DISCARDED_BYTES_MAX: usize = 4 << 20;

/// How long connections may take to close after serving ended.
const CLOSING: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shared {
    dispatch: Dispatch,
    activity: Activity,
    large: Semaphore,
}

/// Binds the handler's port on loopback, where the host looks for it (0: a free port, for tests).
///
/// # Errors
/// When the port is taken.
pub async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Serves until a signal came and [`Activity::drained`] is satisfied.
///
/// # Errors
/// When the listener breaks.
pub async fn serve<S>(
    listener: TcpListener,
    dispatch: Dispatch,
    limits: DrainLimits,
    signals: S,
) -> std::io::Result<End>
where
    S: Stream<Item = ()> + Send + Unpin,
{
    let activity = Activity::default();
    let shared = Arc::new(Shared { dispatch, activity: activity.clone(), large: Semaphore::new(1) });
    let router = axum::Router::new().fallback(one).with_state(shared);
    let listener = listener.tap_io(|stream| {
        // answers are single small writes; waiting for more would add 40 ms
        let _ = stream.set_nodelay(true);
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = axum::serve(listener, router)
        .with_graceful_shutdown(async {
            let _ = stopped.await;
        })
        .into_future();
    let end = tokio::select! {
        served = &mut serving => return served.map(|()| End::Idle),
        end = told_to_stop(&activity, limits, signals) => end,
    };
    let _ = stop.send(());
    if end != End::Twice {
        let _ = tokio::time::timeout(CLOSING, serving).await;
    }
    Ok(end)
}

async fn told_to_stop<S: Stream<Item = ()> + Unpin>(activity: &Activity, limits: DrainLimits, mut signals: S) -> End {
    next(&mut signals).await;
    tracing::info!(grace_s = limits.grace.as_secs(), "told to stop; serving what still comes");
    activity.drained(limits, &mut signals).await
}

async fn one(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let _under_way = shared.activity.begin();
    let (parts, body) = request.into_parts();
    let target = shared.dispatch.target(&parts);
    let answer = match target {
        Target::Ready | Target::Refused(_) => shared.dispatch.answer(target, parts, Bytes::new()).await,
        Target::Http(..) | Target::Envelope(_) => match read(body, target.body_bytes_max(), &shared.large).await {
            Ok((body, _turn)) => shared.dispatch.answer(target, parts, body).await,
            Err(problem) => HttpAnswer::from(problem),
        },
    };
    answer.into_response().map(Body::from)
}

/// Reads a body of at most `bytes_max` bytes. The permit, held by whoever has a large body, must live as long as it.
async fn read(
    mut body: Body,
    bytes_max: usize,
    large: &Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
    let mut bytes = BytesMut::new();
    let mut turn = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len().saturating_add(data.len());
        if length > bytes_max {
            discard(body).await;
            return Err(too_large(bytes_max));
        }
        if length > LARGE_BODY_BYTES && turn.is_none() {
            turn = large.acquire().await.ok();
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), turn))
}

async fn discard(mut body: Body) {
    let mut discarded = 0_usize;
    while discarded < DISCARDED_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
    }
}
