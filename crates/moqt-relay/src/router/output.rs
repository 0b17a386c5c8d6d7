//! What a router wants done.

use moqt::{FullTrackName, Info, Namespace, Reason, TrackConsumer};

use super::{AskId, SessionId, TrackId, WaiterId, Wanted};

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// The name is there now, for everybody in the scope.
    Announce(Namespace),
    /// The name is gone.
    Withdraw(Namespace),
    /// The name is there now for those above: somebody below announced it.
    Offer(Namespace),
    /// It is gone for those above.
    Retract(Namespace),
    /// Subscribe at a session; answer with [`Router::track_answered`](super::Router::track_answered), and say with [`Router::delivers`](super::Router::delivers) and
    /// [`Router::feed_ended`](super::Router::feed_ended) what becomes of it.
    Subscribe {
        /// Names this request.
        ask: AskId,
        /// What it is to feed. A track that is not there yet begins with it; one that is goes on where it stands.
        track: TrackId,
        /// Where.
        session: SessionId,
        /// What.
        name: FullTrackName,
        /// What the one who asked first wants of it. Who takes over asks the track for more recent wishes.
        wanted: Wanted,
    },
    /// Ask a session about a track, without subscribing; answer with [`Router::info_answered`](super::Router::info_answered).
    AskInfo {
        /// Names this request.
        ask: AskId,
        /// Where.
        session: SessionId,
        /// What.
        name: FullTrackName,
    },
    /// Give a request up, and what it brought; an answer that comes all the same is ignored.
    Cancel {
        /// The request.
        ask: AskId,
        /// Where it was made.
        session: SessionId,
    },
    /// What fed the track has broken off: what it had begun is to be had from this session, that feeds it too.
    Mend {
        /// Which track.
        track: TrackId,
        /// Where.
        session: SessionId,
    },
    /// Nobody joins the track any more, and nothing more will feed it: it lasts as long as it is read and comes.
    Release {
        /// Which track.
        track: TrackId,
        /// The requests that feed it, of which nothing more need be said.
        asks: Vec<AskId>,
    },
    /// The answer to [`Router::want`](super::Router::want).
    Track {
        /// Who waits.
        waiter: WaiterId,
        /// A reader of the track, or why there is none.
        answer: Result<TrackConsumer, Reason>,
    },
    /// The answer to [`Router::ask_info`](super::Router::ask_info).
    Info {
        /// Who waits.
        waiter: WaiterId,
        /// What is known, or why nothing is.
        answer: Result<Info, Reason>,
    },
}
