//! A certificate authority for tests, and what it has signed, as files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority whose certificates lie in one folder.
pub struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority; its own certificate is `ca.pem` in `folder`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        Self::called(folder, "test root")
    }

    /// A new authority of this name, as [`Self::new`] makes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn called(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority(name);
        let certificate = params.self_signed(&key)?;
        std::fs::write(folder.join("ca.pem"), certificate.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority of this name below this one: PEM of its certificate, and of its key.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn intermediate(&self, name: &str) -> anyhow::Result<[String; 2]> {
        let key = KeyPair::generate()?;
        let certificate = authority(name).signed_by(&key, &self.issuer)?;
        Ok([certificate.pem(), key.serialize_pem()])
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Signs a certificate with this URI, for both sides of a connection: `NAME.pem` and `NAME.key`, each replaced at once.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn issue(&self, name: &str, uri: &str) -> anyhow::Result<()> {
        let uri = SanType::URI(uri.try_into()?);
        self.issue_with(name, |params| params.subject_alt_names = vec![uri])
    }

    /// The same with this DNS name.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn issue_for_host(&self, name: &str, host: &str) -> anyhow::Result<()> {
        let host = SanType::DnsName(host.try_into()?);
        self.issue_with(name, |params| params.subject_alt_names = vec![host])
    }

    /// The same as `say` has it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn issue_with(
        &self,
        name: &str,
        say: impl FnOnce(&mut CertificateParams),
    ) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        say(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        self.replace(&format!("{name}.key"), &key.serialize_pem())?;
        self.replace(&format!("{name}.pem"), &certificate.pem())
    }

    fn replace(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let next = self.folder.join(format!("{name}.next"));
        std::fs::write(&next, content)?;
        std::fs::rename(&next, self.folder.join(name)).context("replacing a file")
    }
}

/// What the certificate of an authority says.
fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
