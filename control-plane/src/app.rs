//! Builds, wires and runs the control plane.
