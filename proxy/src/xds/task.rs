//! Moves messages, files, names and time between the world and [`Core`].

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::warn;
use weft_config::tls::{SecretName, SecretOrigin};

use super::core::{Core, Step, TellerChange};
use super::files::{Look, WatchedFile};
use super::kind::Kind;
use super::state_dir::{StateDir, StateError};
use super::stream::{Event, Said};
use super::streams::Streams;
use crate::dns::Followers;
use crate::snapshot::{Demand, Resolve};

/// Watched files are looked at this often.
const FILES_EVERY: Duration = Duration::from_millis(250);
/// The disk follows changes of tables after this, so that a burst is written once.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// Endpoints change often and are told again first of all: they are written less eagerly.
const SAVE_ENDPOINTS_AFTER: Duration = Duration::from_secs(5);

/// A write that failed is tried again after this: the disk may have space again.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// Everything that the task of the xDS client holds.
#[derive(Debug)]
pub struct Task {
    /// The decisions.
    pub core: Core,
    /// Streams to servers.
    pub streams: Streams,
    /// Watched files.
    pub files: Vec<WatchedFile>,
    /// Names on demand.
    pub demand: Option<Arc<Demand>>,
    /// Clusters of names.
    pub followers: Followers,
    /// Told by `followers`.
    pub warmed: Arc<Notify>,
    /// Where the last good tables are kept.
    pub state_dir: Option<StateDir>,
}

/// What woke the task.
enum Woken {
    Said(Option<Said>),
    Files,
    Anything,
    Saved,
}

impl Task {
    /// Does what is to be done before anything can happen: static resources and files come in force. Called before workers start,
    /// so that they find listeners to bind.
    pub fn prepare(&mut self) {
        self.look_at_files();
        self.step();
    }

    /// Runs until the other half of `stopped` is dropped, and then writes what the disk does not have yet.
    pub async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        self.streams.open_ads();
        let mut saving = Saving::default();
        let mut files = interval(FILES_EVERY);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = None;
        loop {
            let save_at = saving.due();
            let woken = tokio::select! {
                said = self.streams.events.recv() => Woken::Said(said),
                () = asked(self.demand.as_deref()) => Woken::Anything,
                () = self.warmed.notified() => Woken::Anything,
                () = until(next) => Woken::Anything,
                _ = files.tick(), if !self.files.is_empty() => Woken::Files,
                () = until(save_at) => Woken::Anything,
                () = saving.finished() => Woken::Saved,
                _ = &mut stopped => break,
            };
            match woken {
                Woken::Said(Some(Said { by: None, event })) => self.take(event),
                Woken::Said(Some(Said {
                    by: Some(secret),
                    event,
                })) => self.take_of_server(&secret, event),
                // Never: we hold a sender ourselves.
                Woken::Said(None) => {}
                Woken::Files => self.look_at_files(),
                Woken::Anything | Woken::Saved => {}
            }
            next = self.step();
            saving.follow(&mut self.core, self.state_dir.as_ref());
        }
        saving.finish(&mut self.core, self.state_dir.as_ref()).await;
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Trying(address) => self.core.stream_tried(&address),
            Event::Began(sender) => {
                self.streams.speak(None, sender);
                self.core.stream_began();
            }
            Event::Received(received) => self.core.receive(received, Instant::now()),
            Event::Ended(why) => {
                self.streams.fall_silent(None);
                self.core.stream_ended(&why);
            }
            Event::Renewed => {
                self.streams.fall_silent(None);
                self.core.stream_left();
            }
        }
    }

    fn take_of_server(&mut self, secret: &Arc<SecretName>, event: Event) {
        match event {
            Event::Trying(address) => self.core.server_tried(secret, &address),
            Event::Began(sender) => {
                self.streams.speak(Some(secret), sender);
                self.core.server_began(secret);
            }
            Event::Received(received) => self.core.receive_secrets(secret, received),
            Event::Ended(why) => {
                self.streams.fall_silent(Some(secret));
                self.core.server_ended(secret, &why);
            }
            // Nothing of ours is renewed towards it.
            Event::Renewed => self.streams.fall_silent(Some(secret)),
        }
    }

    fn step(&mut self) -> Option<Instant> {
        let mut step = self.core.step(Instant::now());
        // What came into use may stand in a file that is there already.
        while self.follow_tellers() {
            self.send(step);
            step = self.core.step(Instant::now());
        }
        for change in self.core.builder().take_to_resolve() {
            match change {
                Resolve::Follow(cluster) => self.followers.follow(cluster),
                Resolve::Leave(cluster) => self.followers.leave(&cluster),
            }
        }
        let next = step.next;
        self.send(step);
        next
    }

    fn send(&mut self, step: Step) {
        for request in step.requests {
            self.streams.send(None, request);
        }
        for (secret, request) in step.to_servers {
            self.streams.send(Some(secret), request);
        }
    }

    /// Listens to those who tell secrets that are in use; whether one of them has told something.
    fn follow_tellers(&mut self) -> bool {
        let mut told = false;
        for change in self.core.take_teller_changes() {
            match change {
                TellerChange::Open(secret) => {
                    if let SecretOrigin::Server(server) = &secret.origin
                        && let Some(cluster) = self.core.builder().cluster(&server.cluster)
                    {
                        self.streams.open(&secret, server, cluster.clone());
                    }
                }
                TellerChange::Close(secret) => self.streams.close(secret),
                TellerChange::Watch(path) => {
                    self.leave_file(&path);
                    let mut file = WatchedFile::new(&path, Kind::Secret);
                    told |= look_at(&mut file, &mut self.core);
                    self.files.push(file);
                }
                TellerChange::Leave(path) => self.leave_file(&path),
            }
        }
        told
    }

    fn leave_file(&mut self, path: &Arc<str>) {
        self.files
            .retain(|file| file.kind() != Kind::Secret || file.path() != path);
    }

    fn look_at_files(&mut self) {
        for file in &mut self.files {
            look_at(file, &mut self.core);
        }
    }
}

/// Reads a file if it has changed; whether it had.
fn look_at(file: &mut WatchedFile, core: &mut Core) -> bool {
    let outcome = match (file.look(), file.kind()) {
        (Look::Same, _) => return false,
        (Look::New(received), Kind::Secret) => core.receive_secret_file(file.path(), *received),
        (Look::New(received), _) => core.receive_file(*received, Instant::now()),
        (Look::Bad(fault), _) => Err(fault),
    };
    if let Err(fault) = outcome {
        warn!(file = %file.path(), fault, "file refused, the last good one stays");
    }
    true
}

/// The writing of tables: one write at a time, on a thread that may block.
#[derive(Default)]
struct Saving {
    at: Option<Instant>,
    running: Option<JoinHandle<Result<(), StateError>>>,
}

impl Saving {
    fn due(&self) -> Option<Instant> {
        self.at.filter(|_| self.running.is_none())
    }

    async fn finished(&mut self) {
        let Some(running) = &mut self.running else {
            return pending().await;
        };
        let outcome = running.await;
        self.running = None;
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                warn!(%error, cause = error.source_text(), "last good tables not written")
            }
            Err(error) => warn!(%error, "last good tables not written"),
        }
        self.at.get_or_insert(Instant::now() + SAVE_AGAIN);
    }

    fn follow(&mut self, core: &mut Core, dir: Option<&StateDir>) {
        let Some(dir) = dir else {
            return;
        };
        let now = Instant::now();
        let changes = core.take_changes();
        let after = match (changes.tables, changes.endpoints) {
            (true, _) => Some(SAVE_AFTER),
            (false, true) => Some(SAVE_ENDPOINTS_AFTER),
            (false, false) => None,
        };
        if let Some(after) = after {
            let at = now + after;
            self.at = Some(self.at.map_or(at, |set| set.min(at)));
        }
        if self.due().is_some_and(|at| at <= now) {
            self.write(core, dir);
        }
    }

    fn write(&mut self, core: &Core, dir: &StateDir) {
        self.at = None;
        let (dir, saved) = (dir.clone(), core.to_save());
        self.running = Some(tokio::task::spawn_blocking(move || dir.save(saved)));
    }

    async fn finish(mut self, core: &mut Core, dir: Option<&StateDir>) {
        if self.running.is_some() {
            self.finished().await;
        }
        self.follow(core, dir);
        if let Some(dir) = dir.filter(|_| self.at.is_some()) {
            self.write(core, dir);
            self.finished().await;
        }
    }
}

async fn asked(demand: Option<&Demand>) {
    match demand {
        Some(demand) => demand.asked().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tables_that_the_disk_did_not_take_are_written_later() {
        let full = || StateError::Damaged {
            path: "tables".into(),
            what: "no space".to_owned(),
        };
        let mut saving = Saving {
            at: None,
            running: Some(tokio::task::spawn_blocking(move || Err(full()))),
        };
        saving.finished().await;
        assert!(saving.due().is_some());
        saving.running = Some(tokio::task::spawn_blocking(|| Ok(())));
        saving.at = None;
        saving.finished().await;
        assert_eq!(saving.due(), None);
    }
}
