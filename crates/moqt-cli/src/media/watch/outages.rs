//! Tracks that are lost for a while, told of once and not for each.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::sub::Lost;

/// What several tracks share that are lost together.
#[derive(Clone, Debug)]
pub(super) struct Outages {
    lost: Lost,
    /// How many are lost.
    count: Arc<AtomicUsize>,
}

impl Outages {
    pub(super) fn new(lost: Lost) -> Self {
        Self { lost, count: Arc::default() }
    }

    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Something is lost, for as long as what is returned is held. The first of several is told of.
    pub(super) fn begin(&self, why: &dyn std::error::Error) -> Outage {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lost.tell(why);
        }
        Outage(Arc::clone(&self.count))
    }
}

/// Something is lost.
#[derive(Debug)]
pub(super) struct Outage(Arc<AtomicUsize>);

impl Drop for Outage {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
