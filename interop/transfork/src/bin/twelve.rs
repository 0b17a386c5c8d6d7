//! The peer on moq-transfork 0.12: paths are texts, interest is a pattern.

use moq_transfork_12 as transfork;

#[path = "../peer.rs"]
mod peer;

/// What differs between the releases.
mod names {
    use super::transfork::{message, AnnouncedMatch, Filter};

    pub type Interest = Filter;

    pub fn path(text: &str) -> String {
        text.to_owned()
    }

    /// A pattern as it is, a prefix as the pattern for what is below it.
    pub fn interest(text: &str) -> Interest {
        if text.is_empty() || text.contains('*') {
            Filter::new(text)
        } else {
            Filter::Prefix(format!("{text}/"))
        }
    }

    /// The path of an announcement.
    pub fn full(_: &Interest, announced: AnnouncedMatch) -> String {
        announced.to_full()
    }

    pub const INFO: message::ControlType = message::ControlType::Info;
}

fn main() -> anyhow::Result<()> {
    peer::main()
}
