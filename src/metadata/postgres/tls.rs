//! TLS to the database, by rustls with ring: what is checked, and what is said where a check fails.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect_error::ConnectError;
use super::target::{ConnectOptions, Identity, Roots, SslMode};

/// How handshakes are made; nothing where connections have no TLS. Reads files and blocks. Made anew for
/// every connection, so that certificates may be replaced while the server runs.
pub(super) fn connector(
    target: &ConnectOptions,
) -> Result<Option<MakeRustlsConnect>, ConnectError> {
    let roots = match target.sslmode {
        SslMode::Disable => return Ok(None),
        SslMode::Require => None,
        SslMode::VerifyCa | SslMode::VerifyFull => Some(Arc::new(roots(&target.roots)?)),
    };
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::lasting(format!("TLS cannot be set up: {error}")))?;
    let builder = match (target.sslmode, roots) {
        (SslMode::VerifyFull, Some(roots)) => builder.with_root_certificates(roots),
        (_, roots) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Nameless { roots, algorithms })),
    };
    let config = match &target.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = (chain(identity)?, key(identity)?);
            builder.with_client_auth_cert(chain, key).map_err(|error| misfit(identity, &error))?
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn roots(roots: &Roots) -> Result<RootCertStore, ConnectError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            let loaded = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(loaded.certs);
            if store.is_empty() {
                return Err(ConnectError::lasting(
                    "the operating system has no CA certificates; install ca-certificates, or set \
                     sslrootcert to a file",
                ));
            }
        }
        Roots::File(path) => {
            for certificate in certificates("sslrootcert", path)? {
                store.add(certificate).map_err(|error| {
                    let path = path.display();
                    ConnectError::lasting(format!(
                        "sslrootcert {path} contains an invalid certificate: {error}"
                    ))
                })?;
            }
        }
    }
    Ok(store)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|error| {
        let path = path.display();
        ConnectError::lasting(format!(
            "{key} {path} cannot be read: {error}; it must be a PEM file"
        ))
    })
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let path = path.display();
    match found {
        Ok(found) if found.is_empty() => Err(ConnectError::lasting(format!(
            "{key} {path} contains no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        ))),
        Ok(found) => Ok(found),
        Err(error) => {
            Err(ConnectError::lasting(format!("{key} {path} is not a PEM file: {error}")))
        }
    }
}

fn chain(identity: &Identity) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    certificates("sslcert", &identity.certificate)
}

fn key(identity: &Identity) -> Result<PrivateKeyDer<'static>, ConnectError> {
    let bytes = read("sslkey", &identity.key)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        ConnectError::lasting(format!(
            "sslkey {} contains no usable private key; it must be an unencrypted key in PEM form (openssl \
             pkey removes a password)",
            identity.key.display()
        ))
    })
}

fn misfit(identity: &Identity, error: &Error) -> ConnectError {
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    ConnectError::lasting(match error {
        Error::InconsistentKeys(_) => format!(
            "sslkey {key} does not match the certificate in sslcert {certificate}; set both to files of one \
             pair"
        ),
        Error::InvalidCertificate(_) => format!(
            "sslcert {certificate} is of X.509 version 1, or invalid; create one of version 3 (openssl x509 \
             with -extfile and extendedKeyUsage = clientAuth)"
        ),
        other => format!("sslcert {certificate} and sslkey {key} cannot be used: {other}"),
    })
}

/// Checks that the server holds its certificate's key, and with `roots` who signed it; never for whom.
#[derive(Debug)]
struct Nameless {
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a failed handshake means for who reads it.
pub(super) fn explain(error: &Error, target: &ConnectOptions) -> String {
    match error {
        Error::InvalidCertificate(wrong) => certificate(wrong, target),
        Error::AlertReceived(alert) => alerted(*alert, target),
        other => format!("the TLS handshake failed: {other}"),
    }
}

/// Foreign and open to additions: the last arm is for the unknown.
fn certificate(wrong: &CertificateError, target: &ConnectOptions) -> String {
    let roots = match &target.roots {
        Roots::System => "the operating system's CA certificates".to_owned(),
        Roots::File(path) => format!("sslrootcert {}", path.display()),
    };
    match wrong {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the server's certificate is not signed by a CA in {roots}; set sslrootcert to the certificate \
             of the CA that issued it"
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let presented = match presented.as_slice() {
                [] => "for no name (it needs a subjectAltName)".to_owned(),
                names => format!("for {}", names.iter().map(|it| bare(it)).collect::<Vec<_>>().join(", ")),
            };
            format!(
                "the server's certificate is {presented}, not for {expected}; set host to a name in the \
                 certificate, install a certificate for {expected} on the server, or write sslmode: \
                 verify-ca"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired; renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; compare the clocks of both machines".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers (extendedKeyUsage); install one with serverAuth"
                .to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is a CA certificate (CA:TRUE); install a certificate that this CA has \
             signed, or a self-signed one with basicConstraints = CA:FALSE"
                .to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate is of X.509 version 1, or invalid; create one of version 3 (openssl \
             x509 with -extfile and a subjectAltName)"
                .to_owned()
        }
        other => format!("the server's certificate cannot be trusted: {other}"),
    }
}

/// `DnsName("a")` and `IpAddress(b)` without what surrounds the name.
fn bare(presented: &str) -> &str {
    let inside = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(presented).trim_matches('"')
}

/// Foreign and open to additions: the last arm is for the unknown.
fn alerted(alert: AlertDescription, target: &ConnectOptions) -> String {
    match (alert, &target.identity) {
        (AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion, _) => {
            "no TLS version or cipher in common with the server; it needs TLS 1.2 or 1.3 \
             (ssl_min_protocol_version, ssl_max_protocol_version)"
                .to_owned()
        }
        (_, Some(identity)) => format!(
            "the server does not accept the certificate in sslcert {} ({alert:?}); the CA that issued it \
             must be in the server's ssl_ca_file, and it must be valid now",
            identity.certificate.display()
        ),
        (_, None) => {
            format!("the server ended the TLS handshake ({alert:?}); see its log for the reason")
        }
    }
}
