//! Faults and warnings: where, which value, which rule; all of them at once.

use std::fmt;

/// The way to a value inside a resource: `virtual_hosts[2].routes[0].match`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(String);

impl FieldPath {
    /// The resource itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that is already written out.
    pub(crate) fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The field `name` of the value at this path.
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Self(name.to_owned());
        }
        Self(format!("{}.{name}", self.0))
    }

    /// The element `index` of the list at this path.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map at this path.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key:?}]", self.0))
    }

    /// The path as written in messages; empty for the resource itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in a file a value stands; lines and columns count from one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file as the user named it, or `<stdin>`.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The resource works but for one part, which fails visibly.
    Warning,
    /// The resource is refused; its last good form stays in force.
    Fault,
}

/// One finding: place, and a message that names the value and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The way to the value inside its resource.
    pub path: FieldPath,
    /// Where the value stands in a file, when it came from one.
    pub location: Option<Location>,
    /// Lower case, without a full stop: `must be above 0s, got -3s`.
    pub message: String,
}

impl Finding {
    /// Whether it refuses the resource.
    pub fn is_fault(&self) -> bool {
        self.severity == Severity::Fault
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if !self.path.as_str().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything found while one resource was read.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    findings: Vec<Finding>,
}

impl Diagnostics {
    /// Nothing found so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a fault: the resource is refused.
    pub fn fault(&mut self, path: FieldPath, message: impl Into<String>) {
        self.push(Severity::Fault, path, message.into());
    }

    /// Notes a warning: the resource works but for this part.
    pub fn warn(&mut self, path: FieldPath, message: impl Into<String>) {
        self.push(Severity::Warning, path, message.into());
    }

    /// Keeps a parsed value, or notes why there is none.
    pub fn keep<T, E: fmt::Display>(&mut self, path: FieldPath, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(path, error.to_string());
                None
            }
        }
    }

    /// Adds a finding made elsewhere.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds all findings of `other`.
    pub fn extend(&mut self, other: Diagnostics) {
        self.findings.extend(other.findings);
    }

    /// Turns faults into warnings: for a part that fails visibly while the rest works.
    pub fn into_warnings(mut self) -> Self {
        for finding in &mut self.findings {
            finding.severity = Severity::Warning;
        }
        self
    }

    /// Everything found, in the order in which it was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether anything found refuses the resource.
    pub fn has_faults(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Fault)
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    fn push(&mut self, severity: Severity, path: FieldPath, message: String) {
        self.findings.push(Finding {
            severity,
            path,
            location: None,
            message,
        });
    }
}

/// The known name that `wrong` was most likely meant to be, if one is near enough.
pub fn near_name<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}
