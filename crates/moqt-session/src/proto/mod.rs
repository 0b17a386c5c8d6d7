//! The conversation, without I/O: messages and stream events in, messages and events out.
//!
//! [`Endpoint`] owns every request of a session and decides what is said next. It sees no payload and no
//! connection; the driver carries its outputs to streams and feeds it what streams bring.

mod accounting;
mod bitrate;
mod drain;
mod endpoint;
mod fetch;
mod limits;
mod message;
mod priority;
mod rate;
mod request;
mod respond;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
mod wish;

pub(crate) use accounting::Accounting;
pub(crate) use bitrate::Bitrate;
pub(crate) use drain::Told;
pub(crate) use endpoint::{Endpoint, Refused, Side};
pub use limits::Limits;
pub(crate) use message::{AnnounceStatus, Fetch, Message};
pub use message::{Gap, Info, Subscribe, SubscribeUpdate};
pub(crate) use priority::SendOrder;
pub(crate) use request::{Event, Output, RequestId, RequestKind, Sender};
