//! The folder of a mesh's authority, as whoever looks after it writes it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::pki::Pki;

/// A folder for `--ca-dir`. Each of its files is replaced at once.
#[derive(Debug)]
pub struct CaFolder(PathBuf);

impl CaFolder {
    /// A new one at `path`, of an intermediate of `root`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: PathBuf, root: &Pki) -> anyhow::Result<Self> {
        std::fs::create_dir(&path)?;
        let folder = Self(path);
        folder.trust(&[root])?;
        folder.sign_with(&root.intermediate("first")?)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Signs with this intermediate from now on, given as certificate and key in PEM.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sign_with(&self, [certificate, key]: &[String; 2]) -> anyhow::Result<()> {
        self.replace("ca-key.pem", key)?;
        self.replace("cert-chain.pem", certificate)?;
        self.replace("ca-cert.pem", certificate)
    }

    /// Trusts these roots from now on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn trust(&self, roots: &[&Pki]) -> anyhow::Result<()> {
        let read = |pki: &&Pki| std::fs::read_to_string(pki.folder().join("ca.pem"));
        let roots: Vec<_> = roots.iter().map(read).collect::<Result<_, _>>()?;
        self.replace("root-cert.pem", &roots.concat())
    }

    fn replace(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let next = self.0.join("next");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&next)?.write_all(content.as_bytes())?;
        std::fs::rename(&next, self.0.join(name)).context("replacing a file")
    }
}
