//! A running server, asked by its admin port.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::{Certificate, Client, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use serde::de::DeserializeOwned;

use super::job::run_error;
use super::{Configured, Failure};
use crate::config::Reach;
use crate::http;
use crate::rpc::null_probe::own_address;
use crate::types::{Chain, SecretFile, settings};

/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Which server is asked.
#[derive(Debug, Args)]
pub(super) struct Server {
    #[command(flatten)]
    configured: Configured,
    /// Admin port of the server, as HOST:PORT or https://HOST:PORT [default: admin.listen of the
    /// configuration, on this machine]
    #[arg(value_name = "HOST:PORT")]
    address: Option<String>,
    /// File with the token of a server that HOST:PORT names
    #[arg(long, value_name = "FILE", requires = "address")]
    token_file: Option<PathBuf>,
    /// PEM file of the CA that signed that server's certificate [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "address")]
    ca: Option<PathBuf>,
    /// Timeout for each answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(super) timeout: Duration,
}

/// A time from the command line.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let millis = settings::millis(text).filter(|millis| *millis > 0).map(Duration::from_millis);
    millis.ok_or_else(|| {
        "not a duration; write an integer and a unit (ms, s or m), such as 5s".to_owned()
    })
}

/// Where a server is.
pub(super) enum Target {
    /// Its admin port answers there.
    Admin(AdminPort),
    /// The admin port of this configuration is off: only NFS answers, there.
    NfsOnly(String),
}

/// The cause of a failed connection: the layers above it repeat the address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(String);

fn innermost(error: &dyn std::error::Error) -> Cause {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Cause(cause.to_string())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect")]
    Connect(#[source] Cause),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the service on that port does not speak HTTP")]
    NotHttp,
    #[error("{status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("not an answer of trunkfs")]
    Foreign,
}

/// An admin port.
#[derive(Debug)]
pub(super) struct AdminPort {
    client: Client,
    /// `http://HOST:PORT`.
    base: String,
    token: Option<String>,
    timeout: Duration,
    /// HOST:PORT.
    pub(super) shown: String,
}

impl Server {
    /// Finds the server.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        // Whoever has set one before is as well.
        let _ = ring::default_provider().install_default();
        let builder = Client::builder().no_proxy().timeout(self.timeout);
        let Some(address) = &self.address else { return self.of_configuration(builder) };
        let (scheme, shown) = match address.split_once("://") {
            None => ("http", address.as_str()),
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.trim_end_matches('/')),
            Some(_) => return Err(not_an_address(address)),
        };
        let port = shown.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            None => return Err(not_an_address(address)),
            Some(0) => {
                let text = format!(
                    "{address}: port 0 is not a server's port; give its address, such as 127.0.0.1:12080"
                );
                return Err(Failure::Run(text.into()));
            }
            Some(_) => {}
        }
        let token = match &self.token_file {
            None => None,
            Some(file) => Some(SecretFile::read(file).map_err(|error| {
                Failure::Wrong(format!("--token-file {}: {error}", file.display()))
            })?),
        };
        let builder = match &self.ca {
            None if scheme == "http" => builder.tls_backend_preconfigured(without_authorities()?),
            None => builder,
            Some(file) => {
                let wrong = |error: &dyn std::fmt::Display| {
                    Failure::Wrong(format!("--ca {}: {error}", file.display()))
                };
                let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
                let all = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
                builder.tls_certs_only(all)
            }
        };
        Ok(Target::Admin(AdminPort {
            client: builder.build().map_err(run_error)?,
            base: format!("{scheme}://{shown}"),
            token: token.map(|token| token.text),
            timeout: self.timeout,
            shown: shown.to_owned(),
        }))
    }

    fn of_configuration(&self, builder: reqwest::ClientBuilder) -> Result<Target, Failure> {
        let Reach { nfs, admin } = self.configured.source().reach()?;
        let Some(listen) = admin.listen else {
            return Ok(Target::NfsOnly(own_address(nfs).to_string()));
        };
        let shown = own_address(listen).to_string();
        let (scheme, builder) = match &admin.certificate {
            None => ("http", builder.tls_backend_preconfigured(without_authorities()?)),
            Some(_) => ("https", builder.tls_backend_preconfigured(pinned(&admin)?)),
        };
        Ok(Target::Admin(AdminPort {
            client: builder.build().map_err(run_error)?,
            base: format!("{scheme}://{shown}"),
            token: admin.token.map(|token| token.reveal().to_owned()),
            timeout: self.timeout,
            shown,
        }))
    }
}

fn not_an_address(text: &str) -> Failure {
    Failure::Wrong(format!(
        "{text:?} is not an address; write HOST:PORT or https://HOST:PORT, such as 127.0.0.1:12080"
    ))
}

impl AdminPort {
    /// Asks for an object of JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                AskError::Silent(self.timeout)
            } else if error.is_connect() {
                AskError::Connect(innermost(&error))
            } else {
                AskError::NotHttp
            }
        };
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(AskError::Foreign);
            }
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).lines().next().unwrap_or_default().to_owned();
            return Err(AskError::Refused { status, text });
        }
        serde_json::from_slice(&body).map_err(|_| AskError::Foreign)
    }

    /// The failure of a command.
    pub(super) fn failure(&self, error: &AskError) -> Failure {
        Failure::Run(format!("{}: {}", self.shown, Chain(error)).into())
    }
}

/// What a client of HTTP alone is made with. A machine may have no certificate authorities, which is an error
/// where those of the system are taken.
fn without_authorities() -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(run_error)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Takes the certificate that the configuration names for the server's own, whatever names it has.
fn pinned(admin: &http::Settings) -> Result<ClientConfig, Failure> {
    let path = admin.certificate.clone().unwrap_or_default();
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Wrong(format!("{}: {error}", path.display()));
    let own = CertificateDer::from_pem_file(&path).map_err(|error| wrong(&error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let pinned = Arc::new(Pinned { own, provider });
    let config = builder.dangerous().with_custom_certificate_verifier(pinned);
    Ok(config.with_no_client_auth())
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *certificate == self.own {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
