//! How many of something come from where.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
pub(crate) struct Addresses(Mutex<BTreeMap<Source, usize>>);

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, source: Source) -> usize {
        self.lock().get(&source).copied().unwrap_or_default()
    }

    /// One more from `source`, for as long as the place is held. `None` where there are `limit` already.
    pub(crate) fn enter(self: &Arc<Self>, source: Source, limit: usize) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(source).or_default();
        if *count < limit {
            *count += 1;
            return Some(Place { addresses: Arc::clone(self), source });
        }
        if *count == 0 {
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
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
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
