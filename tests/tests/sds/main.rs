//! Secrets from servers of their own and from watched files, as connections see them.

mod ads;
mod files;
mod hostile;
mod pages;
mod scene;
mod servers;
