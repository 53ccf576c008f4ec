//! Reading typed values from a YAML tree: every field by name, every fault noted, nothing left over.
//!
//! A reader that meets a fault notes it and goes on with what it has, so that all faults come at once; the value it returns
//! is then thrown away, because a document with a fault gives no object.

pub(crate) mod authentication_policy;
pub(crate) mod authorization_policy;
pub(crate) mod backend_tls_policy;
pub(crate) mod check;
pub(crate) mod filter;
pub(crate) mod http_route;
pub(crate) mod mesh_service;
pub(crate) mod metadata;
pub(crate) mod other_routes;
pub(crate) mod policies;
pub(crate) mod reference;
pub(crate) mod service;
pub(crate) mod traffic_policy;

use crate::diag::{FieldPath, Finding, Severity, near_name};
use crate::yaml::{Data, MapEntry, Mark, Meaning, Node, shorten};

/// What is common to the reading of one document.
pub(crate) struct Reader<'a> {
    pub(crate) file: &'a str,
    /// The namespace of the object, which short names are qualified by.
    pub(crate) namespace: String,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a str) -> Self {
        Self {
            file,
            namespace: super::metadata::default_namespace(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn fault(&mut self, mark: Mark, path: &FieldPath, message: impl Into<String>) {
        self.note(Severity::Fault, mark, path, message.into());
    }

    pub(crate) fn warn(&mut self, mark: Mark, path: &FieldPath, message: impl Into<String>) {
        self.note(Severity::Warning, mark, path, message.into());
    }

    /// Everything found, and whether it refuses the object.
    pub(crate) fn into_findings(self) -> (Vec<Finding>, bool) {
        let refused = self.has_faults();
        (self.findings, refused)
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Fault)
    }

    fn note(&mut self, severity: Severity, mark: Mark, path: &FieldPath, message: String) {
        if self.findings.len() >= FINDINGS_MAX {
            return;
        }
        self.findings.push(Finding {
            severity,
            path: path.clone(),
            location: Some(mark.in_file(self.file)),
            message,
        });
    }
}

/// A value, where it stands, and the way to it.
#[derive(Clone)]
pub(crate) struct Item<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: FieldPath,
}

impl<'n> Item<'n> {
    pub(crate) fn new(node: &'n Node, path: FieldPath) -> Self {
        Self { node, path }
    }

    pub(crate) fn fault(&self, cx: &mut Reader<'_>, message: impl Into<String>) {
        cx.fault(self.node.mark, &self.path, message);
    }

    pub(crate) fn warn(&self, cx: &mut Reader<'_>, message: impl Into<String>) {
        cx.warn(self.node.mark, &self.path, message);
    }

    /// A scalar's meaning; `None` for lists and maps.
    pub(crate) fn meaning(&self) -> Option<Meaning<'n>> {
        match &self.node.data {
            Data::Scalar(scalar) => Some(scalar.meaning()),
            Data::List(_) | Data::Map(_) => None,
        }
    }

    pub(crate) fn text(&self, cx: &mut Reader<'_>) -> Option<&'n str> {
        match self.meaning() {
            Some(Meaning::Text(text)) => Some(text),
            Some(Meaning::Null) | None => self.wrong(cx, "must be text"),
            Some(_) => {
                let got = self.node.describe();
                self.fault(cx, format!("must be text, got {got}; put it in quotes"));
                None
            }
        }
    }

    pub(crate) fn string(&self, cx: &mut Reader<'_>) -> Option<String> {
        self.text(cx).map(str::to_owned)
    }

    pub(crate) fn bool(&self, cx: &mut Reader<'_>) -> Option<bool> {
        match self.meaning() {
            Some(Meaning::Bool(value)) => Some(value),
            _ => self.wrong(cx, "must be true or false"),
        }
    }

    /// A whole number within `min` and `max`.
    pub(crate) fn number(&self, cx: &mut Reader<'_>, min: u32, max: u32) -> Option<u32> {
        let value = match self.meaning() {
            Some(Meaning::Integer(value)) => value,
            Some(Meaning::Text(text)) if text.parse::<i64>().is_ok() => {
                let got = shorten(text);
                self.fault(
                    cx,
                    format!("must be a whole number, got the text `{got}`; leave off its quotes"),
                );
                return None;
            }
            _ => return self.wrong(cx, "must be a whole number"),
        };
        match u32::try_from(value) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.fault(cx, format!("must be from {min} to {max}, got {value}"));
                None
            }
        }
    }

    pub(crate) fn small(&self, cx: &mut Reader<'_>, min: u16, max: u16) -> Option<u16> {
        let number = self.number(cx, min.into(), max.into())?;
        u16::try_from(number).ok()
    }

    pub(crate) fn port(&self, cx: &mut Reader<'_>) -> Option<u16> {
        self.small(cx, 1, u16::MAX)
    }

    pub(crate) fn float(&self, cx: &mut Reader<'_>) -> Option<f64> {
        match self.meaning() {
            Some(Meaning::Integer(value)) => Some(value as f64),
            Some(Meaning::Float(value)) => Some(value),
            _ => self.wrong(cx, "must be a number"),
        }
    }

    /// Text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        cx: &mut Reader<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(cx)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(cx, message);
                None
            }
        }
    }

    /// One of `choices`, by name.
    pub(crate) fn choice<T: Copy>(
        &self,
        cx: &mut Reader<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(cx)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = || choices.iter().map(|(name, _)| *name);
            let hint = suggestion(text, names());
            let all = names().collect::<Vec<_>>().join(", ");
            self.fault(
                cx,
                format!("must be one of {all}, got `{}`{hint}", shorten(text)),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// The items of a list that has from `min` to `max` of them.
    pub(crate) fn list(&self, cx: &mut Reader<'_>, min: usize, max: usize) -> Vec<Item<'n>> {
        let Data::List(items) = &self.node.data else {
            self.wrong::<()>(cx, "must be a list");
            return Vec::new();
        };
        if !(min..=max).contains(&items.len()) {
            let got = items.len();
            self.fault(
                cx,
                format!("must have from {min} to {max} entries, got {got}"),
            );
        }
        (0..)
            .zip(items)
            .take(max)
            .map(|(index, node)| Item::new(node, self.path.index(index)))
            .collect()
    }

    /// The entry `index` of a list that has as many as `count`.
    pub(crate) fn entry(&self, index: usize, count: usize) -> Option<Item<'n>> {
        match &self.node.data {
            Data::List(items) if items.len() == count => {
                let node = items.get(index)?;
                Some(Item::new(node, self.path.index(index)))
            }
            _ => None,
        }
    }

    /// The items of a list, each read by `read`.
    pub(crate) fn each<T>(
        &self,
        cx: &mut Reader<'_>,
        min: usize,
        max: usize,
        mut read: impl FnMut(&mut Reader<'_>, &Item<'n>) -> Option<T>,
    ) -> Vec<T> {
        self.list(cx, min, max)
            .iter()
            .filter_map(|item| read(cx, item))
            .collect()
    }

    /// The fields of a map.
    pub(crate) fn fields(&self, cx: &mut Reader<'_>) -> Option<Fields<'n>> {
        match &self.node.data {
            Data::Map(entries) => Some(Fields {
                entries,
                mark: self.node.mark,
                path: self.path.clone(),
                known: Vec::new(),
            }),
            _ => self.wrong(cx, "must be a map"),
        }
    }

    fn wrong<T>(&self, cx: &mut Reader<'_>, rule: &str) -> Option<T> {
        let got = self.node.describe();
        self.fault(cx, format!("{rule}, got {got}"));
        None
    }
}

/// The fields of a map while they are read. [`Fields::finish`] finds those that nobody asked for.
pub(crate) struct Fields<'n> {
    entries: &'n [MapEntry],
    pub(crate) mark: Mark,
    pub(crate) path: FieldPath,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The field `name`, unless it is missing or null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Item<'n>> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        if entry.value.is_null() {
            return None;
        }
        Some(Item::new(&entry.value, self.path.field(name)))
    }

    /// The field `name`; a fault where it is missing.
    pub(crate) fn require(&mut self, cx: &mut Reader<'_>, name: &'static str) -> Option<Item<'n>> {
        let item = self.get(name);
        if item.is_none() {
            cx.fault(self.mark, &self.path.field(name), "is required");
        }
        item
    }

    /// A field that is accepted and means nothing here.
    pub(crate) fn accept(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Known fields that this version cannot honour.
    pub(crate) fn refuse(&mut self, cx: &mut Reader<'_>, names: &[&'static str]) {
        for name in names {
            if let Some(item) = self.get(name) {
                item.fault(cx, "is not supported yet");
            }
        }
    }

    pub(crate) fn fault(&self, cx: &mut Reader<'_>, message: impl Into<String>) {
        cx.fault(self.mark, &self.path, message);
    }

    /// Notes every field that was not asked for.
    pub(crate) fn finish(self, cx: &mut Reader<'_>) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) {
                continue;
            }
            let hint = suggestion(key, self.known.iter().copied());
            let message = match key {
                "<<" => "merge keys (`<<`) are not part of YAML 1.2; repeat the fields".to_owned(),
                _ => format!("unknown field `{}`{hint}", shorten(key)),
            };
            cx.fault(entry.key_mark, &self.path, message);
        }
    }
}

/// `, did you mean …?`, where a known name is near enough.
pub(crate) fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if wrong.len() > NEAR_NAME_BYTES_MAX {
        return String::new();
    }
    let known: Vec<&str> = known.into_iter().collect();
    let istio = CALLED_OTHERWISE.iter();
    let mut istio = istio.filter(|(name, _)| name.eq_ignore_ascii_case(wrong));
    if let Some((_, own)) = istio.find(|(_, own)| known.contains(own)) {
        return format!(", here that is `{own}`");
    }
    let same = known.iter().find(|name| name.eq_ignore_ascii_case(wrong));
    let lower = wrong.to_ascii_lowercase();
    let part = known
        .iter()
        .find(|name| lower.len() >= 4 && name.to_ascii_lowercase().contains(&lower));
    let near = near_name(wrong, known.iter().copied());
    match same.copied().or(near).or(part.copied()) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => String::new(),
    }
}

/// What Istio calls something, and what it is called here.
const CALLED_OTHERWISE: [(&str, &str); 14] = [
    ("PeerAuthentication", "AuthenticationPolicy"),
    ("RequestAuthentication", "AuthenticationPolicy"),
    ("DestinationRule", "TrafficPolicy"),
    ("VirtualService", "HTTPRoute"),
    ("ServiceEntry", "MeshService"),
    ("selector", "targetRefs"),
    ("source", "identities"),
    ("operation", "methods"),
    ("principals", "identities"),
    ("notPrincipals", "notIdentities"),
    ("ipBlocks", "addresses"),
    ("notIpBlocks", "notAddresses"),
    ("jwtRules", "jwt"),
    ("key", "claim"),
];

/// Findings of one document; whoever has more has enough to do.
const FINDINGS_MAX: usize = 1000;

const NEAR_NAME_BYTES_MAX: usize = 100;
