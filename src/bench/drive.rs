//! Keeps a number of calls of a source in flight on a connection.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::call::{Call, Procedure};
use super::error::Error;
use super::fault::{Fault, JUKEBOX};
use super::link::Link;
use super::reply::Reply;
use super::source::{Source, Verdict};
use super::tally::{Tally, Times};
use crate::xdr::DecodeError;

/// The time in which calls are made.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The end of the warm-up.
    pub(super) from: Instant,
    /// No operation begins later; `None` where the source ends by itself.
    pub(super) end: Option<Instant>,
    /// Fires on Ctrl-C.
    pub(super) stop: CancellationToken,
}

impl Window {
    fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end) || self.stop.is_cancelled()
    }
}

/// A place for a call in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    xid: u32,
    procedure: u32,
    /// Whether the reply has no status.
    is_void: bool,
    is_in_flight: bool,
    /// Whether an operation has begun and not ended.
    is_under_way: bool,
    began: Instant,
    sent: Instant,
}

impl Link {
    /// Makes the source's calls, `depth` at a time, until it has none left. Replies that one read brings are
    /// taken together, and the calls that follow them leave together.
    pub(super) async fn drive(
        &mut self,
        source: &mut dyn Source,
        depth: usize,
        window: &Window,
    ) -> Result<Tally, Error> {
        let stride = u32::try_from(depth.next_power_of_two()).unwrap_or(1);
        let began = Instant::now();
        let empty = Slot {
            xid: 0,
            procedure: 0,
            is_void: false,
            is_in_flight: false,
            is_under_way: false,
            began,
            sent: began,
        };
        let mut slots = vec![empty; depth];
        let mut free: Vec<usize> = (0..depth).collect();
        let mut tally = Tally::new(window.from);
        let mut now = began;
        loop {
            let ended = window.has_ended(now);
            free.retain(|&index| {
                let Some(call) = source.next(index, ended) else { return true };
                let slot = &mut slots[index];
                let began = if slot.is_under_way { slot.began } else { now };
                let xid = self.caller.xid(stride, u32::try_from(index).unwrap_or(0));
                *slot = Slot {
                    xid,
                    procedure: call.procedure,
                    is_void: call.is_void,
                    is_in_flight: true,
                    is_under_way: true,
                    began,
                    sent: now,
                };
                self.push(xid, &call);
                false
            });
            if free.len() == depth {
                return Ok(tally);
            }
            self.exchange().await?;
            now = Instant::now();
            while let Some(reply) = self.records.next(|xid| is_read(&slots, stride, xid))? {
                let xid = reply.first_chunk().ok_or(DecodeError::Truncated)?;
                let index = in_flight(&slots, stride, u32::from_be_bytes(*xid))
                    .ok_or(Error::Protocol("a reply to no call in flight"))?;
                let slot = &mut slots[index];
                let reply = Reply::decode(reply, !slot.is_void)?;
                let verdict = source.reply(index, reply)?;
                slot.is_in_flight = false;
                slot.is_under_way = verdict == Verdict::Step;
                free.push(index);
                let times = Times { began: slot.began, sent: slot.sent, replied: now };
                tally.record(slot.procedure, times, verdict);
            }
        }
    }

    /// Makes calls, `depth` at a time, and gives their replies in the order of the calls. A call that the
    /// server asks to have made again later is made again.
    pub(super) async fn all(
        &mut self,
        calls: Vec<Call>,
        depth: usize,
    ) -> Result<Vec<Result<Reply, Fault>>, Error> {
        let mut replies: Vec<_> = (0..calls.len()).map(|_| None).collect();
        let mut left: Vec<usize> = (0..calls.len()).collect();
        for pause in PAUSES_MS {
            let mut list = List {
                calls: &calls,
                left: left.iter().copied(),
                slots: vec![0; depth],
                replies: &mut replies,
            };
            let (from, stop) = (Instant::now(), CancellationToken::new());
            let window = Window { from, end: None, stop };
            self.drive(&mut list, depth, &window).await?;
            left.retain(
                |&index| matches!(&replies[index], Some(Ok(reply)) if reply.status == JUKEBOX),
            );
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let missing = Error::Protocol("a call without a reply");
        replies.into_iter().collect::<Option<_>>().ok_or(missing)
    }

    /// Makes one call.
    pub(super) async fn one(&mut self, call: Call) -> Result<Result<Reply, Fault>, Error> {
        let replies = self.all(vec![call], 1).await?;
        replies.into_iter().next().ok_or(Error::Protocol("a call without a reply"))
    }
}

/// The slot of a call in flight.
fn in_flight(slots: &[Slot], stride: u32, xid: u32) -> Option<usize> {
    let index = (xid & (stride - 1)) as usize;
    slots.get(index).filter(|slot| slot.is_in_flight && slot.xid == xid).map(|_| index)
}

/// Whether a call in flight is a READ.
fn is_read(slots: &[Slot], stride: u32, xid: u32) -> bool {
    let procedure = in_flight(slots, stride, xid).map(|index| slots[index].procedure);
    procedure == Some(Procedure::Read as u32)
}

/// After each attempt of a call that the server had no room for.
const PAUSES_MS: [u64; 7] = [20, 100, 300, 1000, 3000, 10_000, 0];

/// Calls that are there beforehand.
struct List<'a, I> {
    calls: &'a [Call],
    left: I,
    /// The call of each slot.
    slots: Vec<usize>,
    replies: &'a mut [Option<Result<Reply, Fault>>],
}

impl<I: Iterator<Item = usize> + Send> Source for List<'_, I> {
    fn next(&mut self, slot: usize, _ended: bool) -> Option<Cow<'_, Call>> {
        let index = self.left.next()?;
        self.slots[slot] = index;
        self.calls.get(index).map(Cow::Borrowed)
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        self.replies[self.slots[slot]] = Some(reply);
        Ok(Verdict::Aside)
    }
}
