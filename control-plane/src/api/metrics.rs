//! `/metrics`, `/readyz`: what the control plane says of itself to machines.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::accept::Bound;
use crate::app::{Mesh, Vitals};
use crate::xds::TypeCounters;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn metrics(State(mesh): State<Arc<Mesh>>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], page(&mesh.vitals())).into_response()
}

/// `GET /readyz`: whether proxies can be served.
pub(super) async fn ready(State(mesh): State<Arc<Mesh>>) -> Response {
    if let Some(file) = mesh.unread_since_start() {
        let why =
            format!("{file} has faults since the start, and nothing of it was ever in force\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    match mesh.vitals().revision_served {
        Some(revision) => (StatusCode::OK, format!("ok, revision {revision}\n")).into_response(),
        None => {
            let why = "the first revision is not published yet\n";
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// The whole page. Names and labels are constants: nothing that a client says is on it.
fn page(vitals: &Vitals<'_>) -> String {
    let mut page = Page::default();
    page.proxies(vitals);
    page.connections(vitals);
    page.responses(vitals);
    page.state(vitals);
    page.work(vitals);
    page.identity(vitals);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn proxies(&mut self, vitals: &Vitals<'_>) {
        self.head(
            "proxies",
            "gauge",
            "Connected proxies, by how far they are.",
        );
        for (state, count) in &vitals.proxies {
            self.line("proxies", &format!("{{state=\"{state}\"}}"), count);
        }
        self.single("streams", "gauge", "Open xDS streams.", vitals.streams);
        let help = "Streams ended because the client broke a rule.";
        let refused = &vitals.counters.refused_streams;
        self.single("streams_refused_total", "counter", help, load(refused));
    }

    fn connections(&mut self, vitals: &Vitals<'_>) {
        type Pick = fn(&Bound) -> u64;
        let families: [(&str, &str, &str, Pick); 3] = [
            ("connections", "gauge", "Open connections.", |it| {
                it.open() as u64
            }),
            (
                "connections_max",
                "gauge",
                "Connections that there may be.",
                |it| it.max() as u64,
            ),
            (
                "connections_max_met_total",
                "counter",
                "Connections closed or refused because there were as many as there may be.",
                Bound::times_met,
            ),
        ];
        for (name, kind, help, pick) in families {
            self.head(name, kind, help);
            for bound in &vitals.connections {
                let label = format!("{{server=\"{}\"}}", bound.server());
                self.line(name, &label, pick(bound));
            }
        }
    }

    fn responses(&mut self, vitals: &Vitals<'_>) {
        type Pick = fn(&TypeCounters) -> &AtomicU64;
        let families: [(&str, &str, Pick); 4] = [
            ("pushes_total", "Responses sent.", |it| &it.pushes),
            ("pushed_resources_total", "Resources sent.", |it| {
                &it.resources
            }),
            ("acks_total", "Responses acknowledged.", |it| &it.acks),
            ("nacks_total", "Responses refused.", |it| &it.nacks),
        ];
        for (name, help, pick) in families {
            self.head(name, "counter", help);
            for (kind, counters) in vitals.counters.by_type() {
                let label = format!("{{type=\"{}\"}}", kind.short().to_ascii_lowercase());
                self.line(name, &label, load(pick(counters)));
            }
        }
    }

    fn state(&mut self, vitals: &Vitals<'_>) {
        let served = vitals.revision_served.unwrap_or(0);
        let gauges = [
            ("revision", "The newest revision stored.", vitals.revision),
            (
                "revision_served",
                "The revision that proxies are served.",
                served,
            ),
            (
                "snapshot",
                "Counts what is served; endpoints make new ones within a revision.",
                vitals.snapshot,
            ),
            ("objects", "Objects in force.", vitals.objects),
            ("services", "Services among them.", vitals.services),
            (
                "workloads",
                "Workloads that registered themselves.",
                vitals.workloads,
            ),
            (
                "unservable_resources",
                "Resources that are not served because proxies would refuse them.",
                vitals.unservable,
            ),
        ];
        for (name, help, value) in gauges {
            self.single(name, "gauge", help, value);
        }
    }

    fn work(&mut self, vitals: &Vitals<'_>) {
        let help = "Time spent on translating changes.";
        let (time, count) = vitals.translations;
        self.summary("translation_seconds", help, time.as_secs_f64(), count);
        let help = "Services translated anew.";
        self.single(
            "translated_services_total",
            "counter",
            help,
            vitals.translated_services,
        );
        let writes = &vitals.writes;
        let help = "Time spent on writing revisions to the store.";
        let count = writes.done + writes.failed;
        self.summary(
            "store_write_seconds",
            help,
            writes.time.as_secs_f64(),
            count,
        );
        let help = "Revisions that could not be written.";
        self.single("store_write_failures_total", "counter", help, writes.failed);
        self.head("build_info", "gauge", "Always 1.");
        let version = env!("CARGO_PKG_VERSION");
        self.line("build_info", &format!("{{version=\"{version}\"}}"), 1);
    }

    fn identity(&mut self, vitals: &Vitals<'_>) {
        let name = "certificates_issued_total";
        self.head(
            name,
            "counter",
            "Certificates issued, by what their holder proved with who he is.",
        );
        for (proof, count) in vitals.issuing.issued() {
            self.line(name, &format!("{{proof=\"{proof}\"}}"), count);
        }
        let name = "certificates_refused_total";
        self.head(name, "counter", "Certificates not issued.");
        for (reason, count) in vitals.issuing.refused() {
            self.line(name, &format!("{{reason=\"{reason}\"}}"), count);
        }
        let help = "Until when the certificate authority can sign, in seconds since 1970.";
        let expires = vitals.authority_expires;
        self.single(
            "authority_expiration_timestamp_seconds",
            "gauge",
            help,
            expires,
        );
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn summary(&mut self, name: &str, help: &str, sum: f64, count: u64) {
        self.head(name, "summary", help);
        self.line(&format!("{name}_sum"), "", sum);
        self.line(&format!("{name}_count"), "", count);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _never_fails = write!(
            self.0,
            "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"
        );
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _never_fails = writeln!(self.0, "{PREFIX}{name}{labels} {value}");
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

const PREFIX: &str = "weft_control_plane_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IssueCounters;
    use crate::xds::XdsCounters;

    #[test]
    fn the_page_has_the_names_that_are_documented() {
        let counters = XdsCounters::default();
        let issuing = IssueCounters::default();
        let vitals = Vitals::empty(&counters, &issuing);
        let page = page(&vitals);
        let mut shown: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        shown.sort_unstable();
        let docs = include_str!("../../../docs/METRICS.md");
        let mut documented: Vec<&str> = docs
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| name.starts_with(PREFIX))
            .collect();
        documented.sort_unstable();
        assert_eq!(shown, documented);
    }
}
