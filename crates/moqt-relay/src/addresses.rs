//! How many of something come from where.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moqt::Allowance;

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

/// Counts by source; a source without any takes no room.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// What a source may ask, and send, in a second; as much as its sessions may where that is `None`.
    rates: Option<(u64, u64)>,
    counts: Mutex<BTreeMap<Source, Count>>,
}

#[derive(Debug, Default)]
struct Count {
    places: usize,
    allowance: Allowance,
}

impl Addresses {
    /// Each source may ask, and send, so much in a second.
    pub(crate) fn with_rates(requests: u64, payload_bytes: u64) -> Self {
        Self { rates: Some((requests, payload_bytes)), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, source: Source) -> usize {
        self.lock().get(&source).map_or(0, |count| count.places)
    }

    /// One more from `source`, for as long as the place is held. `None` where there are `limit` already.
    pub(crate) fn enter(self: &Arc<Self>, source: Source, limit: usize) -> Option<Place> {
        let mut counts = self.lock();
        let rates = self.rates;
        let count = counts.entry(source).or_insert_with(|| Count {
            places: 0,
            allowance: rates.map(|(requests, bytes)| Allowance::new(requests, bytes)).unwrap_or_default(),
        });
        if count.places < limit {
            count.places += 1;
            let allowance = count.allowance.clone();
            return Some(Place { addresses: Arc::clone(self), source, allowance });
        }
        if count.places == 0 {
            counts.remove(&source);
        }
        None
    }

    /// How many sources there are.
    #[cfg(test)]
    fn sources(&self) -> usize {
        self.lock().len()
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
        if let Some(count) = counts.get_mut(&self.source) {
            count.places -= 1;
            if count.places == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> Source {
        ip.parse::<IpAddr>().unwrap().into()
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
}
