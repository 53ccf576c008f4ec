//! A tunnel from its two sockets to its end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;

use super::ends::{Close, Ends, TunnelOptions};
use super::flow::{Fault, Flow};
use super::pools::Pools;
use super::silence::Silence;
use super::socket::Socket;
use crate::drain::Phase;
use crate::stream::Stream;

/// [`run`] for two connections of whichever kind.
pub async fn between(
    pools: &Pools,
    down: Stream,
    up: Stream,
    options: TunnelOptions,
    revoked: impl Future<Output = ()>,
) -> Ends {
    match (down, up) {
        (Stream::Plain(down), Stream::Plain(up)) => run(pools, down, up, options, revoked).await,
        (Stream::Plain(down), Stream::Tls(up)) => run(pools, down, *up, options, revoked).await,
        (Stream::Tls(down), Stream::Plain(up)) => run(pools, *down, up, options, revoked).await,
        (Stream::Tls(down), Stream::Tls(up)) => run(pools, *down, *up, options, revoked).await,
    }
}

/// Carries bytes both ways until both sides have ended, one is reset, nothing moves for too long, the drain is over, or
/// `revoked` resolves.
///
/// The end of one direction is passed on (half-close) and the other lives on. Where one side is reset, what it had
/// sent before is still delivered if it can be, then the other side is reset as well.
pub async fn run(
    pools: &Pools,
    mut down: impl Socket,
    mut up: impl Socket,
    options: TunnelOptions,
    revoked: impl Future<Output = ()>,
) -> Ends {
    let TunnelOptions {
        preread,
        idle_timeout,
        mut drain,
    } = options;
    let mut pair = Pair {
        to_upstream: Flow::new(preread.from_downstream),
        to_downstream: Flow::new(preread.from_upstream),
        reset: None,
    };
    let close = {
        let mut drained = pin!(drain.reached(Phase::Done));
        let mut revoked = pin!(revoked);
        let mut silence = Silence::new(idle_timeout, pools.half_closed_timeout());
        let mut timer = pin!(None);
        poll_fn(|cx| {
            let before = pair.moved();
            if let Poll::Ready(close) = pair.poll(cx, &mut down, &mut up, pools) {
                return Poll::Ready(close);
            }
            if pair.is_half_closed() {
                silence.half_closed();
            }
            if pair.moved() != before {
                silence.broken();
            }
            if let Poll::Ready(close) = silence.poll(cx, timer.as_mut()) {
                return Poll::Ready(close);
            }
            if revoked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Close::Revoked);
            }
            drained.as_mut().poll(cx).map(|()| Close::Drained)
        })
        .await
    };
    match close {
        Close::DownstreamReset => reset(&up),
        Close::UpstreamReset => reset(&down),
        // An orderly end would look as if all had been said.
        Close::Revoked | Close::HalfClosed => {
            reset(&down);
            reset(&up);
        }
        Close::Orderly | Close::Idle | Close::Drained => {}
    }
    Ends {
        to_upstream: pair.to_upstream.moved,
        to_downstream: pair.to_downstream.moved,
        close,
    }
}

/// Both directions, and who was found reset while the other direction still had something to deliver.
struct Pair {
    to_upstream: Flow,
    to_downstream: Flow,
    reset: Option<Close>,
}

impl Pair {
    fn moved(&self) -> u64 {
        self.to_upstream.moved + self.to_downstream.moved
    }

    /// Whether a side has ended, or both have and one does not take what is owed to it.
    fn is_half_closed(&self) -> bool {
        self.to_upstream.has_ended() || self.to_downstream.has_ended()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut impl Socket,
        up: &mut impl Socket,
        pools: &Pools,
    ) -> Poll<Close> {
        match self.to_upstream.poll(cx, down, up, pools) {
            Poll::Ready(Err(Fault::Read)) => return Poll::Ready(Close::DownstreamReset),
            Poll::Ready(Err(Fault::Write)) => {
                self.to_upstream.abandon();
                self.reset.get_or_insert(Close::UpstreamReset);
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match self.to_downstream.poll(cx, up, down, pools) {
            Poll::Ready(Err(Fault::Read)) => return Poll::Ready(Close::UpstreamReset),
            Poll::Ready(Err(Fault::Write)) => {
                self.to_downstream.abandon();
                self.reset.get_or_insert(Close::DownstreamReset);
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if self.to_upstream.is_closed() && self.to_downstream.is_closed() {
            return Poll::Ready(self.reset.unwrap_or(Close::Orderly));
        }
        Poll::Pending
    }
}

/// So that the socket's close sends a RST and not a FIN.
fn reset(socket: &impl Socket) {
    // Where the kernel refuses, the peer sees an ordinary end.
    drop(SockRef::from(socket).set_linger(Some(Duration::ZERO)));
}
