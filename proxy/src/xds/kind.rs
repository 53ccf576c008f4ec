//! The kinds of resources that are asked for.

use weft_xds_proto::type_url;

use crate::telemetry::XdsType;

/// A kind of resource. Ordered so that what is named comes before what names it: requests go out in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SDS.
    Secret,
    /// CDS.
    Cluster,
    /// EDS.
    Endpoints,
    /// LDS.
    Listener,
    /// RDS.
    Route,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Self; 5] = [
        Self::Secret,
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
    ];

    /// The type URL of its resources.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Secret => type_url::SECRET,
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoints => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
        }
    }

    /// The kind of this type URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// Whether a state-of-the-world response holds all resources of the kind, so that what it lacks is gone.
    ///
    /// Source: xDS transport protocol, "Grouping Resources into Responses": Listener and Cluster only.
    pub fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Its label in metrics.
    pub fn metric(self) -> XdsType {
        match self {
            Self::Secret => XdsType::Sds,
            Self::Cluster => XdsType::Cds,
            Self::Endpoints => XdsType::Eds,
            Self::Listener => XdsType::Lds,
            Self::Route => XdsType::Rds,
        }
    }
}

/// One value for each kind.
#[derive(Clone, Debug, Default)]
pub struct PerKind<T>([T; Kind::ALL.len()]);

impl<T> PerKind<T> {
    /// Makes the value of each kind.
    pub fn new(make: impl FnMut(Kind) -> T) -> Self {
        Self(Kind::ALL.map(make))
    }

    /// The value of `kind`.
    pub fn of(&self, kind: Kind) -> &T {
        let [secret, cluster, endpoints, listener, route] = &self.0;
        match kind {
            Kind::Secret => secret,
            Kind::Cluster => cluster,
            Kind::Endpoints => endpoints,
            Kind::Listener => listener,
            Kind::Route => route,
        }
    }

    /// The value of `kind`, to be changed.
    pub fn of_mut(&mut self, kind: Kind) -> &mut T {
        let [secret, cluster, endpoints, listener, route] = &mut self.0;
        match kind {
            Kind::Secret => secret,
            Kind::Cluster => cluster,
            Kind::Endpoints => endpoints,
            Kind::Listener => listener,
            Kind::Route => route,
        }
    }
}
