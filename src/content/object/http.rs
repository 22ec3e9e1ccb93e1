//! Between the object store's client and the wire: answers that are refusals become typed errors.
//!
//! The client tells most refusals apart by text alone. What arrives here has a status and, from S3, a body
//! with a code (Amazon S3 API Reference, "Error responses"); both are kept in [`Answer`], which the error's
//! chain then holds. 304, 404, 412 and Azure's 409 go through as they are, since the client acts on them.

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

/// Most bytes of a body that are looked at.
const BODY: usize = 4096;

/// Codes of S3 and Google, and of Azure, that say "there is no such object".
const ABSENT: &[&str] = &["NoSuchKey", "NoSuchVersion", "BlobNotFound"];
/// What Azure says with 409 where an object is not to be replaced (Azure Storage, "Blob service error
/// codes").
const PRESENT: &str = "BlobAlreadyExists";

/// A refusal by the server.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server answered {status}{}{code}{}{message}", sep(code), sep(message))]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// What kind of error the body names; empty where it names none.
    pub(super) code: String,
    /// What the body says of it.
    pub(super) message: String,
}

fn sep(text: &str) -> &'static str {
    if text.is_empty() { "" } else { ": " }
}

impl Answer {
    fn new(status: u16, body: &str) -> Self {
        let code = element(body, "Code").or_else(|| element(body, "code")).unwrap_or_default();
        let message = element(body, "Message").or_else(|| element(body, "message"));
        let plain = || if code.is_empty() { first_line(body) } else { String::new() };
        Self { status, message: message.unwrap_or_else(plain), code }
    }

    /// Whether it says that the object is not there, or there already; else the answer is a proxy's, or about
    /// something else.
    fn is_of_the_object(&self) -> bool {
        match self.status {
            404 => ABSENT.contains(&self.code.as_str()),
            409 => self.code == PRESENT,
            _ => false,
        }
    }
}

/// The text of an element of XML, or of a key of JSON, which is how Google answers in parts.
fn element(body: &str, name: &str) -> Option<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inside = body.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    let text = inside.map(|(text, _)| text.trim()).or_else(|| {
        let (_, rest) = body.split_once(&format!("\"{name}\":"))?;
        rest.trim_start().strip_prefix('"')?.split('"').next()
    })?;
    Some(text.to_owned())
}

fn first_line(body: &str) -> String {
    body.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}

/// Makes clients whose refusals are [`Answer`]s.
#[derive(Debug, Default)]
pub(super) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.connect(options)?)))
    }
}

/// Whether a host is asked for the machine's credentials, and not for objects.
fn gives_credentials(host: &str) -> bool {
    host.starts_with("169.254.") || host == "metadata.google.internal"
}

#[derive(Debug)]
struct Service(HttpClient);

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let aside = request.uri().host().is_some_and(gives_credentials);
        let response = self.0.execute(request).await?;
        let status = response.status();
        if status.is_success() || matches!(status.as_u16(), 304 | 412) || aside && status == 404 {
            return Ok(response);
        }
        let location = response.headers().get("x-amz-bucket-region");
        let region = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (head, body) = response.into_parts();
        let body = body.bytes().await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(BODY)]);
        let mut answer = Answer::new(status.as_u16(), &text);
        if answer.is_of_the_object() {
            return Ok(HttpResponse::from_parts(head, body.into()));
        }
        if let Some(region) = region {
            answer.message.push_str(&format!(" (the bucket is in the region {region})"));
        }
        Err(HttpError::new(HttpErrorKind::Unknown, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_object_is_told_apart() {
        let said = |status, code: &str| {
            Answer::new(status, &format!("<Error><Code>{code}</Code></Error>")).is_of_the_object()
        };
        assert!(said(404, "NoSuchKey") && said(404, "BlobNotFound"));
        assert!(said(409, "BlobAlreadyExists"));
        assert!(!said(404, "NoSuchBucket") && !said(409, "ConditionalRequestConflict"));
        assert!(!said(500, "NoSuchKey") && !Answer::new(404, "Not found").is_of_the_object());
    }

    #[test]
    fn bodies_are_read() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>Gone.</Message></Error>";
        let answer = Answer::new(404, xml);
        assert_eq!(answer.to_string(), "the server answered 404: NoSuchBucket: Gone.");
        let json = Answer::new(403, r#"{"error": {"code": 403, "message": "no rights"}}"#);
        assert_eq!(json.to_string(), "the server answered 403: no rights");
        assert_eq!(Answer::new(503, "\nbusy\nvery").to_string(), "the server answered 503: busy");
        assert_eq!(Answer::new(500, "").to_string(), "the server answered 500");
    }
}
