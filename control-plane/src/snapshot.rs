//! Versioned resources, each encoded once.
