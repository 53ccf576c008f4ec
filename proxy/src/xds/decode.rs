//! A packed resource becomes the model, or a refusal with every fault.

use std::fmt::Write;

use prost::Message;
use weft_config::diag::{Diagnostics, FieldPath, Severity};
use weft_config::resource::Resource;
use weft_xds_proto::pb::google::protobuf::Any;

use super::kind::Kind;
use super::lines::Lines;

/// A resource that is refused, in one line: `name: path: rule; path: rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name, as far as it could be read.
    pub name: String,
    /// The line.
    pub line: String,
}

impl Refusal {
    /// One fault of the resource as a whole.
    pub fn new(name: impl Into<String>, fault: impl std::fmt::Display) -> Self {
        let name = name.into();
        let line = format!("{name}: {fault}");
        Self { name, line }
    }

    fn of(name: String, diag: &Diagnostics) -> Self {
        let mut line = format!("{name}: ");
        let faults = diag
            .findings()
            .iter()
            .filter(|it| it.severity == Severity::Fault);
        for (index, fault) in faults.enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(line, "{separator}{fault}").expect("a string takes everything");
        }
        Self { name, line }
    }
}

/// Reads `packed` as a resource of `kind`. Warnings are logged: the resource works but for one part, which fails visibly.
pub(super) fn decode(
    kind: Kind,
    told_name: Option<&str>,
    packed: &Any,
    lines: &mut Lines,
) -> Result<Resource, Refusal> {
    let name = || told_name.map_or_else(|| own_name(packed), str::to_owned);
    if packed.type_url != kind.type_url() {
        let fault = format!("holds {}, not {}", packed.type_url, kind.type_url());
        return Err(Refusal::new(name(), fault));
    }
    let mut diag = Diagnostics::new();
    let resource = Resource::parse(packed, &FieldPath::root(), &mut diag);
    for finding in diag
        .findings()
        .iter()
        .filter(|it| it.severity == Severity::Warning)
    {
        lines.works_in_part(kind, &name(), finding);
    }
    let resource = match resource {
        Some(resource) if !diag.has_faults() => resource,
        _ => return Err(Refusal::of(name(), &diag)),
    };
    if let Some(told) = told_name.filter(|told| *told != resource.name()) {
        let fault = format!(
            "name: must be {told:?}, under which it was sent, got {:?}",
            resource.name()
        );
        return Err(Refusal::new(told, fault));
    }
    Ok(resource)
}

/// The name inside a resource: field 1 of all four kinds.
fn own_name(packed: &Any) -> String {
    #[derive(Clone, PartialEq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    match Named::decode(packed.value.as_slice()) {
        Ok(named) if !named.name.is_empty() => named.name,
        _ => "(no name)".to_owned(),
    }
}
