//! Certificates, and who signs them.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate and its key in PEM form.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Who signs.
pub(crate) struct Authority {
    pub(crate) own: Pair,
    issuer: Issuer<'static, KeyPair>,
}

/// Parameters of a certificate for `names`.
pub(crate) fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

impl Authority {
    pub(crate) fn new(common_name: &str) -> Self {
        let mut params = named(common_name, &["localhost"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let own = Pair { certificate, key: key.serialize_pem() };
        Self { own, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `names`.
    pub(crate) fn sign(&self, common_name: &str, names: &[&str]) -> Pair {
        self.sign_as(&named(common_name, names))
    }

    /// A certificate that is as `params` say.
    pub(crate) fn sign_as(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}
