//! `weft-proxy redirect`: the rules that bring a pod's connections to its proxy.

mod flags;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use self::flags::{PlanArgs, RouteArgs};
use crate::redirect::{
    Backend, InstallError, Installed, found, install, may_administer, remove, script, verify,
};

/// What is done about redirection rules.
#[derive(Debug, Subcommand)]
pub enum RedirectCommand {
    /// Puts the rules in force; where they are already, nothing is touched
    Install {
        /// What is captured.
        #[command(flatten)]
        plan: PlanArgs,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes out all rules and routes of ours, whichever packet filter they are in
    Remove {
        /// Whose routes.
        #[command(flatten)]
        routes: RouteArgs,
        /// How it is printed.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Shows the rules and routes of ours that are in force
    Show {
        /// Whose routes.
        #[command(flatten)]
        routes: RouteArgs,
        /// How it is printed.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Compares what is in force with what these flags would install; ends with 1 where it differs
    Verify {
        /// What should be captured.
        #[command(flatten)]
        plan: PlanArgs,
    },
}

/// How it is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// For people or for programs
    #[arg(short, long, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    /// Lines.
    Text,
    /// One JSON object.
    Json,
}

/// How it went: what is printed, and whether all is as it should be.
#[derive(Debug)]
pub struct Told {
    /// What is printed.
    pub text: String,
    /// Whether the exit code is 0.
    pub good: bool,
}

impl Told {
    fn good(text: String) -> Self {
        Self { text, good: true }
    }
}

impl RedirectCommand {
    /// Does it.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn run(&self) -> Result<Told, InstallError> {
        match self {
            Self::Install {
                plan,
                dry_run: true,
            } => Ok(rehearse(plan)),
            Self::Install { plan, .. } => put(plan).await,
            Self::Remove { routes, output } => take_out(*routes, output.output).await,
            Self::Show { routes, output } => show(*routes, output.output).await,
            Self::Verify { plan } => compare(plan).await,
        }
    }
}

fn rehearse(args: &PlanArgs) -> Told {
    let backend = args.asked().unwrap_or_else(Backend::guess);
    let script = script(&args.plan(), backend);
    Told::good(match args.output.output {
        OutputArg::Text => script,
        OutputArg::Json => json!({"backend": backend.name(), "script": script}).to_string(),
    })
}

async fn put(args: &PlanArgs) -> Result<Told, InstallError> {
    if !may_administer() {
        return Err(InstallError::NoPrivilege);
    }
    let backend = args.backend().await?;
    let plan = args.plan();
    let installed = install(&plan, backend).await?;
    let ipv6 = if plan.ipv6 {
        "IPv4 and IPv6"
    } else {
        "IPv4 alone"
    };
    let name = backend.name();
    Ok(Told::good(match (args.output.output, installed) {
        (OutputArg::Text, Installed::Now) => format!("redirection is in force ({name}, {ipv6})\n"),
        (OutputArg::Text, Installed::Already) => {
            format!("redirection was in force already ({name}, {ipv6}); nothing was touched\n")
        }
        (OutputArg::Json, _) => {
            let changed = installed == Installed::Now;
            json!({"backend": name, "ipv6": plan.ipv6, "changed": changed}).to_string()
        }
    }))
}

async fn take_out(routes: RouteArgs, output: OutputArg) -> Result<Told, InstallError> {
    let removed = remove(&routes.plan()).await?;
    Ok(Told::good(match output {
        OutputArg::Json => json!({"removed": removed}).to_string(),
        OutputArg::Text if removed.is_empty() => "there was nothing to remove\n".to_owned(),
        OutputArg::Text => removed
            .iter()
            .map(|it| format!("removed: {it}\n"))
            .collect(),
    }))
}

async fn show(routes: RouteArgs, output: OutputArg) -> Result<Told, InstallError> {
    let found = found(&routes.plan()).await?;
    if output == OutputArg::Json {
        let block =
            |block: &crate::redirect::Block| json!({"name": block.name, "rules": block.lines});
        let places: Vec<_> = found
            .iter()
            .map(|it| {
                let blocks: Vec<_> = it.rules.blocks().iter().map(block).collect();
                json!({"place": it.place, "blocks": blocks})
            })
            .collect();
        return Ok(Told::good(json!({"in_force": places}).to_string()));
    }
    if found.is_empty() {
        return Ok(Told::good("no redirection is in force\n".to_owned()));
    }
    let mut text = String::new();
    for place in found {
        text.push_str(&format!("{}\n", place.place));
        for block in place.rules.blocks() {
            text.push_str(&format!("  {}\n", block.name));
            let rules = block.lines.iter().map(|rule| format!("    {rule}\n"));
            text.extend(rules);
        }
    }
    Ok(Told::good(text))
}

async fn compare(args: &PlanArgs) -> Result<Told, InstallError> {
    let backend = args.backend().await?;
    let differences = verify(&args.plan(), backend).await?;
    let good = differences.is_empty();
    let written: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let text = match args.output.output {
        OutputArg::Json => {
            json!({"backend": backend.name(), "verified": good, "differences": written}).to_string()
        }
        OutputArg::Text if good => format!("what is in force is the plan ({})\n", backend.name()),
        OutputArg::Text => written.iter().map(|it| format!("{it}\n")).collect(),
    };
    Ok(Told { text, good })
}
