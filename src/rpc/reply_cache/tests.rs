use bytes::Bytes;

use super::calls::OVERHEAD_BYTES;
use super::*;
use crate::rpc::auth::Identity;
use crate::rpc::{PeerState, Transport};
use crate::xdr::Encoder;

/// A connection as the kernel knows it.
#[derive(Clone, Debug)]
struct Kernel(Arc<Mutex<(u64, PeerState)>>);

impl Transport for Kernel {
    fn unacknowledged(&self) -> u64 {
        self.0.lock().0
    }

    fn peer(&self) -> PeerState {
        self.0.lock().1
    }
}

/// A reply's length on the wire.
const REPLY_BYTES: u64 = 28;

/// One connection of a client.
struct Peer {
    client: ClientCache,
    kernel: Kernel,
}

impl Peer {
    fn new(cache: &Arc<ReplyCache>, peer: &str) -> Self {
        let kernel = Kernel(Arc::new(Mutex::new((0, PeerState::Connected))));
        let stream = Arc::new(ReplyStream::new(Box::new(kernel.clone())));
        Self { client: cache.connect(peer.parse().unwrap(), stream), kernel }
    }

    fn stream(&self) -> &ReplyStream {
        self.client.stream()
    }

    fn begin(&self, xid: u32) -> Begin {
        self.stream().heard();
        self.client.begin(self.client.id(&header(xid), &[]), || true)
    }

    fn run(&self, xid: u32) -> (InProgress, Arc<Delivery>) {
        match self.begin(xid) {
            Begin::Run(call, delivery) => (call, delivery),
            other => panic!("{xid} runs: {other:?}"),
        }
    }

    /// Whether the call is a copy of a finished one; where it is another call, that leaves no trace.
    fn is_recorded(&self, xid: u32) -> bool {
        matches!(self.begin(xid), Begin::Recorded(..))
    }

    /// Runs a call and queues its reply as the end of what the connection is to write.
    fn finish(&self, xid: u32, replies_before: u64) {
        let (call, delivery) = self.run(xid);
        assert!(call.finish(reply(4), false).is_some());
        delivery.queued((replies_before + 1) * REPLY_BYTES);
    }

    /// Writes replies, of which the peer acknowledges none yet.
    fn write(&self, replies: u64) {
        let bytes = replies * REPLY_BYTES;
        self.stream().write(|| Ok(usize::try_from(bytes).unwrap())).unwrap();
        self.kernel.0.lock().0 += bytes;
    }

    fn acknowledge(&self, replies: u64) {
        self.kernel.0.lock().0 -= replies * REPLY_BYTES;
    }

    /// Runs a call and writes its reply.
    fn call(&self, xid: u32) {
        self.finish(xid, 0);
        self.write(1);
    }

    /// The kernel hears of the end, of which the server has not read yet.
    fn ends(&self, peer: PeerState) {
        self.kernel.0.lock().1 = peer;
    }

    fn close(&self) {
        self.stream().close();
    }

    /// The connection ends in order.
    fn leave(&self) {
        self.stream().finished();
        self.close();
    }

    fn reset(&self) {
        self.stream().broke();
        self.close();
    }
}

fn cache() -> Arc<ReplyCache> {
    ReplyCache::new(ReplyCacheLimits::default())
}

fn header(xid: u32) -> CallHeader {
    let identity = Identity { credentials: None, machine: Bytes::new() };
    CallHeader { xid, program: 1, version: 1, procedure: 1, identity }
}

fn reply(bytes: usize) -> Reply {
    let mut encoder = Encoder::new();
    encoder.fixed(&vec![0; bytes]);
    Reply::Success(encoder.finish())
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

const A_MOMENT: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_millis(1100);
const READ: Duration = Duration::from_secs(120);
const UNREAD: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_read_reply_is_replayed_to_its_port_for_120_seconds() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    first.call(1);
    first.acknowledge(1);
    assert!(first.is_recorded(1));
    first.leave();
    drop(first);
    pass(READ - A_MOMENT).await;
    assert!(Peer::new(&cache, "10.0.0.1:700").is_recorded(1), "the same port");
    pass(LONG).await;
    assert!(
        !Peer::new(&cache, "10.0.0.1:700").is_recorded(1),
        "the port was given to another program"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_connected_makes_the_call_anew_after_120_seconds() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    peer.call(1);
    peer.acknowledge(1);
    pass(READ + LONG).await;
    assert!(!peer.is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn an_unread_reply_is_replayed_for_600_seconds() {
    for (wait, recorded) in [(UNREAD - LONG, true), (UNREAD + LONG, false)] {
        for port in ["10.0.0.1:700", "10.0.0.1:701"] {
            let cache = cache();
            let first = Peer::new(&cache, "10.0.0.1:700");
            first.call(1);
            first.reset();
            // The client is connected by other ports too.
            let _other = Peer::new(&cache, "10.0.0.1:702");
            drop(first);
            pass(wait).await;
            assert_eq!(Peer::new(&cache, port).is_recorded(1), recorded, "{port} after {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replies_older_than_600_seconds_are_forgotten_while_the_client_stays() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    (0..10).for_each(|xid| peer.call(xid));
    pass(UNREAD + LONG).await;
    peer.call(10);
    assert_eq!(cache.bytes.load(Ordering::Relaxed), 4 + OVERHEAD_BYTES);
}

#[tokio::test(start_paused = true)]
async fn another_port_of_a_live_client_makes_another_call() {
    let cache = cache();
    let (one, two) = (Peer::new(&cache, "10.0.0.1:700"), Peer::new(&cache, "10.0.0.1:701"));
    pass(LONG).await;
    // In progress, and its reply on the way.
    let (call, delivery) = one.run(1);
    two.finish(1, 0);
    assert!(call.finish(reply(4), false).is_some());
    delivery.queued(REPLY_BYTES);
    one.write(1);
    assert!(!Peer::new(&cache, "10.0.0.1:702").is_recorded(1));
    // Read, however long ago.
    one.acknowledge(1);
    two.write(1);
    two.acknowledge(1);
    pass(LONG).await;
    assert!(!Peer::new(&cache, "10.0.0.1:702").is_recorded(1));
    // Each has its own reply.
    assert!(one.is_recorded(1) && two.is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn another_port_makes_another_call_after_the_first_connection_was_read_to_its_end() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    first.call(1);
    first.acknowledge(1);
    first.leave();
    assert!(!Peer::new(&cache, "10.0.0.1:701").is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn replies_that_were_not_acknowledged_at_the_end_are_replayed_to_another_port() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    (1..=4).zip(0..).for_each(|(xid, before)| first.finish(xid, before));
    first.write(3);
    first.acknowledge(2);
    let (late, _) = first.run(5);
    first.leave();
    assert!(late.finish(reply(4), false).is_some());
    let other = Peer::new(&cache, "10.0.0.1:701");
    let recorded: Vec<_> = (1..=5).filter(|xid| other.is_recorded(*xid)).collect();
    // Not acknowledged, not written, and not even queued.
    assert_eq!(recorded, [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn at_a_reset_replies_after_the_clients_last_sign_may_be_unread() {
    for seen in [false, true] {
        let cache = cache();
        let first = Peer::new(&cache, "10.0.0.1:700");
        (1..=2).zip(0..).for_each(|(xid, before)| {
            first.finish(xid, before);
            first.write(1);
            first.acknowledge(1);
        });
        first.ends(PeerState::Reset);
        if seen {
            first.close();
        }
        let other = Peer::new(&cache, "10.0.0.1:701");
        // The second call came after the first reply.
        assert!(!other.is_recorded(1) && other.is_recorded(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_stays_unacknowledged_is_replayed_while_its_connection_looks_alive() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    pass(UNREAD).await;
    first.call(1);
    assert!(!Peer::new(&cache, "10.0.0.1:701").is_recorded(1), "its acknowledgement is due");
    pass(LONG).await;
    // Though the client still sends.
    first.stream().heard();
    assert!(Peer::new(&cache, "10.0.0.1:702").is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_a_connection_that_was_silent_during_the_call_is_replayed_at_once() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    let (call, delivery) = first.run(1);
    pass(LONG).await;
    assert!(call.finish(reply(4), false).is_some());
    delivery.queued(REPLY_BYTES);
    first.write(1);
    assert!(Peer::new(&cache, "10.0.0.1:701").is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn a_replayed_reply_that_was_read_is_replayed_to_no_third_port() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    first.call(1);
    first.reset();
    let second = Peer::new(&cache, "10.0.0.1:701");
    let Begin::Recorded(_, delivery) = second.begin(1) else { panic!("it is a copy") };
    delivery.queued(REPLY_BYTES);
    second.write(1);
    second.acknowledge(1);
    assert!(!Peer::new(&cache, "10.0.0.1:702").is_recorded(1));
    // Copies from the ports of the call still are copies.
    assert!(second.is_recorded(1) && Peer::new(&cache, "10.0.0.1:700").is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn a_replayed_reply_that_is_lost_again_is_replayed_again() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    first.call(1);
    first.reset();
    for port in 701..720 {
        let next = Peer::new(&cache, &format!("10.0.0.1:{port}"));
        let Begin::Recorded(_, delivery) = next.begin(1) else { panic!("{port} sends a copy") };
        delivery.queued(REPLY_BYTES);
        next.write(1);
        next.reset();
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_call_in_progress_from_another_port_joins_it_where_the_first_connection_may_be_lost()
 {
    type End = fn(&Peer);
    let ends: [(End, bool); 6] = [
        (|_| {}, false),
        (|peer| peer.ends(PeerState::Finished), true),
        (|peer| peer.ends(PeerState::Reset), true),
        (|peer| peer.stream().finished(), true),
        (Peer::reset, true),
        (Peer::leave, true),
    ];
    for (end, joins) in ends {
        let cache = cache();
        let first = Peer::new(&cache, "10.0.0.1:700");
        let _call = first.run(1);
        pass(A_MOMENT).await;
        end(&first);
        let other = Peer::new(&cache, "10.0.0.1:701");
        assert_eq!(matches!(other.begin(1), Begin::Wait(..)), joins);
        // The same port is the same call in any case.
        assert!(matches!(Peer::new(&cache, "10.0.0.1:700").begin(1), Begin::Wait(..)));
        // So is another one after a silence.
        pass(LONG).await;
        assert!(matches!(Peer::new(&cache, "10.0.0.1:702").begin(1), Begin::Wait(..)));
    }
}

#[tokio::test(start_paused = true)]
async fn copies_over_several_connections_are_answered_by_the_newest() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    let (call, _) = first.run(1);
    pass(LONG).await;
    let (second, third) = (Peer::new(&cache, "10.0.0.1:701"), Peer::new(&cache, "10.0.0.1:702"));
    let Begin::Wait(mut second_turn, _) = second.begin(1) else { panic!("it is a copy") };
    let Begin::Wait(mut third_turn, delivery) = third.begin(1) else { panic!("it is a copy") };
    assert!(call.finish(reply(4), false).is_none());
    assert!(second_turn.try_recv().is_err());
    assert!(matches!(third_turn.try_recv(), Ok(Handoff::Reply(_))));
    delivery.queued(REPLY_BYTES);
    third.write(1);
    third.acknowledge(1);
    for peer in [&first, &second, &third] {
        assert!(peer.is_recorded(1));
    }
    assert!(!Peer::new(&cache, "10.0.0.1:703").is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_run_by_the_copy_that_waits() {
    let cache = cache();
    let first = Peer::new(&cache, "10.0.0.1:700");
    let (call, _) = first.run(1);
    first.leave();
    let second = Peer::new(&cache, "10.0.0.1:701");
    let Begin::Wait(mut turn, _) = second.begin(1) else { panic!("it is a copy") };
    assert!(call.finish(Reply::Transient(Encoder::new().finish()), true).is_none());
    let Ok(Handoff::Run(call)) = turn.try_recv() else { panic!("it is handed on") };
    assert!(call.finish(reply(4), false).is_some());
    assert!(second.is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn transient_replies_and_failures_are_not_recorded() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    let nothing = || Encoder::new().finish();
    for reply in [Reply::Transient(nothing()), Reply::SystemError, Reply::GarbageArguments] {
        let (call, _) = peer.run(1);
        assert!(call.finish(reply, false).is_some());
    }
    drop(peer.run(1));
    peer.run(1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_admitted_gets_no_recorded_reply() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    peer.call(1);
    let _call = peer.run(2);
    let id = |xid| peer.client.id(&header(xid), &[]);
    for xid in [1, 2] {
        assert!(matches!(peer.client.begin(id(xid), || false), Begin::NotAdmitted));
    }
    assert!(matches!(peer.client.begin(id(3), || panic!("it is new")), Begin::Run(..)));
    assert!(peer.is_recorded(1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_by_an_older_connection_takes_no_reply_away() {
    let cache = cache();
    let older = Peer::new(&cache, "10.0.0.1:700");
    let newer = Peer::new(&cache, "10.0.0.1:700");
    let (call, _) = newer.run(1);
    let Begin::Wait(mut late, _) = older.begin(1) else { panic!("it is a copy") };
    assert!(call.finish(reply(4), false).is_some(), "the newer connection is answered");
    assert!(late.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_its_newest_replies() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    let other = Peer::new(&cache, "10.0.0.2:700");
    other.call(0);
    (0..1100).for_each(|xid| peer.call(xid));
    assert!(!peer.is_recorded(1100 - 1025) && peer.is_recorded(1100 - 1024));
    assert!(other.is_recorded(0));
}

/// The bounds hold for a client whose calls all look alike, from any number of ports.
#[tokio::test(start_paused = true)]
async fn calls_that_look_alike_are_bounded_too() {
    let cache = cache();
    for port in 1..3000 {
        let peer = Peer::new(&cache, &format!("10.0.0.1:{port}"));
        peer.call(1);
        peer.acknowledge(1);
        peer.leave();
    }
    assert_eq!(cache.bytes.load(Ordering::Relaxed), 1024 * (4 + OVERHEAD_BYTES));
}

#[test]
fn replies_are_bounded_in_bytes_at_the_cost_of_who_is_away() {
    let bytes = 10 * (1000 + OVERHEAD_BYTES);
    let cache = ReplyCache::new(ReplyCacheLimits { bytes, ..ReplyCacheLimits::default() });
    let record = |peer: &Peer, xid| {
        assert!(peer.run(xid).0.finish(reply(1000), false).is_some());
    };
    let away = Peer::new(&cache, "10.0.0.1:700");
    let (there, busy) = (Peer::new(&cache, "10.0.0.2:700"), Peer::new(&cache, "10.0.0.3:700"));
    (0..3).for_each(|xid| record(&away, xid));
    drop(away);
    record(&there, 0);
    (0..100).for_each(|xid| {
        record(&busy, xid);
        assert!(cache.bytes.load(Ordering::Relaxed) <= bytes);
    });
    assert!(there.is_recorded(0) && busy.is_recorded(99) && !busy.is_recorded(0));
    assert!(!Peer::new(&cache, "10.0.0.1:700").is_recorded(0));
    drop((there, busy));
    cache.clients.lock().clear();
    assert_eq!(cache.bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn clients_that_are_away_are_forgotten_in_time_and_beyond_a_number() {
    let limits = ReplyCacheLimits { absent_clients: 2, ..ReplyCacheLimits::default() };
    let cache = ReplyCache::new(limits);
    let peer = |last: u8| Peer::new(&cache, &format!("10.0.0.{last}:700"));
    for last in 1..=4 {
        peer(last).call(0);
        pass(Duration::from_secs(1)).await;
    }
    assert!(peer(4).is_recorded(0) && peer(3).is_recorded(0) && !peer(1).is_recorded(0));
    pass(UNREAD).await;
    assert!(!peer(4).is_recorded(0));
    assert!(cache.clients.lock().len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_mapped_address_is_the_same_client() {
    let cache = cache();
    Peer::new(&cache, "10.0.0.1:700").call(0);
    assert!(Peer::new(&cache, "[::ffff:10.0.0.1]:700").is_recorded(0));
}

#[tokio::test(start_paused = true)]
async fn another_address_is_another_client() {
    let cache = cache();
    let first = Peer::new(&cache, "[2001:db8::1]:700");
    first.call(0);
    first.reset();
    // The same client by its bounds, though.
    let neighbour = Peer::new(&cache, "[2001:db8::2]:700");
    assert!(!neighbour.is_recorded(0));
    assert!(Peer::new(&cache, "[2001:db8::1]:701").is_recorded(0));
    (0..1024).for_each(|xid| neighbour.call(xid));
    assert!(!Peer::new(&cache, "[2001:db8::1]:702").is_recorded(0));
    assert!(!Peer::new(&cache, "10.0.0.1:700").is_recorded(0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_read_late_does_not_run_after_its_copy() {
    for end in [PeerState::Finished, PeerState::Reset] {
        let cache = cache();
        let (older, newer) = (Peer::new(&cache, "10.0.0.1:700"), Peer::new(&cache, "10.0.0.1:701"));
        let (call, _) = newer.run(1);
        older.ends(end);
        assert!(matches!(older.begin(1), Begin::Late));
        assert!(call.finish(reply(4), false).is_some());
        assert!(matches!(older.begin(1), Begin::Late));
        // A call of the older one that is in progress is another matter.
        let _call = older.run(2);
        assert!(matches!(newer.begin(2), Begin::Wait(..)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ended_without_a_record_is_not_ended_twice() {
    let cache = cache();
    let peer = Peer::new(&cache, "10.0.0.1:700");
    assert!(peer.run(1).0.finish(Reply::SystemError, false).is_some());
    let _second = peer.run(1);
    assert!(matches!(peer.begin(1), Begin::Wait(..)));
}

/// A datagram from a port: what the cache makes of it.
fn datagram(cache: &Arc<ReplyCache>, peer: &str, xid: u32) -> Begin {
    let client = cache.datagram(peer.parse().unwrap());
    client.begin(client.id(&header(xid), &[]), || true)
}

#[tokio::test(start_paused = true)]
async fn a_datagram_is_a_copy_of_those_from_its_port_alone() {
    let cache = cache();
    let Begin::Run(first, _) = datagram(&cache, "10.0.0.1:700", 1) else { panic!("it is new") };
    let Begin::Wait(turn, _) = datagram(&cache, "10.0.0.1:700", 1) else { panic!("a copy") };
    pass(LONG).await;
    let Begin::Run(other, _) = datagram(&cache, "10.0.0.1:701", 1) else { panic!("another") };
    assert!(other.finish(reply(4), false).is_some());
    assert!(first.finish(reply(4), false).is_none(), "its copy is answered");
    assert!(matches!(turn.await, Ok(Handoff::Reply(_))));
    pass(LONG).await;
    assert!(matches!(datagram(&cache, "10.0.0.1:700", 1), Begin::Recorded(..)));
    assert!(matches!(datagram(&cache, "10.0.0.1:702", 1), Begin::Run(..)));
    assert!(matches!(datagram(&cache, "10.0.0.2:700", 1), Begin::Run(..)));
    pass(READ).await;
    assert!(matches!(datagram(&cache, "10.0.0.1:700", 1), Begin::Run(..)));
}
