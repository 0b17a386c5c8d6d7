//! One budget of bytes for the groups of many tracks.
//!
//! Whoever adds to a group charges its track's [`Account`]; while more is held than the budget allows, the track that
//! holds most lets go of its oldest group. So a track loses nothing as long as another one holds more: none falls below
//! its fair share because of a greedy neighbour.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{clock::now, group::GroupShared};

/// How far an account may be from where it is sorted in: an eighth, or this much.
const DRIFT: u64 = 4096;

/// Between two looks for what has become too old.
const SWEEP: Duration = Duration::from_millis(250);

/// What groups may hold in memory, over all tracks that share it. Clones are handles to the same budget.
///
/// It counts what groups pin: payload, and what it takes to keep it in order. When it is exceeded, the track that holds
/// most gives up its oldest group, as often as it takes. The newest group of each track is kept, unless nothing else is
/// left; then the largest of those goes. So what is held exceeds the limit by no more than what is being added at that
/// moment.
#[derive(Clone)]
pub struct CacheBudget {
    shared: Arc<Shared>,
}

struct Shared {
    limit: u64,
    held: AtomicU64,
    groups: AtomicU64,
    evicted: AtomicU64,
    groups_total: AtomicU64,
    payload_total: AtomicU64,
    oversized: AtomicU64,
    accounts: Mutex<Accounts>,
    /// One at a time lets go of groups, so that nobody lets go of more than is needed. Taken before any other lock.
    reclaiming: Mutex<()>,
}

/// The innermost lock: nothing is locked, and nothing dropped that could lock, while it is held.
#[derive(Default)]
struct Accounts {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    /// All accounts by what they held when they were last sorted in.
    all: BTreeSet<Place>,
    /// Those with more than their newest group.
    spare: BTreeSet<Place>,
}

/// About what an account holds, and its number.
type Place = (u64, u64);

struct Entry {
    holder: Option<Weak<dyn Holder>>,
    key: u64,
    spare: bool,
}

/// Who holds what an account counts.
pub(super) trait Holder: Send + Sync {
    /// Lets go of the oldest group; of the newest only where `newest`. `false` where there is none.
    fn let_go(&self, newest: bool) -> bool;

    /// Lets go of what is too old.
    fn sweep(&self, now: Instant);
}

impl Default for CacheBudget {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl fmt::Debug for CacheBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBudget")
            .field("limit", &self.shared.limit)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl CacheBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: bytes,
                held: AtomicU64::new(0),
                groups: AtomicU64::new(0),
                evicted: AtomicU64::new(0),
                groups_total: AtomicU64::new(0),
                payload_total: AtomicU64::new(0),
                oversized: AtomicU64::new(0),
                accounts: Mutex::default(),
                reclaiming: Mutex::default(),
            }),
        }
    }

    /// Counts without a limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.shared.limit
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Groups that are held.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(Ordering::Relaxed)
    }

    /// Tracks, and groups that came alone, that share the budget now.
    #[must_use]
    pub fn tracks(&self) -> usize {
        self.shared.accounts().entries.len()
    }

    /// Groups that were let go because the budget was exceeded, since the start.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.shared.evicted.load(Ordering::Relaxed)
    }

    /// Groups that began, since the start.
    #[must_use]
    pub fn groups_total(&self) -> u64 {
        self.shared.groups_total.load(Ordering::Relaxed)
    }

    /// Payload bytes that came, since the start.
    #[must_use]
    pub fn payload_total(&self) -> u64 {
        self.shared.payload_total.load(Ordering::Relaxed)
    }

    /// Groups that were given up because they alone grew too large, since the start.
    #[must_use]
    pub fn oversized(&self) -> u64 {
        self.shared.oversized.load(Ordering::Relaxed)
    }

    pub(super) fn was_oversized(&self) {
        self.shared.oversized.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go of what is too old, four times a second, for ever. One task for all tracks: without it, a track looks at
    /// the age of its groups only when another group begins.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.sweep_now();
        }
    }

    pub(super) fn sweep_now(&self) {
        let holders: Vec<_> = {
            let accounts = self.shared.accounts();
            accounts.entries.values().filter_map(|entry| entry.holder.as_ref()?.upgrade()).collect()
        };
        let now = now();
        holders.iter().for_each(|holder| holder.sweep(now));
    }

    /// A new account; nothing is let go of before it has a [holder](Account::held_by).
    pub(super) fn open(&self) -> Arc<Account> {
        let mut accounts = self.shared.accounts();
        let id = accounts.next;
        accounts.next += 1;
        accounts.entries.insert(id, Entry { holder: None, key: 0, spare: false });
        accounts.all.insert((0, id));
        drop(accounts);
        Arc::new(Account {
            budget: self.clone(),
            id,
            held: AtomicU64::new(0),
            key: AtomicU64::new(0),
            spare: AtomicBool::new(false),
            orphans: Mutex::default(),
        })
    }

    /// Lets go of groups until the limit is kept. The caller holds no lock of a track or group.
    pub(super) fn reclaim(&self) {
        let shared = &self.shared;
        let _one = shared.reclaiming.lock().unwrap_or_else(PoisonError::into_inner);
        // Accounts from here on have nothing, though they are sorted in as if they could have.
        let mut below = (u64::MAX, u64::MAX);
        while self.held() > shared.limit {
            let fattest = {
                let accounts = shared.accounts();
                let spare = accounts.fattest(&accounts.spare, (u64::MAX, u64::MAX));
                // Where newest groups alone exceed the limit, the largest is above its fair share.
                let newest = || Some((accounts.fattest(&accounts.all, below)?, true));
                spare.map(|fattest| (fattest, false)).or_else(newest)
            };
            let Some(((place, holder), newest)) = fattest else { return };
            if holder.let_go(newest) {
                shared.evicted.fetch_add(1, Ordering::Relaxed);
                below = (u64::MAX, u64::MAX);
            } else if newest {
                below = place;
            }
        }
    }
}

impl Shared {
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    /// The holder that holds most of those in `sorted` below a place, and its own place.
    fn fattest(&self, sorted: &BTreeSet<Place>, below: Place) -> Option<(Place, Arc<dyn Holder>)> {
        sorted.range(..below).rev().find_map(|place| {
            let holder = self.entries.get(&place.1)?.holder.as_ref()?.upgrade()?;
            Some((*place, holder))
        })
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (before, was_spare) = (entry.key, entry.spare);
        change(entry);
        let (key, spare) = (entry.key, entry.spare);
        if (key, spare) == (before, was_spare) {
            return;
        }
        if key != before {
            self.all.remove(&(before, id));
            self.all.insert((key, id));
        }
        if was_spare {
            self.spare.remove(&(before, id));
        }
        if spare {
            self.spare.insert((key, id));
        }
    }
}

/// What one track, or one group that came alone, holds of a budget.
pub(super) struct Account {
    budget: CacheBudget,
    id: u64,
    held: AtomicU64,
    /// Under what it is sorted in.
    key: AtomicU64,
    /// Whether it is sorted in as one that has more than its newest group.
    spare: AtomicBool,
    /// Groups that are read or written though their track is gone.
    orphans: Mutex<Vec<Weak<GroupShared>>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Account {
    /// Who is asked to let go.
    pub(super) fn held_by(&self, holder: Weak<dyn Holder>) {
        self.budget.shared.accounts().change(self.id, |entry| entry.holder = Some(holder));
    }

    /// The track is gone; these groups of it may live on, and can be let go of from here.
    pub(super) fn orphan(self: &Arc<Self>, groups: Vec<Weak<GroupShared>>) {
        *self.orphans() = groups;
        let holder: Weak<Self> = Arc::downgrade(self);
        self.held_by(holder);
        self.has_spare(true);
    }

    fn orphans(&self) -> MutexGuard<'_, Vec<Weak<GroupShared>>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn budget(&self) -> &CacheBudget {
        &self.budget
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Adds to what is held; returns what is held then.
    pub(super) fn charge(&self, bytes: u64) -> u64 {
        self.budget.shared.held.fetch_add(bytes, Ordering::Relaxed);
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.sort_in(held);
        held
    }

    pub(super) fn release(&self, bytes: u64) {
        self.budget.shared.held.fetch_sub(bytes, Ordering::Relaxed);
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.sort_in(held);
    }

    pub(super) fn group_begins(&self) {
        self.budget.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.budget.shared.groups_total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn came(&self, payload: u64) {
        self.budget.shared.payload_total.fetch_add(payload, Ordering::Relaxed);
    }

    pub(super) fn group_goes(&self) {
        self.budget.shared.groups.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether all together hold too much.
    pub(super) fn is_over(&self) -> bool {
        self.budget.held() > self.budget.shared.limit
    }

    /// Whether there is more than the newest group. Called under the lock of the track.
    pub(super) fn has_spare(&self, spare: bool) {
        if self.budget.shared.limit != u64::MAX && self.spare.load(Ordering::Relaxed) != spare {
            self.budget.shared.accounts().change(self.id, |entry| {
                entry.spare = spare;
                self.spare.store(spare, Ordering::Relaxed);
            });
        }
    }

    /// Sorts the account in anew where it has moved far: a lock every so many bytes, and none without a limit.
    fn sort_in(&self, held: u64) {
        let key = self.key.load(Ordering::Relaxed);
        if held.abs_diff(key) <= DRIFT.max(key / 8) || self.budget.shared.limit == u64::MAX {
            return;
        }
        self.budget.shared.accounts().change(self.id, |entry| {
            entry.key = self.held();
            self.key.store(entry.key, Ordering::Relaxed);
        });
    }
}

impl Holder for Account {
    fn let_go(&self, _: bool) -> bool {
        loop {
            let Some(group) = self.orphans().pop() else {
                self.has_spare(false);
                return false;
            };
            if group.upgrade().is_some_and(|group| group.let_go(true)) {
                return true;
            }
        }
    }

    fn sweep(&self, _: Instant) {}
}

impl Drop for Account {
    fn drop(&mut self) {
        let gone = {
            let mut accounts = self.budget.shared.accounts();
            let gone = accounts.entries.remove(&self.id);
            if let Some(Entry { key, .. }) = &gone {
                accounts.all.remove(&(*key, self.id));
                accounts.spare.remove(&(*key, self.id));
            }
            gone
        };
        drop(gone);
    }
}
