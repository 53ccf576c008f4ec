//! The system's programs that speak to the kernel's packet filter and routing tables.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// A program that cannot be run, or that refused.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{program} is not installed (package {package})")]
    Missing {
        /// The program.
        program: String,
        /// The package that has it on most distributions.
        package: &'static str,
    },
    /// It was not allowed to.
    #[error(
        "{program} was not allowed to: {said}; needs CAP_NET_ADMIN in this network namespace, {HOW_TO_ADMINISTER}"
    )]
    Denied {
        /// The program.
        program: String,
        /// What it said.
        said: String,
    },
    /// The kernel cannot do what it asked for.
    #[error("the kernel lacks what {program} asked for: {said}; needs {needs}")]
    Unsupported {
        /// The program.
        program: String,
        /// What it said.
        said: String,
        /// Parts of the kernel that may be missing.
        needs: &'static str,
    },
    /// It failed otherwise.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        said: String,
    },
    /// It did not end.
    #[error("{program} took longer than {LIMIT:?}")]
    Slow {
        /// The program.
        program: String,
    },
    /// The system did not let us run it.
    #[error("running {program}: {source}")]
    Io {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// What somebody does who lacks the privilege.
pub(super) const HOW_TO_ADMINISTER: &str =
    "as root, or in an init container with securityContext.capabilities.add: [NET_ADMIN]";

/// A program takes at most this long; iptables waits for others' lock.
const LIMIT: Duration = Duration::from_secs(20);

/// So much is read of what a program says: rules of others can be many.
const OUTPUT_MAX: u64 = 16 << 20;

/// A program that may be installed.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    name: String,
    path: PathBuf,
    needs: &'static str,
}

impl Tool {
    /// Looks for it where system administration has its programs, which are not on everybody's path.
    pub(super) fn find(
        name: &str,
        package: &'static str,
        needs: &'static str,
    ) -> Result<Self, ToolError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];
        let mut folders = std::env::split_paths(&path).chain(usual.map(PathBuf::from));
        let found = folders.find_map(|folder| {
            let path = folder.join(name);
            path.is_file().then_some(path)
        });
        match found {
            Some(path) => Ok(Self {
                name: name.to_owned(),
                path,
                needs,
            }),
            None => Err(ToolError::Missing {
                program: name.to_owned(),
                package,
            }),
        }
    }

    /// Runs it with `input`; gives what it prints.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        args: &[A],
        input: &str,
    ) -> Result<String, ToolError> {
        match timeout(LIMIT, self.talk(args, input)).await {
            Ok(Ok((true, out, _))) => Ok(out),
            Ok(Ok((false, out, err))) => {
                Err(self.refused(if err.trim().is_empty() { out } else { err }))
            }
            Ok(Err(source)) => Err(ToolError::Io {
                program: self.name.clone(),
                source,
            }),
            Err(_) => Err(ToolError::Slow {
                program: self.name.clone(),
            }),
        }
    }

    async fn talk<A: AsRef<OsStr>>(
        &self,
        args: &[A],
        input: &str,
    ) -> io::Result<(bool, String, String)> {
        let mut child = Command::new(&self.path)
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that has failed does not read to the end, and says why.
                drop(stdin.write_all(input.as_bytes()).await);
            }
        };
        let ((), out, err) = tokio::join!(write, read(stdout), read(stderr));
        let status = child.wait().await?;
        Ok((status.success(), out?, err?))
    }

    fn refused(&self, said: String) -> ToolError {
        let program = self.name.clone();
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let said = lines.take(6).collect::<Vec<_>>().join("; ");
        let says = |any: &[&str]| any.iter().any(|it| said.contains(it));
        if says(&[
            "Operation not permitted",
            "Permission denied",
            "you must be root",
        ]) {
            return ToolError::Denied { program, said };
        }
        // By the words of nft, of both kinds of iptables and of ip.
        let unsupported = [
            "No such file or directory",
            "Operation not supported",
            "Protocol not supported",
            "not supported by protocol",
            "No chain/target/match by that name",
            "Table does not exist",
            "table does not exist",
            "Could not load match",
            "Couldn't load",
            "can't initialize",
            "Extension ",
            "missing kernel module",
        ];
        if says(&unsupported) {
            let needs = self.needs;
            return ToolError::Unsupported {
                program,
                said,
                needs,
            };
        }
        ToolError::Failed { program, said }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(OUTPUT_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
