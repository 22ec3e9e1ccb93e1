//! TLS of the port, by rustls with ring. Certificates are read again when their files have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::time::Instant;

use super::Settings;
use crate::types::Chain;

/// How often the files are looked at.
const LOOK_AFTER: Duration = Duration::from_secs(30);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{key} {path}: {message}")]
pub struct TlsError {
    key: &'static str,
    path: String,
    message: String,
}

fn wrong(key: &'static str, path: &Path, message: impl ToString) -> TlsError {
    TlsError { key, path: path.display().to_string(), message: message.to_string() }
}

/// The files, and what was made of them.
#[derive(Debug)]
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    changed: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Tls {
    /// Reads the files; none where the settings name none.
    pub(super) fn open(settings: &Settings) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
            return Ok(None);
        };
        let client_ca = settings.client_ca.as_deref();
        let current = Current {
            changed: changed(certificate, key, client_ca),
            config: Arc::new(config(certificate, key, client_ca)?),
            looked: Instant::now(),
        };
        Ok(Some(Self {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: settings.client_ca.clone(),
            current: Mutex::new(current),
        }))
    }

    /// The present configuration. Files that are wrong leave it as it is.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock();
        if current.looked.elapsed() >= LOOK_AFTER {
            current.looked = Instant::now();
            let client_ca = self.client_ca.as_deref();
            let now = changed(&self.certificate, &self.key, client_ca);
            if now != current.changed {
                current.changed = now;
                match config(&self.certificate, &self.key, client_ca) {
                    Ok(config) => current.config = Arc::new(config),
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error),
                            "admin: the new certificate cannot be used; the former one stays");
                    }
                }
            }
        }
        current.config.clone()
    }
}

fn changed(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Vec<Option<SystemTime>> {
    let files = [Some(certificate), Some(key), client_ca].into_iter().flatten();
    files.map(|path| std::fs::metadata(path).and_then(|it| it.modified()).ok()).collect()
}

fn config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("admin.certificate", certificate, error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("admin.client_ca", path)? {
                roots.add(authority).map_err(|error| wrong("admin.client_ca", path, error))?;
            }
            // Requests without a certificate may carry the token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong("admin.client_ca", path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong("admin.key", key, format!("no private key in PEM form: {error}")))?;
    let chain = certificates("admin.certificate", certificate)?;
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| wrong("admin.certificate", certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(key, path, error))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| wrong(key, path, error))?;
    if all.is_empty() {
        return Err(wrong(key, path, "no certificate in PEM form (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(all)
}
