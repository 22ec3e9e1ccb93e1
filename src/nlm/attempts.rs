//! What a client has said to the attempts to tell it of a lock.

/// GRANTED and DENIED_GRACE_PERIOD. Whatever else a client says, it has not taken the lock.
const GRANTED_STATUS: u32 = 0;
const GRACE_STATUS: u32 = 4;

/// How the calls about a reservation end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Accepted,
    /// The client does not want it, or nothing reached it.
    Dropped,
    /// The address that the client has called is another server's now.
    Moved,
    /// The client is left to its own calls.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    /// The client asks for patience.
    Later,
    /// It is refused, unless the word on an attempt before an UNLOCK is still on its way.
    DroppedSoon,
    End(End),
}

/// The attempts so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The number of the next one.
    next: u16,
    /// Those of which it is not known whether the client took them.
    open: Vec<u16>,
    /// The first since the owner has given everything back.
    first: u16,
}

impl Attempts {
    pub(super) fn begin(&mut self) -> u16 {
        let attempt = self.next;
        self.next += 1;
        self.open.push(attempt);
        attempt
    }

    /// What an answer comes to.
    pub(super) fn answered(&mut self, attempt: u16, status: u32) -> Outcome {
        if attempt >= self.next {
            return Outcome::Nothing;
        }
        if status == GRANTED_STATUS {
            return Outcome::End(End::Accepted);
        }
        let known = self.open.len();
        self.open.retain(|it| *it != attempt);
        if attempt < self.first || self.open.len() == known {
            return Outcome::Nothing;
        }
        if status == GRACE_STATUS {
            return Outcome::Later;
        }
        if self.open.iter().any(|it| *it >= self.first) {
            Outcome::End(End::Unknown)
        } else if self.open.is_empty() {
            Outcome::End(End::Dropped)
        } else {
            Outcome::DroppedSoon
        }
    }

    /// The client has not taken an attempt. Whether it may have taken any.
    pub(super) fn failed(&mut self, attempt: u16) -> bool {
        self.open.retain(|it| *it != attempt);
        !self.open.is_empty()
    }

    /// The owner has given everything back: what it says to earlier attempts is no refusal.
    pub(super) fn anew(&mut self) {
        self.first = self.next;
    }

    /// Whether the numbers are used up: an owner that gives back without end.
    pub(super) fn are_used_up(&self) -> bool {
        self.next == u16::MAX
    }

    /// How many there were since the owner has given everything back.
    pub(super) fn of_round(&self) -> u16 {
        self.next - self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_where_no_other_attempt_may_have_been_taken() {
        let mut attempts = Attempts::default();
        let first = attempts.begin();
        assert_eq!(attempts.answered(first, 1), Outcome::End(End::Dropped));
        let mut attempts = Attempts::default();
        let (first, second) = (attempts.begin(), attempts.begin());
        assert_eq!(attempts.answered(second, 1), Outcome::End(End::Unknown));
        assert_eq!(attempts.answered(first, 0), Outcome::End(End::Accepted));
        let mut attempts = Attempts::default();
        let (first, second) = (attempts.begin(), attempts.begin());
        assert!(attempts.failed(first), "the second may have been taken");
        assert_eq!(attempts.answered(second, 4), Outcome::Later);
        let third = attempts.begin();
        assert_eq!(attempts.answered(third, 1), Outcome::End(End::Dropped));
    }

    #[test]
    fn refusals_of_attempts_before_an_unlock_say_nothing() {
        let mut attempts = Attempts::default();
        let old = attempts.begin();
        attempts.anew();
        let new = attempts.begin();
        assert_eq!(attempts.answered(7, 0), Outcome::Nothing, "never sent");
        assert_eq!(attempts.answered(old, 1), Outcome::Nothing);
        assert_eq!(attempts.answered(new, 1), Outcome::End(End::Dropped));
        let mut attempts = Attempts::default();
        let old = attempts.begin();
        attempts.anew();
        let new = attempts.begin();
        assert_eq!(attempts.answered(new, 1), Outcome::DroppedSoon);
        assert_eq!(attempts.answered(new, 1), Outcome::Nothing, "said already");
        assert_eq!(attempts.answered(old, 0), Outcome::End(End::Accepted), "it came late");
    }
}
