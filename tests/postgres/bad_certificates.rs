//! Certificates that a server should not have.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _, date_time_ymd};

use crate::certificates::{Authority, Pair, named};

/// One that was good for a year.
pub(crate) fn expired(authority: &Authority, name: &str) -> Pair {
    let mut params = named(name, &[name]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    authority.sign_as(&params)
}

/// A self-signed certificate of X.509 version 1 (RFC 5280 section 4.1): no version, no extensions.
pub(crate) fn version_one(common_name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    // ecdsa-with-SHA256, 1.2.840.10045.4.3.2
    let algorithm = der(0x30, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    let text = der(0x0c, common_name.as_bytes());
    let attribute = der(0x30, &[&[6, 3, 0x55, 4, 3][..], &text].concat());
    let name = der(0x30, &der(0x31, &attribute));
    let time = |text: &str| der(0x17, text.as_bytes());
    let validity = der(0x30, &[time("200101000000Z"), time("491231235959Z")].concat());
    let parts = [
        der(2, &[1]),
        algorithm.clone(),
        name.clone(),
        validity,
        name,
        key.subject_public_key_info(),
    ];
    let body = der(0x30, &parts.concat());
    let signature = der(3, &[&[0][..], &key.sign(&body).unwrap()].concat());
    let certificate = der(0x30, &[body, algorithm, signature].concat());
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, certificate);
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    Pair { certificate, key: key.serialize_pem() }
}

/// A tag, a length and what it holds (ITU-T X.690 section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}
