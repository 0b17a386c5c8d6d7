//! Changing a link while it is in use.

use std::{sync::Arc, time::Duration};

use crate::{Link, Side, link::LinkState, net::driver::Shared};

/// One or both directions of a path in use; made by [`SimConnection::link`](crate::SimConnection::link) and
/// its neighbours. Does not keep the connection open.
///
/// A change concerns packets sent from now on; those on their way go on as they were.
#[derive(Clone, Debug)]
pub struct LinkControl {
    shared: Arc<Shared>,
    /// Who sends into them.
    sides: Vec<Side>,
}

impl LinkControl {
    pub(crate) fn new(shared: Arc<Shared>, sides: Vec<Side>) -> Self {
        Self { shared, sides }
    }

    /// Lets nothing through until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    /// Undoes [`cut`](Self::cut).
    pub fn restore(&self) {
        self.change(|state| state.cut = false);
    }

    /// Loses each packet with `probability`.
    pub fn set_loss(&self, probability: f64) {
        self.change(|state| state.link = state.link.loss(probability));
    }

    /// Lets packets leave at `bits_per_second`.
    ///
    /// # Panics
    ///
    /// When it is 0.
    pub fn set_rate(&self, bits_per_second: u64) {
        self.change(|state| state.link = state.link.rate(bits_per_second));
    }

    /// Changes how long packets take.
    pub fn set_delay(&self, delay: Duration) {
        self.change(|state| state.link.delay = delay);
    }

    /// Replaces all settings.
    pub fn set(&self, link: Link) {
        self.change(|state| state.link = link);
    }

    fn change(&self, change: impl Fn(&mut LinkState)) {
        self.shared.with(|pair| {
            for &side in &self.sides {
                change(pair.links.get_mut(side));
                pair.ends.get_mut(side).dirty = true;
            }
        });
    }
}
