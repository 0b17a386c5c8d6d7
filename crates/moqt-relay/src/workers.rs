//! Threads that serve clients, each with a runtime of its own.

use std::{io, num::NonZeroUsize, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// One thread. Dropped, it ends at once, and all that runs there with it.
#[derive(Debug)]
pub(crate) struct Worker {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, over) = oneshot::channel();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _ = runtime.block_on(over);
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// So many workers, or none.
pub(crate) fn start(count: Option<NonZeroUsize>) -> io::Result<Vec<Worker>> {
    (0..count.map_or(0, NonZeroUsize::get)).map(Worker::start).collect()
}
