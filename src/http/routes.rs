//! From a request to its response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::api::{self, Status};
use super::guard::{Guard, Refusal, Trust};
use super::health::{Health, is_ready};
use super::history::History;
use super::pace::Pace;
use super::shares::Shares;
use super::subject::Subject;
use super::{metrics, page};
use crate::log_limit::limited;

/// Requests that begin in a second, those of all clients together.
const REQUESTS_PER_SECOND: u32 = 200;
/// How long a response may take to be made.
const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// How long the outcome of a reload is waited for, which goes on by itself.
const RELOAD_TIME: Duration = Duration::from_secs(8);

pub(super) type Reply = Response<Full<Bytes>>;

/// What there is to ask for.
pub(super) struct Routes {
    guard: Guard,
    health: Arc<Health>,
    history: Arc<History>,
    shares: Arc<Shares>,
    subject: Arc<dyn Subject>,
    pace: Pace,
    /// The newest answer of `/metrics`: whoever asks at the same time gets the same.
    metrics: Mutex<Option<(Instant, Bytes)>>,
    /// The newest page, in the same way; held while it is made.
    page: Mutex<Option<(Instant, Bytes)>>,
    policy: String,
}

/// How long an answer of `/metrics`, and the page, is given again.
const ANSWER_AGE: Duration = Duration::from_secs(1);

impl Routes {
    pub(super) fn new(
        guard: Guard,
        (health, history, shares): (Arc<Health>, Arc<History>, Arc<Shares>),
        subject: Arc<dyn Subject>,
    ) -> Self {
        let pace = Pace::per_second(REQUESTS_PER_SECOND);
        let (metrics, page) = (Mutex::default(), Mutex::default());
        let policy = page::policy();
        Self { guard, health, history, shares, subject, pace, metrics, page, policy }
    }

    /// Answers a request. Its body, if it has one, is not read.
    pub(super) async fn answer(&self, request: Parts, peer: SocketAddr, certified: bool) -> Reply {
        self.pace.turn().await;
        let mut reply = match self.guard.admit(&request.method, &request.headers, certified) {
            Ok(trust) => match timeout(RESPONSE_TIME, self.route(&request, trust)).await {
                Ok(reply) => reply,
                Err(_) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, "the server did not answer in time")
                }
            },
            Err(refusal) => refused(refusal, peer),
        };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        reply
    }

    async fn route(&self, request: &Parts, trust: Trust) -> Reply {
        let path = request.uri.path();
        let known = Route::of(path);
        let Some(route) = known else { return text(StatusCode::NOT_FOUND, "no such page") };
        let allowed = route.methods();
        if !allowed.split(", ").any(|allowed| allowed == request.method.as_str()) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed here");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return reply;
        }
        match (route, trust) {
            (Route::Live, _) => text(StatusCode::OK, "ok"),
            (Route::Ready, Trust::Stranger) => match self.health.is_ready() {
                true => text(StatusCode::OK, "ok"),
                false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            },
            (_, Trust::Stranger) => refusal_reply(
                StatusCode::UNAUTHORIZED,
                "this needs the header Authorization: Bearer TOKEN, or a client certificate",
            ),
            (Route::Reload, Trust::Reader) => {
                tracing::info!("admin: the configuration is read again");
                match timeout(RELOAD_TIME, self.subject.reload()).await {
                    Ok(Some(done)) if done.errors.is_empty() => json(StatusCode::OK, &done),
                    Ok(Some(refused)) => json(StatusCode::UNPROCESSABLE_ENTITY, &refused),
                    Ok(None) => text(StatusCode::SERVICE_UNAVAILABLE, "the server stops"),
                    Err(_) => text(
                        StatusCode::ACCEPTED,
                        "the configuration is read again; the log has the outcome",
                    ),
                }
            }
            (Route::Maintenance, Trust::Reader) if request.method == Method::POST => {
                match self.subject.begin_maintenance() {
                    true => text(StatusCode::ACCEPTED, "the jobs that are due begin"),
                    false => text(
                        StatusCode::CONFLICT,
                        "there is nothing to maintain: every share is in memory",
                    ),
                }
            }
            (Route::Maintenance, Trust::Reader) => {
                json(StatusCode::OK, &self.subject.maintenance())
            }
            (Route::Ready, Trust::Reader) => self.ready(),
            (Route::Metrics, Trust::Reader) => self.metrics(),
            (Route::Status, Trust::Reader) => self.status(),
            (Route::Page, Trust::Reader) => self.page(),
            (Route::Clients, Trust::Reader) => {
                json(StatusCode::OK, &api::clients(&*self.subject, &self.history))
            }
            (Route::Locks, Trust::Reader) => {
                json(StatusCode::OK, &self.subject.locks().unwrap_or_default())
            }
            (Route::SlowCalls, Trust::Reader) => {
                json(StatusCode::OK, &api::slow_calls(self.subject.slow()))
            }
            (Route::History, Trust::Reader) => json(StatusCode::OK, &self.history.points()),
            (Route::Shares, Trust::Reader) => json(StatusCode::OK, &self.subject.shares().await),
            (Route::Configuration, Trust::Reader) => typed(
                StatusCode::OK,
                "application/yaml",
                self.subject.about().configuration.clone(),
            ),
        }
    }

    /// A line for each part.
    fn ready(&self) -> Reply {
        let parts = self.health.read();
        let lines = parts.iter().map(|part| match &part.error {
            None => format!("ok {} ({}, {:.1} ms)\n", part.name, part.kind, part.took_ms),
            Some(error) => format!("FAILED {} ({}): {error}\n", part.name, part.kind),
        });
        let status = match is_ready(&parts) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        typed(status, "text/plain; charset=utf-8", lines.collect::<String>())
    }

    fn page(&self) -> Reply {
        let mut newest = self.page.lock();
        let text = match &*newest {
            Some((at, text)) if at.elapsed() < ANSWER_AGE => text.clone(),
            Some(_) | None => {
                let page = page::page(
                    &*self.subject,
                    self.health.read(),
                    &self.shares.read(),
                    &self.history,
                );
                let text = Bytes::from(page);
                *newest = Some((Instant::now(), text.clone()));
                text
            }
        };
        let mut reply = typed(StatusCode::OK, "text/html; charset=utf-8", text);
        if let Ok(policy) = HeaderValue::from_str(&self.policy) {
            reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        reply
    }

    fn metrics(&self) -> Reply {
        let mut newest = self.metrics.lock();
        if let Some((at, text)) = &*newest
            && at.elapsed() < ANSWER_AGE
        {
            return typed(StatusCode::OK, metrics::CONTENT_TYPE, text.clone());
        }
        let mut readings = self.subject.measure();
        let about = self.subject.about();
        let labels = [("version", about.version), ("commit", about.commit)];
        readings.level("trunkfs_build_info", "The program", &labels, 1);
        let started = about.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the server was started, in seconds since 1970";
        readings.gauge("trunkfs_start_time_seconds", help, &[], started.as_secs_f64());
        self.shares.measure(&mut readings);
        for part in self.health.read() {
            let labels = [("part", part.name.as_str()), ("type", part.kind)];
            let help = "1 where a part of the server works: the port of NFS, a store";
            readings.level("trunkfs_up", help, &labels, u64::from(part.ok));
        }
        match metrics::text(readings) {
            Ok(text) => {
                let text = Bytes::from(text);
                *newest = Some((Instant::now(), text.clone()));
                typed(StatusCode::OK, metrics::CONTENT_TYPE, text)
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"),
        }
    }

    fn status(&self) -> Reply {
        let parts = self.health.read();
        let ready = is_ready(&parts);
        json(StatusCode::OK, &Status { ready, about: &self.subject.about(), parts })
    }
}

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Live,
    Ready,
    Metrics,
    Page,
    Status,
    Shares,
    Clients,
    Locks,
    SlowCalls,
    History,
    Configuration,
    Reload,
    Maintenance,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/" => Self::Page,
            "/metrics" => Self::Metrics,
            "/api/v1/status" => Self::Status,
            "/api/v1/shares" => Self::Shares,
            "/api/v1/clients" => Self::Clients,
            "/api/v1/locks" => Self::Locks,
            "/api/v1/slow-calls" => Self::SlowCalls,
            "/api/v1/history" => Self::History,
            "/api/v1/configuration" => Self::Configuration,
            "/api/v1/reload" => Self::Reload,
            "/api/v1/maintenance" => Self::Maintenance,
            _ => return None,
        })
    }

    /// As `Allow` has them (RFC 9110, 10.2.1).
    fn methods(self) -> &'static str {
        match self {
            Self::Reload => "POST",
            Self::Maintenance => "GET, HEAD, POST",
            Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Page
            | Self::Status
            | Self::Shares
            | Self::Clients
            | Self::Locks
            | Self::SlowCalls
            | Self::History
            | Self::Configuration => "GET, HEAD",
        }
    }
}

fn refused(refusal: Refusal, peer: SocketAddr) -> Reply {
    match refusal {
        Refusal::WrongToken => {
            limited!(warn, peer, "admin: a request with a wrong token was refused", %peer);
        }
        Refusal::NoHost
        | Refusal::ForeignHost
        | Refusal::ForeignOrigin
        | Refusal::NoToken
        | Refusal::NoChanges => tracing::debug!(%peer, %refusal, "admin: refused"),
    }
    refusal_reply(refusal.status(), &refusal.to_string())
}

fn refusal_reply(status: StatusCode, why: &str) -> Reply {
    let mut reply = text(status, why);
    if status == StatusCode::UNAUTHORIZED {
        // A browser asks its user for a name and a password on the second.
        let headers = reply.headers_mut();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"TrunkFS\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"TrunkFS\""));
    }
    reply
}

fn text(status: StatusCode, line: &str) -> Reply {
    typed(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(error) => {
            tracing::debug!(%error, "admin: JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written")
        }
    }
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
