//! The limit of log lines that a peer can cause: of each kind the first few are written, the others are
//! counted, and the count is written.
//!
//! A line is written with [`limited!`], which makes every place in the source a kind of its own. A kind
//! counts by client and procedure: [`LINES`] of each are written within [`INTERVAL`]. The interval's end
//! writes how many were left out, whether or not another line follows. A kind tells at most [`KEYS`] clients
//! and procedures apart at a time; the lines of all others are one count.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::types::ClientAddress;

/// How long lines are counted before the count is written.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// Lines of one kind, client and procedure that are written within an interval.
pub(crate) const LINES: u64 = 3;
/// Clients and procedures that a kind tells apart within an interval.
const KEYS: usize = 32;
/// The bytes of a peer's text that a line shows.
const EXCERPT_BYTES: usize = 255;
/// The length of the same text after escaping.
const EXCERPT_SHOWN: usize = 512;

/// Kinds whose interval has begun and not ended. Its length is bounded by the number of places in the source.
static OPEN: Mutex<Vec<&'static Line>> = Mutex::new(Vec::new());

/// Writes a line unless too many of its kind were written: `limited!(warn, about, "message", fields…)`, where
/// `about` is [`About`] or becomes one, and level and fields are those of `tracing`.
macro_rules! limited {
    ($level:ident, $about:expr, $message:literal $(, $($field:tt)+)?) => {{
        static LINE: $crate::log_limit::Line = $crate::log_limit::Line::new(|left_out| {
            tracing::$level!(line = $message, client = left_out.client(), procedure = left_out.procedure,
                left_out = left_out.lines, "log lines were left out");
        });
        if LINE.admit($crate::log_limit::About::from($about)) {
            tracing::$level!($($($field)+,)? $message);
        }
    }};
}
pub(crate) use limited;

/// The client and the procedure that a line is about, where there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct About {
    client: Option<ClientAddress>,
    procedure: Option<&'static str>,
}

impl From<IpAddr> for About {
    fn from(client: IpAddr) -> Self {
        Self { client: Some(ClientAddress::of(client)), procedure: None }
    }
}

impl From<SocketAddr> for About {
    fn from(client: SocketAddr) -> Self {
        client.ip().into()
    }
}

impl From<(SocketAddr, &'static str)> for About {
    fn from((client, procedure): (SocketAddr, &'static str)) -> Self {
        Self { procedure: Some(procedure), ..client.into() }
    }
}

/// Lines that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    client: Option<ClientAddress>,
    /// The procedure, where they were about one.
    pub(crate) procedure: Option<&'static str>,
    /// Their number.
    pub(crate) lines: u64,
}

impl LeftOut {
    /// The client, as a log line shows it.
    pub(crate) fn client(&self) -> Option<String> {
        self.client.map(|client| client.to_string())
    }
}

/// One kind of line.
pub(crate) struct Line {
    report: fn(LeftOut),
    interval: Mutex<Option<Interval>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The lines since the first one of an interval.
struct Interval {
    end: Instant,
    seen: BTreeMap<About, u64>,
    /// Lines about clients and procedures that are not told apart.
    others: u64,
}

impl Interval {
    fn count(&mut self, about: About) -> bool {
        let room = self.seen.len() < KEYS;
        match self.seen.get_mut(&about) {
            Some(seen) => {
                *seen += 1;
                *seen <= LINES
            }
            None if room => {
                self.seen.insert(about, 1);
                true
            }
            None => {
                self.others += 1;
                false
            }
        }
    }

    fn left_out(&self) -> impl Iterator<Item = LeftOut> {
        let known = self.seen.iter().map(|(about, seen)| (*about, seen.saturating_sub(LINES)));
        let all = known.chain([(About::default(), self.others)]);
        all.filter(|(_, lines)| *lines > 0).map(|(about, lines)| {
            let About { client, procedure } = about;
            LeftOut { client, procedure, lines }
        })
    }
}

impl Line {
    /// A kind whose left out lines `report` writes.
    pub(crate) const fn new(report: fn(LeftOut)) -> Self {
        Self { report, interval: Mutex::new(None) }
    }

    /// Whether the line is written; if not, it is counted. An interval that is over ends first.
    pub(crate) fn admit(&'static self, about: About) -> bool {
        let now = Instant::now();
        self.end_if(|interval| now >= interval.end);
        let mut current = self.interval.lock();
        let begins = current.is_none();
        let interval = current.get_or_insert_with(|| Interval {
            end: now + INTERVAL,
            seen: BTreeMap::new(),
            others: 0,
        });
        let admitted = interval.count(about);
        let end = interval.end;
        drop(current);
        if begins {
            OPEN.lock().push(self);
            // Without a runtime the next line, or `write_counts`, ends the interval.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    tokio::time::sleep_until(end).await;
                    self.end_if(|interval| interval.end <= end);
                });
            }
        }
        admitted
    }

    /// Ends the interval where `is_over` says so, and writes the counts.
    fn end_if(&self, is_over: impl FnOnce(&Interval) -> bool) {
        let ended = self.interval.lock().take_if(|interval| is_over(interval));
        let Some(interval) = ended else { return };
        OPEN.lock().retain(|line| !std::ptr::eq(*line, self));
        interval.left_out().for_each(self.report);
    }
}

/// Ends every interval, so that the counts are written before the process ends.
pub(crate) fn write_counts() {
    let open = OPEN.lock().clone();
    open.into_iter().for_each(|line| line.end_if(|_| true));
}

/// The beginning of a text that a peer sent, with everything but printable ASCII escaped, and the text's
/// length where that is not all of it. It is cut at 255 bytes, and earlier where the escaped text has 512.
#[derive(Clone, Copy)]
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut taken, mut shown) = (0, 0);
        for byte in self.0.iter().take(EXCERPT_BYTES) {
            let escaped = std::ascii::escape_default(*byte);
            shown += escaped.len();
            if shown > EXCERPT_SHOWN {
                break;
            }
            fmt::Display::fmt(&escaped, f)?;
            taken += 1;
        }
        if taken < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> About {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn left_out(about: About, lines: u64) -> LeftOut {
        LeftOut { client: about.client, procedure: about.procedure, lines }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_burst_a_few_lines_are_written_and_the_count_without_a_further_line() {
        static WRITTEN: Mutex<Vec<LeftOut>> = Mutex::new(Vec::new());
        static LINE: Line = Line::new(|left_out| WRITTEN.lock().push(left_out));
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let admitted = (0..10_000).filter(|_| LINE.admit(one)).count();
        assert_eq!((admitted, LINE.admit(other)), (3, true));
        let read = ("192.0.2.1:700".parse::<SocketAddr>().unwrap(), "READ").into();
        assert!(LINE.admit(read), "another procedure is counted apart");
        tokio::time::sleep(INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(*WRITTEN.lock(), []);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(*WRITTEN.lock(), [left_out(one, 9_997)]);
        assert!(LINE.admit(one), "a new interval");
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(WRITTEN.lock().len(), 1);
        assert!(LINE.interval.lock().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_clients_takes_bounded_memory_and_lines() {
        static WRITTEN: Mutex<Vec<LeftOut>> = Mutex::new(Vec::new());
        static LINE: Line = Line::new(|left_out| WRITTEN.lock().push(left_out));
        let addresses = (0..100_000_u32).map(|each| IpAddr::from(each.to_be_bytes()));
        let admitted = addresses.filter(|address| LINE.admit((*address).into())).count();
        assert_eq!(admitted, KEYS);
        assert_eq!(LINE.interval.lock().as_ref().unwrap().seen.len(), KEYS);
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(*WRITTEN.lock(), [left_out(About::default(), 100_000 - KEYS as u64)]);
    }

    #[test]
    fn without_a_runtime_the_next_line_ends_the_interval() {
        static WRITTEN: Mutex<Vec<LeftOut>> = Mutex::new(Vec::new());
        static LINE: Line = Line::new(|left_out| WRITTEN.lock().push(left_out));
        let one = client("192.0.2.1");
        assert_eq!((0..5).filter(|_| LINE.admit(one)).count(), 3);
        if let Some(interval) = LINE.interval.lock().as_mut() {
            interval.end = Instant::now();
        }
        assert!(LINE.admit(one));
        assert_eq!(*WRITTEN.lock(), [left_out(one, 2)]);
    }

    #[test]
    fn counts_are_written_at_the_end_of_the_process() {
        static WRITTEN: Mutex<Vec<LeftOut>> = Mutex::new(Vec::new());
        static LINE: Line = Line::new(|left_out| WRITTEN.lock().push(left_out));
        let one = client("192.0.2.7");
        assert_eq!((0..4).filter(|_| LINE.admit(one)).count(), 3);
        // `write_counts` does it with each of these, those of other tests included.
        assert!(OPEN.lock().iter().any(|line| std::ptr::eq(*line, &LINE)));
        LINE.end_if(|_| true);
        assert_eq!(*WRITTEN.lock(), [left_out(one, 1)]);
        assert!(!OPEN.lock().iter().any(|line| std::ptr::eq(*line, &LINE)));
    }

    #[test]
    fn a_network_of_64_bits_and_a_mapped_address_are_one_client() {
        assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        let shown = left_out(client("2001:db8:1:2:3::4"), 1).client();
        assert_eq!(shown.as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(left_out(About::default(), 1).client(), None);
    }

    #[test]
    fn an_excerpt_is_bounded_before_and_after_escaping() {
        let shown = |bytes: &[u8]| Excerpt(bytes).to_string();
        assert_eq!(shown(b"/export/a b\n\xff"), r"/export/a b\n\xff");
        assert_eq!(shown(&[b'a'; 255]), "a".repeat(255));
        assert_eq!(shown(&[b'a'; 256]), format!("{}… (256 bytes)", "a".repeat(255)));
        assert_eq!(shown(&[0; 1024]), format!(r"{}… (1024 bytes)", r"\x00".repeat(128)));
        assert_eq!(shown(&[b'\n'; 300]), format!(r"{}… (300 bytes)", r"\n".repeat(255)));
    }
}
