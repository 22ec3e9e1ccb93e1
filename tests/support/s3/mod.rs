//! A real S3 server in this process, with a network in front of it that a test may make unreliable.

#![allow(dead_code, reason = "not every program that includes this uses all of it")]

mod disk;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use s3s::auth::{S3Auth, SecretKey, SimpleAuth};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, S3Result};
use tokio::net::{TcpListener, TcpStream};
use trunkfs::content::{ObjectSettings, S3, Service};
use trunkfs::types::settings::Secret;

use self::disk::Disk;

/// The keys that the server knows.
pub(crate) const ACCESS_KEY: &str = "trunkfs-tests";
/// See [`ACCESS_KEY`].
pub(crate) const SECRET_KEY: &str = "not a secret";
/// A bucket that is there.
pub(crate) const BUCKET: &str = "content";

/// The pair of keys that the server takes now.
#[derive(Clone)]
struct Keys(Arc<Mutex<(String, String)>>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let (id, secret) = self.0.lock().clone();
        SimpleAuth::from_single(id, secret).get_secret_key(access_key).await
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done and answered.
    Normal,
    /// It is refused with this status, and not done.
    Refused(u16),
    /// It is done, and answered with this status all the same.
    DoneAndRefused(u16),
    /// The connection is cut, and it is not done.
    Cut,
    /// It is done, and the connection is cut.
    DoneAndCut,
    /// It is answered with 503 now, and done so much later.
    RefusedAndLate(Duration),
    /// It waits before it is done.
    Slow(Duration),
    /// It is never answered, nor done.
    Lost,
}

type Plan = Box<dyn FnMut(&Method, &str) -> Fate + Send>;

/// A running server; it ends with the value.
pub(crate) struct S3Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
    folder: Option<tempfile::TempDir>,
}

struct Shared {
    service: S3Service,
    keys: Keys,
    conditions: Arc<AtomicBool>,
    plan: Mutex<Option<Plan>>,
    /// Requests so far: GET and HEAD, PUT, others.
    counts: [AtomicUsize; 3],
    /// Requests that were refused and are not done yet.
    late: Arc<AtomicUsize>,
}

/// How many requests there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) gets: usize,
    pub(crate) puts: usize,
    pub(crate) others: usize,
}

impl S3Server {
    /// A server with one empty bucket, in a folder of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut server = Self::serve(listener, folder.path());
        server.folder = Some(folder);
        server
    }

    /// A server with a bucket in a folder, behind a listener.
    pub(crate) fn serve(listener: TcpListener, root: &Path) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let conditions = Arc::new(AtomicBool::new(true));
        let disk = Disk::new(root, Arc::clone(&conditions));
        let mut builder = S3ServiceBuilder::new(disk);
        let keys = Keys(Arc::new(Mutex::new((ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()))));
        builder.set_auth(keys.clone());
        let shared = Arc::new(Shared {
            service: builder.build(),
            keys,
            conditions,
            plan: Mutex::default(),
            counts: Default::default(),
            late: Arc::default(),
        });
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting, folder: None }
    }

    /// The server's URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A store's settings for the bucket: small chunks, little memory, much patience.
    pub(crate) fn settings(&self) -> ObjectSettings {
        ObjectSettings {
            service: Service::S3(S3 {
                bucket: BUCKET.to_owned(),
                endpoint: Some(self.endpoint()),
                path_style: true,
                access_key: Some(ACCESS_KEY.to_owned()),
                secret_key: Some(Secret::new(SECRET_KEY.to_owned())),
                allow_http: true,
                ..S3::default()
            }),
            prefix: "tests/share".to_owned(),
            request_timeout: Duration::from_secs(60),
            retries: 20,
            max_concurrency: 16,
            connect_timeout: Duration::from_secs(60),
            write_buffer: 4 << 20,
            cache: 4 << 20,
            chunk_size: 64 << 10,
            ..ObjectSettings::default()
        }
    }

    /// From now on `plan` says what becomes of each request, by its method and path.
    pub(crate) fn plan(&self, plan: impl FnMut(&Method, &str) -> Fate + Send + 'static) {
        *self.shared.plan.lock() = Some(Box::new(plan));
    }

    /// From now on so many requests meet one of all the fates there are.
    pub(crate) fn unreliable(&self, seed: u64, part: f64) {
        let mut random = StdRng::seed_from_u64(seed);
        self.plan(move |_, _| {
            if !random.random_bool(part) {
                return Fate::Normal;
            }
            let time = Duration::from_millis(random.random_range(1..300));
            match random.random_range(0..8) {
                0 => Fate::Refused(503),
                1 => Fate::Refused(500),
                2 => Fate::DoneAndRefused(500),
                3 => Fate::Cut,
                4 => Fate::DoneAndCut,
                5 => Fate::RefusedAndLate(time),
                6 => Fate::Slow(time),
                _ => Fate::Lost,
            }
        });
    }

    /// From now on the server takes these keys alone.
    pub(crate) fn set_keys(&self, id: &str, secret: &str) {
        *self.shared.keys.0.lock() = (id.to_owned(), secret.to_owned());
    }

    /// From now on every request is done and answered.
    pub(crate) fn heal(&self) {
        *self.shared.plan.lock() = None;
    }

    /// Every request is done and answered from now on, and those that were late are done.
    pub(crate) async fn calm(&self) {
        self.heal();
        while self.shared.late.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on conditions of writes are ignored.
    pub(crate) fn ignore_conditions(&self) {
        self.shared.conditions.store(false, Ordering::Relaxed);
    }

    /// Requests so far.
    pub(crate) fn counts(&self) -> Counts {
        let [gets, puts, others] =
            self.shared.counts.each_ref().map(|count| count.load(Ordering::SeqCst));
        Counts { gets, puts, others }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(stream, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    // A connection ends with an error where a request's fate is to be cut.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let kind = match *request.method() {
        Method::GET | Method::HEAD => 0,
        Method::PUT => 1,
        _ => 2,
    };
    shared.counts[kind].fetch_add(1, Ordering::SeqCst);
    let fate = match &mut *shared.plan.lock() {
        Some(plan) => plan(request.method(), request.uri().path()),
        None => Fate::Normal,
    };
    if fate == Fate::Normal {
        return shared.service.call(request.map(Body::from)).await;
    }
    let request = collected(request).await.map_err(|_| cut())?;
    match fate {
        Fate::Normal => shared.service.call(request).await,
        Fate::Refused(status) => Ok(refusal(status)),
        Fate::DoneAndRefused(status) => {
            shared.service.call(request).await?;
            Ok(refusal(status))
        }
        Fate::Cut => Err(cut()),
        Fate::DoneAndCut => {
            shared.service.call(request).await?;
            Err(cut())
        }
        Fate::RefusedAndLate(late) => {
            shared.late.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                let _ = shared.service.call(request).await;
                shared.late.fetch_sub(1, Ordering::SeqCst);
            });
            Ok(refusal(503))
        }
        Fate::Slow(time) => {
            tokio::time::sleep(time).await;
            shared.service.call(request).await
        }
        Fate::Lost => std::future::pending().await,
    }
}

async fn collected(request: Request<Incoming>) -> Result<Request<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut body = Body::from(body);
    let mut bytes = BytesMut::new();
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece);
    }
    Ok(Request::from_parts(parts, Body::from(bytes.freeze())))
}

fn refusal(status: u16) -> Response<Body> {
    let code = match status {
        503 => "SlowDown",
        500 => "InternalError",
        403 => "AccessDenied",
        507 => "QuotaExceeded",
        _ => "Refused",
    };
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>On purpose.</Message></Error>"
    );
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn cut() -> HttpError {
    HttpError::new("cut on purpose".into())
}
