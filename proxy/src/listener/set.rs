//! The set of bound addresses, kept in step with the snapshot's listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;
use tracing::{info, warn};
use weft_config::listener::Listener;

use super::bind::{BindError, Sharing, Takes, bind, listen, local};
use super::bound::{Bound, Settings};
use crate::drain::{Drain, Phase};
use crate::telemetry::Metrics;
use crate::worker::{Command, Workers};

/// The bound addresses of the process. Lives on the control thread.
#[derive(Debug)]
pub struct ListenerSet {
    entries: Vec<Entry>,
    workers: Workers,
    metrics: Arc<Metrics>,
    drain: Drain,
    sharing: Sharing,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    /// What the listener says, port 0 included.
    configured: SocketAddr,
    takes: Takes,
    listener: Arc<str>,
    bound: Arc<Bound>,
    /// Bound but not listening: reserved by [`ListenerSet::reserve`] before the snapshot that has the listener.
    reserved: Vec<Socket>,
}

impl ListenerSet {
    /// Nothing bound yet; `workers` will accept.
    pub fn new(workers: Workers, metrics: Arc<Metrics>, drain: Drain, sharing: Sharing) -> Self {
        Self {
            entries: Vec::new(),
            workers,
            metrics,
            drain,
            sharing,
            next_id: 0,
        }
    }

    /// Binds the address of a listener that is about to be published, so that one which cannot be bound is refused
    /// while the last good one stays in force. Nothing is accepted before [`Self::apply`] sees the listener, which also
    /// gives back what was reserved and not published.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn reserve(&mut self, listener: &Listener) -> Result<(), BindError> {
        let Some(address) = listener.address else {
            return Ok(());
        };
        match self.position(listener, address) {
            Some(_) => Ok(()),
            None => self.bind(listener, address),
        }
    }

    /// Binds what is new in `listeners`, keeps what stays, closes what is gone. What was accepted lives on. Returns what
    /// could not be bound; the rest is in force.
    pub fn apply<'l>(
        &mut self,
        listeners: impl IntoIterator<Item = &'l Arc<Listener>>,
    ) -> Vec<BindError> {
        if self.drain.phase() >= Phase::Closed {
            return Vec::new(); // The workers have closed what was bound, and nothing new is taken.
        }
        let wanted: Vec<(&Arc<Listener>, SocketAddr)> = listeners
            .into_iter()
            .filter_map(|listener| Some((listener, listener.address?)))
            .collect();
        self.close_unwanted(&wanted);
        let mut errors = Vec::new();
        let mut taken: Vec<(u64, Arc<str>)> = Vec::new();
        for (listener, address) in wanted {
            if let Err(error) = self.put(listener, address, &mut taken) {
                warn!(listener = %listener.name, %address, %error, "listener not bound");
                errors.push(error);
            }
        }
        errors
    }

    /// What is bound, by listener: the address in the configuration's words and the one the kernel gave.
    pub fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr)> {
        self.entries
            .iter()
            .map(|entry| (&entry.listener, entry.bound.address))
    }

    /// Takes the workers' threads, to be joined once the drain is done.
    pub fn take_threads(&mut self) -> Vec<std::thread::JoinHandle<()>> {
        self.workers.take_threads()
    }

    /// The workers that accept.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    fn put(
        &mut self,
        listener: &Arc<Listener>,
        address: SocketAddr,
        taken: &mut Vec<(u64, Arc<str>)>,
    ) -> Result<(), BindError> {
        let at = match self.position(listener, address) {
            Some(at) => at,
            None => {
                self.bind(listener, address)?;
                self.entries.len() - 1
            }
        };
        let Some(entry) = self.entries.get_mut(at) else {
            return Ok(());
        };
        if let Some((_, by)) = taken.iter().find(|(id, _)| *id == entry.bound.id) {
            return Err(BindError::TakenByListener {
                listener: listener.name.clone(),
                address,
                by: by.clone(),
            });
        }
        taken.push((entry.bound.id, listener.name.clone()));
        entry.listener = listener.name.clone();
        entry.bound.set(Settings::of(listener, &self.metrics));
        start(entry, &self.workers).map_err(|source| BindError::new(listener, address, source))
    }

    /// The entry for what a listener binds.
    fn position(&self, listener: &Listener, address: SocketAddr) -> Option<usize> {
        let serves = |entry: &Entry| entry.serves(listener, address);
        self.entries.iter().position(serves)
    }

    fn bind(&mut self, listener: &Listener, address: SocketAddr) -> Result<(), BindError> {
        let failed = |source| BindError::new(listener, address, source);
        // A port that we hold ourselves under another address (`0.0.0.0` beside `127.0.0.1`) is no foreign one.
        let ours = self
            .entries
            .iter()
            .any(|entry| entry.bound.address.port() == address.port());
        let sharing = if ours { Sharing::Shared } else { self.sharing };
        let takes = takes(listener);
        let sockets = bind(address, self.workers.count(), sharing, takes).map_err(failed)?;
        let actual = sockets.first().map_or(Ok(address), local).map_err(failed)?;
        self.next_id += 1;
        self.entries.push(Entry {
            configured: address,
            takes,
            listener: listener.name.clone(),
            bound: Arc::new(Bound::new(
                self.next_id,
                actual,
                Settings::of(listener, &self.metrics),
            )),
            reserved: sockets,
        });
        Ok(())
    }

    fn close_unwanted(&mut self, wanted: &[(&Arc<Listener>, SocketAddr)]) {
        let workers = &self.workers;
        self.entries.retain(|entry| {
            let mut wanted = wanted.iter();
            let stays = wanted.any(|(listener, address)| entry.serves(listener, *address));
            if !stays && entry.reserved.is_empty() {
                info!(listener = %entry.listener, address = %entry.bound.address, "listener closed");
                workers.tell_all(|| Command::Close(entry.bound.id));
            }
            stays
        });
    }
}

impl Entry {
    /// Whether these sockets are what `listener` binds: any listener's where it names a port, its own where the kernel chose.
    fn serves(&self, listener: &Listener, address: SocketAddr) -> bool {
        self.configured == address
            && self.takes == takes(listener)
            && (address.port() != 0 || self.listener == listener.name)
    }
}

fn takes(listener: &Listener) -> Takes {
    if listener.transparent {
        Takes::Any
    } else {
        Takes::Own
    }
}

/// Lets the workers accept on what was only bound.
fn start(entry: &mut Entry, workers: &Workers) -> std::io::Result<()> {
    if entry.reserved.is_empty() {
        return Ok(());
    }
    let sockets = std::mem::take(&mut entry.reserved);
    let listening = sockets
        .into_iter()
        .map(listen)
        .collect::<Result<Vec<_>, _>>()?;
    info!(listener = %entry.listener, address = %entry.bound.address, "listener bound");
    for (worker, socket) in listening.into_iter().enumerate() {
        workers.tell(worker, Command::Listen(entry.bound.clone(), socket));
    }
    Ok(())
}
