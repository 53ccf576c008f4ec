//! Desired state becomes xDS resources; pure.
