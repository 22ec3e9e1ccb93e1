//! A queue whose clients take turns, so that one client's thousand calls do not delay another's single call.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Items of several clients. Each turn takes the oldest item of one client, and the client's next turn comes
/// after every other waiting client's (round robin). An item waits for at most one turn of each other client
/// per item of its own client before it.
///
/// All operations take logarithmic time. A client without items is forgotten.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    clients: HashMap<K, Client<T>>,
    /// The clients by their next turn.
    turns: BTreeMap<u64, K>,
    last_turn: u64,
    last_item: u64,
    length: usize,
    bounds: Bounds,
}

/// How many items may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of all clients together.
    pub total: usize,
    pub per_client: usize,
}

impl Bounds {
    /// As many as the calls that 1,024 connections have in flight (128 each), the half of them of one client.
    pub const CALLS: Self = Self { total: 1 << 17, per_client: 1 << 16 };
}

/// The place of an item in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket<K> {
    client: K,
    item: u64,
}

/// The queue takes no item of the client now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls wait")]
pub struct QueueFull;

#[derive(Debug)]
struct Client<T> {
    turn: u64,
    /// By age.
    items: BTreeMap<u64, T>,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            clients: HashMap::new(),
            turns: BTreeMap::new(),
            last_turn: 0,
            last_item: 0,
            length: 0,
            bounds,
        }
    }

    /// Adds an item of a client.
    ///
    /// # Errors
    /// [`QueueFull`] at either bound.
    pub fn push(&mut self, client: K, item: T) -> Result<Ticket<K>, QueueFull> {
        let waiting = self.clients.get(&client).map_or(0, |it| it.items.len());
        if self.length >= self.bounds.total || waiting >= self.bounds.per_client {
            return Err(QueueFull);
        }
        self.last_item += 1;
        let ticket = Ticket { client: client.clone(), item: self.last_item };
        let entry = self.clients.entry(client).or_insert_with_key(|client| {
            self.last_turn += 1;
            self.turns.insert(self.last_turn, client.clone());
            Client { turn: self.last_turn, items: BTreeMap::new() }
        });
        entry.items.insert(ticket.item, item);
        self.length += 1;
        Ok(ticket)
    }

    /// The item that [`pop`](Self::pop) would take.
    #[must_use]
    pub fn peek(&self) -> Option<&T> {
        let (_, client) = self.turns.first_key_value()?;
        let (_, item) = self.clients.get(client)?.items.first_key_value()?;
        Some(item)
    }

    /// Takes the oldest item of the client whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let (_, client) = self.turns.pop_first()?;
        let entry = self.clients.get_mut(&client)?;
        let (_, item) = entry.items.pop_first()?;
        self.length -= 1;
        if entry.items.is_empty() {
            self.clients.remove(&client);
        } else {
            self.last_turn += 1;
            entry.turn = self.last_turn;
            self.turns.insert(self.last_turn, client);
        }
        Some(item)
    }

    /// Takes up to `most` items, in the order of their turns.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let mut taken = Vec::with_capacity(most.min(self.length));
        while taken.len() < most
            && let Some(item) = self.pop()
        {
            taken.push(item);
        }
        taken
    }

    /// Takes an item out of its turn, if it still waits.
    pub fn remove(&mut self, ticket: &Ticket<K>) -> Option<T> {
        let entry = self.clients.get_mut(&ticket.client)?;
        let item = entry.items.remove(&ticket.item)?;
        self.length -= 1;
        if entry.items.is_empty() {
            self.turns.remove(&entry.turn);
            self.clients.remove(&ticket.client);
        }
        Some(item)
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no item waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Bounds = Bounds { total: 10_000, per_client: 10_000 };

    fn queue(items: &[(&'static str, u32)]) -> FairQueue<&'static str, (&'static str, u32)> {
        let mut queue = FairQueue::new(MANY);
        for &(client, item) in items {
            queue.push(client, (client, item)).unwrap();
        }
        queue
    }

    fn all(queue: &mut FairQueue<&'static str, (&'static str, u32)>) -> Vec<(&'static str, u32)> {
        queue.take(usize::MAX)
    }

    #[test]
    fn one_client_is_first_come_first_served() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(queue.peek(), Some(&("a", 1)));
        assert_eq!(all(&mut queue), [("a", 1), ("a", 2), ("a", 3)]);
        assert!(queue.is_empty() && queue.peek().is_none() && queue.pop().is_none());
    }

    #[test]
    fn a_single_call_waits_for_one_turn_of_each_other_client() {
        let mut queue = FairQueue::new(MANY);
        for item in 0..1000 {
            queue.push("a", ("a", item)).unwrap();
        }
        queue.push("b", ("b", 0)).unwrap();
        assert_eq!(queue.take(2), [("a", 0), ("b", 0)]);
        // It calls again, while the other's calls wait.
        queue.push("b", ("b", 1)).unwrap();
        assert_eq!(queue.take(2), [("a", 1), ("b", 1)]);
        assert_eq!(queue.len(), 998);
    }

    #[test]
    fn clients_take_turns_in_the_order_of_their_arrival() {
        let mut queue =
            queue(&[("a", 1), ("a", 2), ("b", 1), ("c", 1), ("c", 2), ("b", 2), ("a", 3)]);
        let expected = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2), ("a", 3)];
        assert_eq!(all(&mut queue), expected);
    }

    /// A client whose items come one at a time has no earlier turn than one that always waits.
    #[test]
    fn no_client_starves() {
        let mut queue = queue(&[("patient", 1), ("patient", 2)]);
        let mut taken = Vec::new();
        for item in 0..10 {
            queue.push("x", ("x", item)).unwrap();
            queue.push("y", ("y", item)).unwrap();
            taken.extend(queue.take(2));
        }
        let turns: Vec<_> = taken.iter().take(6).map(|(client, _)| *client).collect();
        assert_eq!(turns, ["patient", "x", "y", "patient", "x", "y"]);
    }

    #[test]
    fn a_removed_item_is_gone_and_its_client_is_forgotten() {
        let mut queue = FairQueue::new(MANY);
        let a = queue.push("a", 1).unwrap();
        let b = queue.push("b", 2).unwrap();
        let c = queue.push("b", 3).unwrap();
        assert_eq!(queue.remove(&a), Some(1));
        assert_eq!(queue.remove(&a), None);
        assert_eq!((queue.clients.len(), queue.turns.len(), queue.len()), (1, 1, 2));
        assert_eq!(queue.remove(&b), Some(2));
        assert_eq!(queue.pop(), Some(3));
        assert_eq!(queue.remove(&c), None, "it was taken");
        assert!(queue.clients.is_empty() && queue.turns.is_empty() && queue.is_empty());
        // A client that comes back is new.
        queue.push("a", 4).unwrap();
        assert_eq!(queue.pop(), Some(4));
    }

    #[test]
    fn both_bounds_hold_and_room_comes_back() {
        let mut queue = FairQueue::new(Bounds { total: 3, per_client: 2 });
        let first = queue.push("a", 1).unwrap();
        queue.push("a", 2).unwrap();
        assert_eq!(queue.push("a", 3), Err(QueueFull), "of one client");
        queue.push("b", 4).unwrap();
        assert_eq!(queue.push("c", 5), Err(QueueFull), "of all");
        assert_eq!((queue.clients.len(), queue.turns.len()), (2, 2), "a refused client is unknown");
        queue.remove(&first).unwrap();
        queue.push("c", 5).unwrap();
        assert_eq!(queue.take(9), [2, 4, 5]);
    }

    /// Whatever is pushed, popped and removed: the books agree, and each client's items keep their order.
    #[test]
    fn any_order_of_operations_keeps_the_books() {
        use rand::rngs::StdRng;
        use rand::{Rng as _, SeedableRng as _};
        let mut random = StdRng::seed_from_u64(1);
        let mut queue = FairQueue::new(Bounds { total: 50, per_client: 20 });
        let (mut tickets, mut pushed) = (Vec::new(), 0_u64);
        let mut last = HashMap::new();
        for _ in 0..20_000 {
            match random.random_range(0..4) {
                0 | 1 => {
                    let client = random.random_range(0..6_u8);
                    if let Ok(ticket) = queue.push(client, (client, pushed)) {
                        tickets.push(ticket);
                        pushed += 1;
                    }
                }
                2 => {
                    if let Some((client, item)) = queue.pop() {
                        let before = last.insert(client, item);
                        assert!(before.is_none_or(|before| before < item));
                    }
                }
                _ if tickets.is_empty() => {}
                _ => {
                    let ticket = tickets.swap_remove(random.random_range(0..tickets.len()));
                    queue.remove(&ticket);
                }
            }
            let counted: usize = queue.clients.values().map(|client| client.items.len()).sum();
            assert_eq!(counted, queue.len());
            assert_eq!(queue.turns.len(), queue.clients.len());
            assert!(queue.clients.values().all(|client| !client.items.is_empty()));
            assert_eq!(queue.peek().is_none(), queue.is_empty());
        }
    }
}
