//! One immutable view of everything in force, replaced whole.
