//! What the tunnels of a worker share: one scratch buffer, and pipes for `splice(2)`.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bounds on what the tunnels of one worker hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Pipes in use at once, two descriptors each; directions beyond copy. Default 1024; 0 never splices.
    pub pipes_max: usize,
    /// Empty pipes kept for the next to need one. Default 64.
    pub pipes_idle_max: usize,
    /// Size of the scratch buffer, and the most that a direction reads at once by copy. Default 64 KiB.
    pub scratch_bytes: usize,
    /// Capacity asked for a pipe; the kernel may grant less. Default 256 KiB.
    pub pipe_bytes: usize,
    /// Silence that ends a tunnel of which a side has closed. Above zero, default 60 s.
    ///
    /// Envoy has no such bound and waits for its idle time-outs; HAProxy's are called `timeout client-fin` and `server-fin`.
    pub half_closed_timeout: Duration,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            pipes_max: 1024,
            pipes_idle_max: 64,
            scratch_bytes: 64 * 1024,
            pipe_bytes: 256 * 1024,
            half_closed_timeout: Duration::from_secs(60),
        }
    }
}

/// What the tunnels of one worker share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pools(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: TunnelLimits,
    idle: RefCell<Vec<Ends>>,
    in_use: Cell<usize>,
    scratch: RefCell<Box<[u8]>>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pools {
    /// Nothing pooled yet but the scratch buffer.
    pub fn new(limits: TunnelLimits) -> Self {
        Self(Rc::new(Shared {
            limits,
            idle: RefCell::new(Vec::new()),
            in_use: Cell::new(0),
            scratch: RefCell::new(vec![0; limits.scratch_bytes.max(1)].into_boxed_slice()),
        }))
    }

    /// [`TunnelLimits::half_closed_timeout`].
    pub fn half_closed_timeout(&self) -> Duration {
        self.0.limits.half_closed_timeout
    }

    /// Pipes in use now.
    pub fn pipes_in_use(&self) -> usize {
        self.0.in_use.get()
    }

    /// The scratch buffer, for the length of one poll.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.scratch.borrow_mut()
    }

    /// An empty pipe; `None` where the bound is reached or the kernel has none to give.
    pub(super) fn pipe(&self) -> Option<Pipe> {
        if self.0.in_use.get() >= self.0.limits.pipes_max {
            return None;
        }
        let pooled = self.0.idle.borrow_mut().pop();
        let ends = match pooled {
            Some(ends) => ends,
            None => open(self.0.limits.pipe_bytes).ok()?,
        };
        self.0.in_use.set(self.0.in_use.get() + 1);
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            pools: self.clone(),
        })
    }
}

fn open(bytes: usize) -> io::Result<Ends> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The kernel refuses where the user's pipes hold too much already; a pipe of the usual size serves as well.
    let _granted = fcntl_setpipe_size(&write, bytes);
    Ok(Ends { read, write })
}

/// A pipe on loan. It goes back to the pool when dropped empty and is closed when dropped with bytes inside.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    /// Bytes inside.
    pub(super) held: usize,
    pools: Pools,
}

impl Pipe {
    pub(super) fn read_end(&self) -> &OwnedFd {
        &self
            .ends
            .as_ref()
            .expect("ends are taken in drop only")
            .read
    }

    pub(super) fn write_end(&self) -> &OwnedFd {
        &self
            .ends
            .as_ref()
            .expect("ends are taken in drop only")
            .write
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.pools.0.limits.pipe_bytes
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let shared = &self.pools.0;
        shared.in_use.set(shared.in_use.get().saturating_sub(1));
        let mut idle = shared.idle.borrow_mut();
        if let Some(ends) = self.ends.take()
            && self.held == 0
            && idle.len() < shared.limits.pipes_idle_max
        {
            idle.push(ends);
        }
    }
}
