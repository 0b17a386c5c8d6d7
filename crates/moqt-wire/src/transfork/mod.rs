//! The messages of MoQ Transfork, one per file, and the tables around them.
//!
//! Messages carry neither a type nor a length: what may come next follows from the kind of the stream and from
//! what it has carried so far.
//!
//! | Stream | Opener sends | The other side sends |
//! |---|---|---|
//! | [`StreamKind::Session`] | [`SessionClient`], [`SessionUpdate`]* | [`SessionServer`], [`SessionUpdate`]* |
//! | [`StreamKind::Announce`] | [`AnnouncePlease`] | [`Announce`]* |
//! | [`StreamKind::Subscribe`] | [`Subscribe`], [`SubscribeUpdate`]* | [`Info`], [`SubscribeGap`]* |
//! | [`StreamKind::Fetch`] | [`Fetch`], [`FetchUpdate`]* | frames |
//! | [`StreamKind::Info`] | [`InfoPlease`] | [`Info`] |
//! | [`StreamKind::Drain`] | [`Drain`] | |
//! | [`StreamKind::Group`] | [`Group`], frames | |

mod announce;
mod announce_please;
pub mod code;
mod drain;
mod extensions;
mod fetch;
mod fetch_update;
mod group;
mod info;
mod info_please;
mod interest;
mod pattern;
mod session_client;
mod session_server;
mod session_update;
mod stream_kind;
mod subscribe;
mod subscribe_gap;
mod subscribe_update;

pub use announce::{Announce, AnnounceStatus};
pub use announce_please::AnnouncePlease;
pub use drain::Drain;
pub use extensions::{ENCODING_DRAFT_04, EXT_DRAIN, EXT_ENCODING, EXT_PATH, EXT_ROLE, Extension, Extensions};
pub use fetch::Fetch;
pub use fetch_update::FetchUpdate;
pub use group::Group;
pub use info::Info;
pub use info_please::InfoPlease;
pub use interest::Interest;
pub use pattern::Pattern;
pub use session_client::SessionClient;
pub use session_server::SessionServer;
pub use session_update::SessionUpdate;
pub use stream_kind::StreamKind;
pub use subscribe::Subscribe;
pub use subscribe_gap::SubscribeGap;
pub use subscribe_update::SubscribeUpdate;

/// Calls a macro with the name of every message, after the arguments if there are any.
macro_rules! for_each_message {
    ($macro:ident $(, $arguments:tt)?) => {
        $macro! {
            $($arguments)?
            SessionClient SessionServer SessionUpdate AnnouncePlease Announce Subscribe SubscribeUpdate
            SubscribeGap Info InfoPlease Fetch FetchUpdate Group Drain
        }
    };
}
pub(crate) use for_each_message;

macro_rules! kinds {
    ($($message:ident)*) => { &[$(<$message as crate::Message>::KIND),*] };
}

/// Every message of the family.
pub const MESSAGES: &[crate::MessageKind] = for_each_message!(kinds);
