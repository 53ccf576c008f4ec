//! Names on demand: what a worker asks for is subscribed to by the control thread, and the worker is woken.
//!
//! A name that is in force is answered from the snapshot, without a lock. Everything here has a bound: names in use,
//! names asked for at once, how long a question and a refusal last.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::store::SnapshotStore;
use super::views::{ListenerView, Map};

mod name;

pub use name::authority_name;

/// Bounds on names that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandLimits {
    /// Names in use or asked for at once. Default 10,000.
    pub names_max: usize,
    /// Names asked for and not answered yet. Default 1,000.
    pub pending_max: usize,
    /// A question that nobody answers is given up after this. Default 5 s.
    pub answer_timeout: Duration,
    /// How long a name stays absent; whoever wants it after that asks the control plane again. Default 10 s.
    pub absent_for: Duration,
    /// A name not asked for during this time is given up. Default 10 min.
    pub idle_after: Duration,
}

impl Default for DemandLimits {
    fn default() -> Self {
        Self {
            names_max: 10_000,
            pending_max: 1_000,
            answer_timeout: Duration::from_secs(5),
            absent_for: Duration::from_secs(10),
            idle_after: Duration::from_secs(600),
        }
    }
}

/// What a worker hears when it asks for a name.
#[derive(Debug)]
pub enum Wanted {
    /// In force; also in the current snapshot's `api_listeners`.
    Ready(Arc<ListenerView>),
    /// Not to be had.
    Absent(Absence),
    /// Asked for; await the ticket.
    Pending(Ticket),
}

/// The answer to a name that was asked for.
pub type Answer = Result<Arc<ListenerView>, Absence>;

/// Why a name is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The control plane does not know it.
    Unknown,
    /// The control plane did not answer in time, or is away.
    TimedOut,
    /// Too many names are in use or asked for.
    TooMany,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the control plane knows no service of this name",
            Self::TimedOut => "the control plane did not answer in time",
            Self::TooMany => "too many names are in use",
        })
    }
}

/// A question on its way; resolves to the answer.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Answer>);

impl Future for Ticket {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        // A sender dropped without an answer: the control thread is gone.
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(Absence::TimedOut)))
    }
}

/// When something was last used, in milliseconds since the start of its [`Demand`].
#[derive(Debug, Default)]
pub struct LastUse(AtomicU64);

impl LastUse {
    fn touch(&self, millis: u64) {
        // A store only when it changes by more than a breath keeps the line shared between workers.
        if millis.saturating_sub(self.0.load(Ordering::Relaxed)) >= 100 {
            self.0.store(millis, Ordering::Relaxed);
        }
    }
}

/// The names that workers ask for; shared by workers and control thread.
#[derive(Debug)]
pub struct Demand {
    store: Arc<SnapshotStore>,
    limits: DemandLimits,
    epoch: Instant,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    names: Map<Arc<str>, Entry>,
    pending: usize,
    absent: usize,
    asked: Vec<Arc<str>>,
}

#[derive(Debug)]
enum Entry {
    Pending {
        waiters: Vec<oneshot::Sender<Answer>>,
        until: Instant,
    },
    Ready(Arc<LastUse>),
    Absent {
        why: Absence,
        until: Instant,
    },
}

/// What time has done to the names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Not asked for any more: unsubscribe.
    pub idle: Vec<Arc<str>>,
    /// Nobody answered: waiters have been told, an answer may still come.
    pub timed_out: Vec<Arc<str>>,
    /// Absent for long enough: unsubscribe, so that whoever asks next makes the server answer anew.
    pub forgotten: Vec<Arc<str>>,
    /// When there will be more, if nobody asks for anything until then.
    pub next: Option<Instant>,
}

impl Demand {
    /// Nothing asked for yet; what is in force is looked up in `store`.
    pub fn new(store: Arc<SnapshotStore>, limits: DemandLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            epoch: Instant::now(),
            state: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// Asks for `name` (see [`authority_name`]). Never blocks for longer than a map is looked into.
    pub fn want(&self, name: &str) -> Wanted {
        let now = Instant::now();
        if let Some(view) = self.in_force(name) {
            view.last_use.touch(self.millis(now));
            return Wanted::Ready(view);
        }
        let mut state = self.lock();
        match state.names.get_mut(name) {
            Some(Entry::Pending { waiters, .. }) => return pending(waiters),
            // It is subscribed to until the control thread forgets it, so that an end of its absence would be told.
            Some(Entry::Absent { why, .. }) => return Wanted::Absent(*why),
            // Ready, but its listener came or went between the two looks. Ask again.
            Some(Entry::Ready(_)) => state.forget(name),
            None => {}
        }
        if state.pending >= self.limits.pending_max
            || state.absent >= self.limits.names_max
            || state.names.len() - state.absent >= self.limits.names_max
        {
            return Wanted::Absent(Absence::TooMany);
        }
        let name: Arc<str> = name.into();
        let mut waiters = Vec::new();
        let wanted = pending(&mut waiters);
        let until = now + self.limits.answer_timeout;
        state.insert(name.clone(), Entry::Pending { waiters, until });
        state.asked.push(name);
        drop(state);
        self.news.notify_one();
        wanted
    }

    fn in_force(&self, name: &str) -> Option<Arc<ListenerView>> {
        self.store.pointer().load().api_listeners.get(name).cloned()
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain values, consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control thread's side.
impl Demand {
    /// Returns when [`Self::take_asked`] has something.
    pub async fn asked(&self) {
        self.news.notified().await;
    }

    /// The names asked for since the last call.
    pub fn take_asked(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Takes `names` as wanted from now on although nobody asked: what was in use before a restart.
    pub fn preload(&self, names: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        let mut state = self.lock();
        for name in names.into_iter().take(self.limits.names_max) {
            let until = now + self.limits.answer_timeout;
            let waiters = Vec::new();
            state.insert(name, Entry::Pending { waiters, until });
        }
    }

    /// `name` is in force as `view`: waiters are told.
    pub fn ready(&self, name: &Arc<str>, view: &Arc<ListenerView>, now: Instant) {
        view.last_use.touch(self.millis(now));
        let entry = Entry::Ready(view.last_use.clone());
        if let Some(Entry::Pending { waiters, .. }) = self.lock().insert(name.clone(), entry) {
            answer(waiters, &Ok(view.clone()));
        }
    }

    /// `name` is not to be had for now: waiters are told. Names that nobody wants are not noted.
    pub fn absent(&self, name: &Arc<str>, why: Absence, now: Instant) {
        let mut state = self.lock();
        if !state.names.contains_key(name) {
            return;
        }
        let until = now + self.limits.absent_for;
        if let Some(Entry::Pending { waiters, .. }) =
            state.insert(name.clone(), Entry::Absent { why, until })
        {
            answer(waiters, &Err(why));
        }
    }

    /// Whether `name` is noted as absent.
    pub fn is_absent(&self, name: &str) -> bool {
        matches!(self.lock().names.get(name), Some(Entry::Absent { .. }))
    }

    /// Gives up what is idle or was not answered, and forgets old refusals.
    pub fn expire(&self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        let mut state = self.lock();
        for (name, entry) in &state.names {
            let until = self.until(entry);
            if until.is_none_or(|until| until > now) {
                expired.next = expired.next.into_iter().chain(until).min();
                continue;
            }
            let over = match entry {
                Entry::Pending { .. } => &mut expired.timed_out,
                Entry::Ready(_) => &mut expired.idle,
                Entry::Absent { .. } => &mut expired.forgotten,
            };
            over.push(name.clone());
        }
        for name in expired.forgotten.iter().chain(&expired.idle) {
            state.forget(name);
        }
        drop(state);
        for name in &expired.timed_out {
            self.absent(name, Absence::TimedOut, now);
        }
        if !expired.timed_out.is_empty() {
            let forgotten = now + self.limits.absent_for;
            expired.next = expired.next.into_iter().chain([forgotten]).min();
        }
        expired
    }

    /// When something is done about an entry if nobody touches it; `None`: at no time that a clock can count.
    fn until(&self, entry: &Entry) -> Option<Instant> {
        match entry {
            Entry::Pending { until, .. } | Entry::Absent { until, .. } => Some(*until),
            Entry::Ready(last) => {
                let since = Duration::from_millis(last.0.load(Ordering::Relaxed));
                self.epoch
                    .checked_add(since)?
                    .checked_add(self.limits.idle_after)
            }
        }
    }

    /// The names in use or asked for, to be kept for the next start.
    pub fn names(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        let in_use = |entry: &Entry| !matches!(entry, Entry::Absent { .. });
        let mut names: Vec<_> = state
            .names
            .iter()
            .filter(|(_, entry)| in_use(entry))
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }
}

impl State {
    fn insert(&mut self, name: Arc<str>, entry: Entry) -> Option<Entry> {
        self.count(&entry, 1);
        let before = self.names.insert(name, entry);
        if let Some(before) = &before {
            self.count(before, -1);
        }
        before
    }

    fn forget(&mut self, name: &str) {
        if let Some(entry) = self.names.remove(name) {
            self.count(&entry, -1);
        }
    }

    fn count(&mut self, entry: &Entry, by: isize) {
        match entry {
            Entry::Pending { .. } => self.pending = self.pending.saturating_add_signed(by),
            Entry::Absent { .. } => self.absent = self.absent.saturating_add_signed(by),
            Entry::Ready(_) => {}
        }
    }
}

fn pending(waiters: &mut Vec<oneshot::Sender<Answer>>) -> Wanted {
    let (sender, receiver) = oneshot::channel();
    // Those who gave up leave their place.
    waiters.retain(|waiter| !waiter.is_closed());
    waiters.push(sender);
    Wanted::Pending(Ticket(receiver))
}

fn answer(waiters: Vec<oneshot::Sender<Answer>>, answer: &Answer) {
    for waiter in waiters {
        // A waiter that gave up does not hear it.
        drop(waiter.send(answer.clone()));
    }
}

#[cfg(test)]
mod tests;
