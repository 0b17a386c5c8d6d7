//! Ctrl-C and its like: the first asks for a clean end, the second does not ask.

use std::process::ExitCode;

use tokio::sync::watch;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to do.
    Done,
    /// A signal ended it, with this status.
    Interrupted(u8),
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Interrupted(status) => status.into(),
        }
    }
}

/// Knows whether the user wants the end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<Option<u8>>);

impl Shutdown {
    /// Listens to the signals of the process from now on.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = watch::channel(None);
        let task = async move {
            loop {
                let status = signal().await;
                if sender.send_replace(Some(status)).is_some() {
                    crate::ui::clear();
                    std::process::exit(i32::from(status));
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "signals are heard for as long as the process lives")]
        tokio::spawn(task);
        Self(receiver)
    }

    /// Waits until the end is wanted. Cancel safe.
    pub(crate) async fn wanted(&self) -> Exit {
        let mut receiver = self.0.clone();
        let status = match receiver.wait_for(Option::is_some).await {
            Ok(status) => *status,
            Err(_) => None,
        };
        match status {
            Some(status) => Exit::Interrupted(status),
            None => std::future::pending().await,
        }
    }
}

/// The next signal, as the status of a process that it ended.
async fn signal() -> u8 {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => 130,
                _ = terminate.recv() => 143,
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    130
}
