//! The peer on moq-transfork 0.11: paths are lists of parts, interest is a prefix.

use moq_transfork_11 as transfork;

#[path = "../peer.rs"]
mod peer;

/// What differs between the releases.
mod names {
    use super::transfork::{message, Path};

    pub type Interest = Path;

    pub fn path(text: &str) -> Path {
        text.split('/').collect()
    }

    pub fn interest(text: &str) -> Interest {
        text.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The path of an announcement.
    pub fn full(interest: &Interest, suffix: Path) -> String {
        interest.clone().append(&suffix).join("/")
    }

    pub const INFO: message::ControlType = message::ControlType::Info;
}

fn main() -> anyhow::Result<()> {
    peer::main()
}
