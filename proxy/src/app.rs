//! The one place that names every room: builds, wires, runs.
