//! Fewer requests than a backend's quota, and to each namespace its turn.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// How many requests a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_minute: NonZeroU32,
    /// At once, after a rest.
    pub burst: NonZeroU32,
}

/// The requests of all controllers to one backend. A namespace that asks for much waits behind its own requests: between two
/// of them every other namespace has a turn.
pub struct Throttle {
    limiter: DefaultDirectRateLimiter,
    /// The namespaces that wait, in order of arrival: Tokio's lock is a queue.
    turns: tokio::sync::Mutex<()>,
    /// In each namespace only the first one waits for a turn.
    namespaces: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Requests that a namespace waited for and did not send.
    given_back: Mutex<HashMap<String, u32>>,
}

impl Throttle {
    /// With all of its burst to spend.
    pub fn new(rate: Rate) -> Self {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::direct(quota),
            turns: tokio::sync::Mutex::new(()),
            namespaces: Mutex::new(HashMap::new()),
            given_back: Mutex::new(HashMap::new()),
        }
    }

    /// One request of a namespace had its turn and was not sent: it came too late for what it rested on. The next one goes at
    /// once, or nobody would ever be in time.
    pub fn give_back(&self, namespace: &str) {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = given_back.entry(namespace.to_owned()).or_default();
        *requests = requests.saturating_add(1);
    }

    /// Takes as many of those as are wanted; how many are missing.
    fn taken(&self, namespace: &str, wanted: NonZeroU32) -> Option<NonZeroU32> {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(there) = given_back.get_mut(namespace) else { return Some(wanted) };
        let taken = wanted.get().min(*there);
        *there -= taken;
        if *there == 0 {
            given_back.remove(namespace);
        }
        NonZeroU32::new(wanted.get() - taken)
    }

    /// Waits until a namespace may send so many requests; at most as many as the burst are counted.
    pub async fn turn(&self, namespace: &str, requests: NonZeroU32) {
        let Some(mut requests) = self.taken(namespace, requests) else { return };
        let own = {
            let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            // Those in which nobody waits are forgotten.
            namespaces.retain(|_, queue| Arc::strong_count(queue) > 1);
            namespaces.entry(namespace.to_owned()).or_default().clone()
        };
        let first_of_its_namespace = own.lock().await;
        let turn = self.turns.lock().await;
        while let Err(capacity) = self.limiter.until_n_ready(requests).await {
            requests = NonZeroU32::new(capacity.0).unwrap_or(NonZeroU32::MIN);
        }
        drop(turn);
        drop(first_of_its_namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    /// One namespace asks for a hundred things before another one asks for five: it does not wait for all of them.
    #[tokio::test]
    async fn a_busy_namespace_leaves_the_others_their_turns() {
        let throttle = Arc::new(Throttle::new(Rate { per_minute: count(60_000), burst: count(1) }));
        let served = Arc::new(Mutex::new(Vec::new()));
        let ask = |namespace: &'static str| {
            let (throttle, served) = (throttle.clone(), served.clone());
            tokio::spawn(async move {
                throttle.turn(namespace, NonZeroU32::MIN).await;
                served.lock().unwrap().push(namespace);
            })
        };
        let mut asked: Vec<_> = (0..100).map(|_| ask("busy")).collect();
        tokio::task::yield_now().await;
        asked.extend((0..5).map(|_| ask("quiet")));
        for request in asked {
            request.await.unwrap();
        }
        let served = served.lock().unwrap().clone();
        let last_quiet = served.iter().rposition(|n| *n == "quiet").unwrap();
        assert_eq!(served.iter().filter(|n| **n == "busy").count(), 100);
        assert!(last_quiet < 15, "the quiet namespace was served last as number {last_quiet}");
        throttle.turn("another", NonZeroU32::MIN).await;
        assert_eq!(throttle.namespaces.lock().unwrap().len(), 1, "those in which nobody waits are forgotten");
    }

    #[tokio::test]
    async fn what_was_given_back_is_not_waited_for_again() {
        let throttle = Throttle::new(Rate { per_minute: count(1), burst: count(1) });
        throttle.turn("a", count(1)).await;
        throttle.give_back("a");
        throttle.turn("a", count(1)).await;
        assert_eq!(throttle.taken("a", count(1)), Some(count(1)), "it was used up");
        throttle.give_back("a");
        assert_eq!(throttle.taken("a", count(3)), Some(count(2)));
        assert_eq!(throttle.taken("b", count(1)), Some(count(1)));
    }

    #[tokio::test]
    async fn more_than_the_burst_counts_as_the_burst_and_what_is_spent_is_waited_for() {
        let throttle = Throttle::new(Rate { per_minute: count(600), burst: count(2) });
        let begun = std::time::Instant::now();
        throttle.turn("a", count(7)).await;
        throttle.turn("a", count(1)).await;
        assert!(begun.elapsed() >= std::time::Duration::from_millis(95), "{:?}", begun.elapsed());
    }
}
