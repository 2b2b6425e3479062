//! Certificates for one test: an authority, and what it signs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};
use tempfile::TempDir;

/// Seconds of a day.
const DAY: i64 = 24 * 3_600;

/// An authority of a test's own; its files go with it.
#[derive(Debug)]
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
    folder: TempDir,
}

/// Until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Tomorrow,
    /// It ended an hour ago.
    Expired,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: PathBuf,
    /// PKCS#8.
    pub key: PathBuf,
}

impl Authority {
    /// An authority that calls itself `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = key();
        let mut builder = begin(name, &key, Validity::Tomorrow);
        builder.set_issuer_name(&named(name)).expect("it is set");
        let constraints = BasicConstraints::new().critical().ca().build();
        builder
            .append_extension(constraints.expect("an extension"))
            .expect("it is appended");
        builder
            .sign(&key, MessageDigest::sha256())
            .expect("it is signed");
        let authority = Self {
            key,
            certificate: builder.build(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let pem = authority.certificate.to_pem().expect("PEM");
        write(&authority.file(), &pem);
        authority
    }

    /// Its own certificate, a PEM file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate of `name` for these hosts, names or addresses.
    #[must_use]
    pub fn issue(&self, name: &str, hosts: &[&str], validity: Validity) -> Issued {
        let key = key();
        let mut builder = begin(name, &key, validity);
        builder
            .set_issuer_name(self.certificate.subject_name())
            .expect("it is set");
        if !hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in hosts {
                match host.parse::<IpAddr>() {
                    Ok(_) => names.ip(host),
                    Err(_) => names.dns(host),
                };
            }
            let names = names.build(&builder.x509v3_context(Some(self.certificate.as_ref()), None));
            builder
                .append_extension(names.expect("an extension"))
                .expect("it is appended");
        }
        builder
            .sign(&self.key, MessageDigest::sha256())
            .expect("it is signed");
        let file = |end| self.folder.path().join(format!("{name}.{end}"));
        let issued = Issued {
            certificate: file("pem"),
            key: file("key"),
        };
        let pem = builder.build().to_pem().expect("PEM");
        write(&issued.certificate, &pem);
        write(&issued.key, &key.private_key_to_pem_pkcs8().expect("PEM"));
        issued
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = EcKey::generate(&group).expect("a key");
    PKey::from_ec_key(key).expect("a key")
}

fn named(name: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().expect("a builder");
    builder
        .append_entry_by_text("CN", name)
        .expect("a common name");
    builder.build()
}

/// A certificate that nobody has signed.
fn begin(name: &str, key: &PKey<Private>, validity: Validity) -> X509Builder {
    let mut builder = X509Builder::new().expect("a builder");
    let now = Asn1Time::days_from_now(0).expect("now");
    let from = |seconds: i64| {
        let epoch = Asn1Time::from_unix(0).expect("the epoch");
        let since = epoch.diff(&now).expect("a difference");
        let unix = i64::from(since.days) * DAY + i64::from(since.secs);
        Asn1Time::from_unix(unix + seconds).expect("a time")
    };
    let until = match validity {
        Validity::Tomorrow => DAY,
        Validity::Expired => -3_600,
    };
    let serial = BigNum::from_u32(1).and_then(|number| number.to_asn1_integer());
    builder.set_version(2).expect("X.509 v3");
    builder
        .set_serial_number(&serial.expect("a number"))
        .expect("it is set");
    builder.set_subject_name(&named(name)).expect("it is set");
    builder.set_not_before(&from(-2 * DAY)).expect("it is set");
    builder.set_not_after(&from(until)).expect("it is set");
    builder.set_pubkey(key).expect("it is set");
    builder
}

fn write(path: &Path, pem: &[u8]) {
    std::fs::write(path, pem).expect("the temporary folder can be written");
}
