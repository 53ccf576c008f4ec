//! Shared by the files beside this one.
