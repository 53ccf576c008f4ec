//! One immutable view of everything in force, replaced whole.
//!
//! [`SnapshotStore`] holds the one pointer that workers read. [`Builder`] makes the next snapshot from accepted
//! resources: it rebuilds what changed, shares the rest, and holds a change back until what it names is warm.

mod awaited;
mod builder;
mod chains;
mod demand;
mod entries;
mod looked_up;
mod refs;
mod store;
mod views;

pub use builder::{Builder, Committed, Resolve, UnknownClusters, WAIT_MAX};
pub use demand::{
    Absence, Answer, Demand, DemandLimits, Expired, LastUse, Ticket, Wanted, authority_name,
};
pub use refs::NameChanges;
pub use store::SnapshotStore;
pub use views::{
    ChainKind, ChainView, FilterView, HttpView, ListenerView, Map, RouteCluster, RouteView,
    Snapshot, TableView, TcpView,
};
