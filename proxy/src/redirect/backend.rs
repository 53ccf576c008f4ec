//! The packet filter that rules are put into: nftables, or iptables of either kind.

use super::iptables::{self, Family};
use super::nft;
use super::plan::Plan;
use super::rules::Rules;
use super::tool::{Tool, ToolError};

/// What the kernel must have for nftables.
const NFT_NEEDS: &str = "nf_tables with NAT in family inet (Linux 5.2), nft_redir, nft_fib_inet and nft_ct, for tproxy nft_tproxy; or try --backend iptables";

/// What the kernel must have for iptables.
const IPTABLES_NEEDS: &str = "the nat table, xt_REDIRECT, xt_owner, xt_addrtype, xt_multiport and xt_conntrack, for tproxy the mangle table, xt_TPROXY, xt_mark and xt_connmark; for IPv6 the same of ip6tables";

/// A packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// nftables.
    Nft,
    /// iptables and ip6tables.
    Iptables(Variant),
}

/// Which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The one that the system means by `iptables`.
    System,
    /// That on nftables.
    Nft,
    /// That of old, with tables of its own.
    Legacy,
}

/// No packet filter can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Neither can.
    #[error("neither nftables nor iptables can be used: {nft}; {iptables}")]
    None {
        /// Why not nftables.
        nft: ToolError,
        /// Why not iptables.
        iptables: ToolError,
    },
}

impl Backend {
    /// Those that are installed, each under one name: where iptables has no names for its kinds, the one that the system means.
    pub(super) fn installed() -> Vec<Self> {
        let kinds = [Variant::Nft, Variant::Legacy].map(Self::Iptables);
        let mut installed: Vec<Self> = kinds.into_iter().filter(|it| it.is_installed()).collect();
        if installed.is_empty() {
            let system = Self::Iptables(Variant::System);
            installed.extend(system.is_installed().then_some(system));
        }
        installed.extend(Self::Nft.is_installed().then_some(Self::Nft));
        installed
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Nft => tool("nft").is_ok(),
            Self::Iptables(_) => self.iptables("save", true).is_ok(),
        }
    }

    /// By its own name: `iptables` is one of two kinds on most systems.
    pub async fn resolve(self) -> Self {
        let Self::Iptables(Variant::System) = self else {
            return self;
        };
        let Ok(restore) = self.iptables("restore", true) else {
            return self;
        };
        let version = restore.run(&["--version"], "").await.unwrap_or_default();
        let kind = if version.contains("nf_tables") {
            Variant::Nft
        } else {
            Variant::Legacy
        };
        Some(Self::Iptables(kind))
            .filter(|it| it.is_installed())
            .unwrap_or(self)
    }

    /// What would be chosen, by what is installed alone.
    pub fn guess() -> Self {
        let iptables = Self::Iptables(Variant::System);
        if !Self::Nft.is_installed() && iptables.is_installed() {
            iptables
        } else {
            Self::Nft
        }
    }

    /// The one that has rules of ours already; else nftables where it can be used, else iptables.
    ///
    /// # Errors
    /// Why neither can.
    pub async fn choose() -> Result<Self, BackendError> {
        for backend in Self::installed() {
            for ipv4 in backend.parts() {
                if backend.in_force(*ipv4).await.is_ok_and(|it| !it.is_empty()) {
                    return Ok(backend);
                }
            }
        }
        let nft = match Self::Nft.in_force(true).await {
            Ok(_) => return Ok(Self::Nft),
            Err(error) => error,
        };
        let iptables = Self::Iptables(Variant::System);
        match iptables.in_force(true).await {
            Ok(_) => Ok(iptables.resolve().await),
            Err(iptables) => Err(BackendError::None { nft, iptables }),
        }
    }

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables(Variant::System) => "iptables",
            Self::Iptables(Variant::Nft) => "iptables-nft",
            Self::Iptables(Variant::Legacy) => "iptables-legacy",
        }
    }

    /// The parts that are changed one after the other: nftables has both families in one.
    pub(super) fn parts(self) -> &'static [bool] {
        match self {
            Self::Nft => &[true],
            Self::Iptables(_) => &[true, false],
        }
    }

    /// What one part of it is called.
    pub(super) fn place(self, ipv4: bool) -> String {
        match (self, ipv4) {
            (Self::Nft, _) => format!("nftables table inet {}", nft::TABLE),
            (_, true) => format!("{} for IPv4", self.name()),
            (_, false) => format!("{} for IPv6", self.name()),
        }
    }

    /// The rules of `plan` for one part.
    pub(super) fn wanted(self, plan: &Plan, ipv4: bool) -> Rules {
        match (self, ipv4) {
            (Self::Nft, _) => Rules::of_nft(&nft::table(plan)),
            (Self::Iptables(_), true) => iptables::rules(plan, Family::V4),
            (Self::Iptables(_), false) if plan.ipv6 => iptables::rules(plan, Family::V6),
            (Self::Iptables(_), false) => Rules::default(),
        }
    }

    /// What is given to the tool, for people to read.
    pub(super) fn script(self, plan: &Plan, ipv4: bool) -> String {
        match self {
            Self::Nft => nft::transaction(plan),
            Self::Iptables(_) => iptables::restore(&self.wanted(plan, ipv4), &Rules::default()),
        }
    }

    /// What is in force of ours.
    pub(super) async fn in_force(self, ipv4: bool) -> Result<Rules, ToolError> {
        match self {
            Self::Nft => {
                let nft = tool("nft")?;
                let tables = nft.run(&["list", "tables"], "").await?;
                let ours = format!("table inet {}", nft::TABLE);
                if !tables.lines().any(|line| line.trim() == ours) {
                    return Ok(Rules::default());
                }
                let list = ["-s", "-y", "list", "table", "inet", nft::TABLE];
                Ok(Rules::of_nft(&nft.run(&list, "").await?))
            }
            Self::Iptables(_) => {
                let listing = self.iptables("save", ipv4)?.run::<&str>(&[], "").await?;
                Ok(Rules::of_save(&listing))
            }
        }
    }

    /// Puts the rules of `plan` in the place of `before`.
    pub(super) async fn put(
        self,
        plan: &Plan,
        before: &Rules,
        ipv4: bool,
    ) -> Result<(), ToolError> {
        match self {
            Self::Nft => nft(&nft::transaction(plan)).await,
            Self::Iptables(_) => self.restore(&self.wanted(plan, ipv4), before, ipv4).await,
        }
    }

    /// Whether the tool and its parser would take the rules of `plan`; the kernel is asked only where nftables is.
    pub(super) async fn rehearse(
        self,
        plan: &Plan,
        before: &Rules,
        ipv4: bool,
    ) -> Result<(), ToolError> {
        match self {
            Self::Nft => {
                let check = ["--check", "-f", "-"];
                tool("nft")?
                    .run(&check, &nft::transaction(plan))
                    .await
                    .map(drop)
            }
            Self::Iptables(_) => {
                let script = iptables::restore(&self.wanted(plan, ipv4), before);
                if script.is_empty() {
                    return Ok(());
                }
                let test = ["--test", "--noflush", "-w", LOCK_SECONDS];
                let restore = self.iptables("restore", ipv4)?;
                restore.run(&test, &script).await.map(drop)
            }
        }
    }

    /// Puts `wanted`, which was in force once, in the place of `before`.
    pub(super) async fn restore(
        self,
        wanted: &Rules,
        before: &Rules,
        ipv4: bool,
    ) -> Result<(), ToolError> {
        if self == Self::Nft {
            return nft(&nft::replacement(wanted)).await;
        }
        let script = iptables::restore(wanted, before);
        if script.is_empty() {
            return Ok(());
        }
        let restore = self.iptables("restore", ipv4)?;
        let args = ["--noflush", "-w", LOCK_SECONDS];
        restore.run(&args, &script).await.map(drop)
    }

    fn iptables(self, what: &str, ipv4: bool) -> Result<Tool, ToolError> {
        let family = if ipv4 { "iptables" } else { "ip6tables" };
        let kind = match self {
            Self::Iptables(Variant::Nft) => "-nft",
            Self::Iptables(Variant::Legacy) => "-legacy",
            Self::Nft | Self::Iptables(Variant::System) => "",
        };
        Tool::find(
            &format!("{family}{kind}-{what}"),
            "iptables",
            IPTABLES_NEEDS,
        )
    }
}

/// Others may hold the lock of iptables for so long.
const LOCK_SECONDS: &str = "10";

async fn nft(script: &str) -> Result<(), ToolError> {
    tool("nft")?.run(&["-f", "-"], script).await.map(drop)
}

fn tool(name: &str) -> Result<Tool, ToolError> {
    Tool::find(name, "nftables", NFT_NEEDS)
}
