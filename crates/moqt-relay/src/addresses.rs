//! How many of something come from where.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moqt::Allowance;
use tokio::time::Instant;

/// Whom an address belongs to: an IPv4 address, or the 64 bits of an IPv6 address that name a network, as whoever has
/// one address of it has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

/// Counts by source. A source without any takes no room, but for the short while in which it has not yet all that it may
/// bring again.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// What a source may bring in a second; as much as its sessions may where that is `None`.
    rates: Option<Rates>,
    counts: Mutex<Counts>,
}

/// What a source may ask, send, and name in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) requests: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) names: u64,
}

impl Rates {
    fn allowance(self) -> Allowance {
        Allowance::new(self.requests, self.payload_bytes, self.names)
    }
}

/// How long a source without any is remembered. What it may bring has come back to what it was by then.
const REMEMBERED: Duration = Duration::from_secs(5);

/// How many sources without any are remembered.
const MOST_REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
struct Counts {
    sources: BTreeMap<Source, Count>,
    /// Sources that had none at a time, in the order in which they are forgotten if they have none then.
    left: VecDeque<(Instant, Source)>,
}

impl Counts {
    fn forget(&mut self, now: Instant) {
        while let Some(&(at, source)) = self.left.front()
            && (now.saturating_duration_since(at) >= REMEMBERED || self.left.len() > MOST_REMEMBERED)
        {
            self.left.pop_front();
            // It may have come and left again.
            if self.sources.get(&source).is_some_and(|count| count.places == 0 && count.left <= at) {
                self.sources.remove(&source);
            }
        }
    }
}

#[derive(Debug)]
struct Count {
    places: usize,
    allowance: Allowance,
    /// When its last place was given up.
    left: Instant,
}

impl Addresses {
    /// Each source may bring so much in a second.
    pub(crate) fn with_rates(rates: Rates) -> Self {
        Self { rates: Some(rates), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, source: Source) -> usize {
        self.lock().sources.get(&source).map_or(0, |count| count.places)
    }

    /// One more from `source`, for as long as the place is held. `None` where there are `limit` already.
    pub(crate) fn enter(self: &Arc<Self>, source: Source, limit: usize) -> Option<Place> {
        let mut counts = self.lock();
        let now = now();
        counts.forget(now);
        if counts.sources.get(&source).map_or(0, |count| count.places) >= limit {
            return None;
        }
        let allowance = || self.rates.map(Rates::allowance).unwrap_or_default();
        let new = || Count { places: 0, allowance: allowance(), left: now };
        let count = counts.sources.entry(source).or_insert_with(new);
        count.places += 1;
        let allowance = count.allowance.clone();
        Some(Place { addresses: Arc::clone(self), source, allowance })
    }

    /// How many sources there are.
    #[cfg(test)]
    fn sources(&self) -> usize {
        self.lock().sources.len()
    }
}

/// One of those that a source has.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    source: Source,
    allowance: Allowance,
}

impl Place {
    /// What the source may bring with all that it has.
    pub(crate) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        let now = now();
        if let Some(count) = counts.sources.get_mut(&self.source) {
            count.places -= 1;
            count.left = now;
            if count.places == 0 && self.addresses.rates.is_some() {
                // A source that comes back at once does not have everything anew.
                counts.left.push_back((now, self.source));
            } else if count.places == 0 {
                counts.sources.remove(&self.source);
            }
        }
        counts.forget(now);
    }
}

#[expect(clippy::disallowed_methods, reason = "clients are part of the shell")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> Source {
        ip.parse::<IpAddr>().unwrap().into()
    }

    fn rated() -> Arc<Addresses> {
        Arc::new(Addresses::with_rates(Rates { requests: 1, payload_bytes: 1, names: 1 }))
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_so_is_an_address_of_ipv4_in_either_form() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn each_source_has_its_own_places_and_nothing_is_left_of_those_that_went() {
        let addresses = Arc::new(Addresses::default());
        let (here, there) = (source("192.0.2.1"), source("192.0.2.2"));
        let places: Vec<_> = (0..3).map(|_| addresses.enter(here, 3).unwrap()).collect();
        assert!(addresses.enter(here, 3).is_none() && addresses.enter(there, 0).is_none());
        let _other = addresses.enter(there, 3).unwrap();
        assert_eq!((addresses.count(here), addresses.count(there), addresses.sources()), (3, 1, 2));
        drop(places);
        assert_eq!((addresses.count(here), addresses.sources()), (0, 1));
        assert!(addresses.enter(here, 3).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_comes_back_at_once_has_used_what_it_has_used() {
        let addresses = rated();
        let here = source("192.0.2.1");
        let allowance = || addresses.enter(here, 1).unwrap().allowance();
        let first = allowance();
        assert!(first.is_same(&allowance()));
        tokio::time::advance(REMEMBERED / 2).await;
        assert!(first.is_same(&allowance()), "it came back meanwhile");
        tokio::time::advance(REMEMBERED / 2).await;
        assert!(first.is_same(&allowance()));
        tokio::time::advance(REMEMBERED).await;
        assert!(!first.is_same(&allowance()));
        tokio::time::advance(REMEMBERED).await;
        assert!(addresses.enter(source("192.0.2.2"), 0).is_none());
        assert_eq!(addresses.sources(), 0, "nothing is left of it");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_that_went_are_remembered() {
        let addresses = rated();
        for number in 0..3 * MOST_REMEMBERED as u32 {
            let ip = std::net::Ipv4Addr::from_bits(number);
            drop(addresses.enter(IpAddr::from(ip).into(), 1).unwrap());
        }
        assert_eq!(addresses.sources(), MOST_REMEMBERED);
    }
}
