//! Putting a plan in force, comparing with it, taking it out.

use super::backend::{Backend, BackendError};
use super::host::may_administer;
use super::plan::Plan;
use super::routes;
use super::rules::{Difference, Rules};
use super::tool::{HOW_TO_ADMINISTER, ToolError};

/// Why a plan is not in force.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// We may not.
    #[error("changing the packet filter needs CAP_NET_ADMIN, {HOW_TO_ADMINISTER}")]
    NoPrivilege,
    /// No packet filter can be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A program refused; nothing has changed.
    #[error("{place}: {source}")]
    Tool {
        /// What was to be read or changed.
        place: String,
        /// Why it was not.
        source: ToolError,
    },
    /// Rules of ours are in force in another packet filter.
    #[error(
        "{0} has rules of weft-proxy already, and two would capture twice: take them out first with weft-proxy redirect remove"
    )]
    Elsewhere(&'static str),
    /// IPv6 is in use and cannot be captured.
    #[error(
        "IPv6 is in use here and cannot be captured: {source}; nothing was changed. --ipv6 off leaves it alone: connections over it then pass the proxy by"
    )]
    Ipv6 {
        /// Why not.
        source: ToolError,
    },
    /// What was put in force is not what was planned.
    #[error("what is in force after the installation is not the plan, and was taken out again:\n{}", lines(.0))]
    NotThePlan(Vec<Difference>),
    /// It failed half-way, and what there was before could not be put back.
    #[error("{failed}; what there was before could not be put back: {undo}")]
    HalfWay {
        /// What failed.
        failed: Box<InstallError>,
        /// What failed in putting it back.
        undo: ToolError,
    },
}

fn lines(differences: &[Difference]) -> String {
    let lines = differences.iter().map(|it| format!("  {it}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What an installation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// All was in force already; nothing was touched.
    Already,
    /// It is in force now.
    Now,
}

/// What is in force of ours in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub place: String,
    /// What.
    pub rules: Rules,
}

/// The commands that `plan` comes to, for people to read; nothing is done.
pub fn script(plan: &Plan, backend: Backend) -> String {
    let mut text = String::new();
    for ipv4 in [true, false] {
        if !routes::wanted(plan, ipv4).is_empty() {
            let family = if ipv4 { "-4" } else { "-6" };
            let (mark, table) = (plan.mark, plan.table);
            text.push_str(&format!(
                "# ip {family} route replace local default dev lo table {table}\n"
            ));
            text.push_str(&format!(
                "# ip {family} rule add fwmark {mark:#x} lookup {table}\n"
            ));
        }
    }
    for ipv4 in backend.parts() {
        let script = backend.script(plan, *ipv4);
        if !script.is_empty() {
            text.push_str(&format!("# {}\n{script}", backend.place(*ipv4)));
        }
    }
    text
}

/// Puts `plan` in force with `backend`, unless it is.
///
/// Routes come first, which mean nothing without marks; then the rules of each part, in one step each. Where one fails, what there
/// was before is put back.
///
/// # Errors
/// Why it is not in force. Nothing has changed then, except where that is said.
pub async fn install(plan: &Plan, backend: Backend) -> Result<Installed, InstallError> {
    if !may_administer() {
        return Err(InstallError::NoPrivilege);
    }
    for other in Backend::installed().into_iter().filter(|it| *it != backend) {
        for ipv4 in other.parts() {
            if other.in_force(*ipv4).await.is_ok_and(|it| !it.is_empty()) {
                return Err(InstallError::Elsewhere(other.name()));
            }
        }
    }
    if verify(plan, backend).await?.is_empty() {
        return Ok(Installed::Already);
    }
    let mut before = Vec::new();
    for ipv4 in backend.parts() {
        let rules = read(backend, plan, *ipv4).await?;
        rehearse(backend, plan, &rules, *ipv4).await?;
        before.push((*ipv4, rules));
    }
    if let Err(failed) = put(plan, backend, &before).await {
        return Err(undo(failed, plan, backend, &before).await);
    }
    let differences = verify(plan, backend).await?;
    if differences.is_empty() {
        return Ok(Installed::Now);
    }
    let failed = InstallError::NotThePlan(differences);
    Err(undo(failed, plan, backend, &before).await)
}

/// Compares what is in force with `plan`.
///
/// # Errors
/// What is in force cannot be read.
pub async fn verify(plan: &Plan, backend: Backend) -> Result<Vec<Difference>, InstallError> {
    let mut differences = Vec::new();
    for ipv4 in backend.parts() {
        let in_force = read(backend, plan, *ipv4).await?;
        let wanted = backend.wanted(plan, *ipv4);
        differences.extend(wanted.differences(&in_force, &backend.place(*ipv4)));
    }
    for ipv4 in [true, false] {
        let place = route_place(ipv4);
        let in_force = routes::in_force(plan, ipv4).await;
        let in_force = in_force.map_err(at(&place))?;
        differences.extend(routes::wanted(plan, ipv4).differences(&in_force, &place));
    }
    Ok(differences)
}

/// Takes out all that is ours, whichever packet filter it is in; rules and routes of others stay as they are. Gives where there was
/// something.
///
/// # Errors
/// Something could not be taken out.
pub async fn remove(plan: &Plan) -> Result<Vec<String>, InstallError> {
    let places = found(plan).await?;
    if places.is_empty() {
        return Ok(Vec::new());
    }
    if !may_administer() {
        return Err(InstallError::NoPrivilege);
    }
    for backend in Backend::installed() {
        for ipv4 in backend.parts() {
            let place = backend.place(*ipv4);
            let Ok(rules) = backend.in_force(*ipv4).await else {
                continue;
            };
            if !rules.is_empty() {
                backend
                    .restore(&Rules::default(), &rules, *ipv4)
                    .await
                    .map_err(at(&place))?;
            }
        }
    }
    for ipv4 in [true, false] {
        let place = route_place(ipv4);
        routes::remove(plan, ipv4).await.map_err(at(&place))?;
    }
    Ok(places.into_iter().map(|found| found.place).collect())
}

/// What is in force of ours, in whichever packet filter; of `plan`, its mark and its routing table say which routes are.
///
/// # Errors
/// None of them can be read.
pub async fn found(plan: &Plan) -> Result<Vec<Found>, InstallError> {
    let mut found = Vec::new();
    let mut failed = None;
    let mut readable = false;
    for backend in Backend::installed() {
        for ipv4 in backend.parts() {
            let place = backend.place(*ipv4);
            match backend.in_force(*ipv4).await {
                Ok(rules) => {
                    readable = true;
                    found.push(Found { place, rules });
                }
                Err(source) => failed = Some(InstallError::Tool { place, source }),
            }
        }
    }
    if let Some(failed) = failed.filter(|_| !readable) {
        return Err(failed);
    }
    for ipv4 in [true, false] {
        let place = route_place(ipv4);
        let rules = routes::in_force(plan, ipv4).await.map_err(at(&place))?;
        found.push(Found { place, rules });
    }
    found.retain(|found| !found.rules.is_empty());
    Ok(found)
}

fn route_place(ipv4: bool) -> String {
    format!("routes for {}", if ipv4 { "IPv4" } else { "IPv6" })
}

fn at(place: &str) -> impl FnOnce(ToolError) -> InstallError {
    move |source| InstallError::Tool {
        place: place.to_owned(),
        source,
    }
}

/// What is in force in one part; nothing, where IPv6 is left alone and cannot be read.
async fn read(backend: Backend, plan: &Plan, ipv4: bool) -> Result<Rules, InstallError> {
    match backend.in_force(ipv4).await {
        Ok(rules) => Ok(rules),
        Err(_) if !ipv4 && !plan.ipv6 => Ok(Rules::default()),
        Err(source) if !ipv4 => Err(InstallError::Ipv6 { source }),
        Err(source) => Err(at(&backend.place(ipv4))(source)),
    }
}

async fn rehearse(
    backend: Backend,
    plan: &Plan,
    before: &Rules,
    ipv4: bool,
) -> Result<(), InstallError> {
    let tried = backend.rehearse(plan, before, ipv4).await;
    tried.map_err(|source| refused(backend, source, ipv4))
}

fn refused(backend: Backend, source: ToolError, ipv4: bool) -> InstallError {
    if ipv4 {
        at(&backend.place(true))(source)
    } else {
        InstallError::Ipv6 { source }
    }
}

async fn put(plan: &Plan, backend: Backend, before: &[(bool, Rules)]) -> Result<(), InstallError> {
    for ipv4 in [true, false] {
        routes::add(plan, ipv4)
            .await
            .map_err(at(&route_place(ipv4)))?;
    }
    for (ipv4, rules) in before {
        let put = backend.put(plan, rules, *ipv4).await;
        put.map_err(|source| refused(backend, source, *ipv4))?;
    }
    // Those of an earlier plan of this mark and table which this one needs no more.
    for ipv4 in [true, false] {
        if routes::wanted(plan, ipv4).is_empty() {
            routes::remove(plan, ipv4)
                .await
                .map_err(at(&route_place(ipv4)))?;
        }
    }
    Ok(())
}

/// Puts back what there was.
async fn undo(
    failed: InstallError,
    plan: &Plan,
    backend: Backend,
    before: &[(bool, Rules)],
) -> InstallError {
    match put_back(plan, backend, before).await {
        Ok(()) => failed,
        Err(undo) => InstallError::HalfWay {
            failed: Box::new(failed),
            undo,
        },
    }
}

async fn put_back(
    plan: &Plan,
    backend: Backend,
    before: &[(bool, Rules)],
) -> Result<(), ToolError> {
    let nothing_before = before.iter().all(|(_, rules)| rules.is_empty());
    for (ipv4, rules) in before {
        let Ok(now) = backend.in_force(*ipv4).await else {
            continue;
        };
        if now != *rules {
            backend.restore(rules, &now, *ipv4).await?;
        }
    }
    if nothing_before {
        for ipv4 in [true, false] {
            routes::remove(plan, ipv4).await?;
        }
    }
    Ok(())
}
