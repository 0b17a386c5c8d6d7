//! What the peers of an interop run are told and what they say: one line each, words between spaces.
//!
//! The same file is part of each peer, whatever library it stands on, so that all of them speak alike. A peer is
//! started with a URL to connect to, or with an address to listen on, reads commands from stdin and says on stdout
//! what happens. At the end of stdin it closes its session and ends.
//!
//! | Said | When |
//! |---|---|
//! | `listening ADDRESS` | a server is ready |
//! | `connected VERSION` | there is a session |
//! | `published PATH`, `unpublished PATH` | done as told |
//! | `used PATH`, `unused PATH` | a track of ours is read by somebody, or by nobody any more; not from all peers |
//! | `asked PATH PRIORITY ORDER` | the peer has subscribed to a track of ours; not from all peers |
//! | `active PATH`, `ended PATH`, `live`, `unwatched` | announcements |
//! | `frame PATH GROUP INDEX BYTES`, `group PATH GROUP FRAMES BYTES whole` | what a subscription or fetch brings; `broken` where it is not what was published |
//! | `gap PATH FIRST LAST WHY` | groups that will not come; not from all peers |
//! | `over PATH WHY` | a subscription has come to its end |
//! | `left PATH` | a subscription was given up |
//! | `info PATH PRIORITY ORDER LATEST`, `refused PATH WHY` | answers |
//! | `closed WHY` | the session is over |

/// What a peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `publish PATH [PRIORITY]`: a new track; priorities as we count them, 128 in the middle.
    Publish { path: String, priority: u8 },
    /// `unpublish PATH`: the track ends.
    Unpublish { path: String },
    /// `begin PATH GROUP`: a group that stays open.
    Begin { path: String, group: u64 },
    /// `frame PATH BYTES`: one more frame in the open group.
    Frame { path: String, bytes: usize },
    /// `finish PATH`: the end of the open group.
    Finish { path: String },
    /// `group PATH GROUP FRAMES BYTES`: a whole group of so many frames, each of so many bytes.
    Group { path: String, group: u64, frames: u64, bytes: usize },
    /// `round PREFIX TRACKS GROUP BYTES`: the same group, of one frame, on each of the tracks `PREFIX/0` and so on.
    Round { prefix: String, tracks: u64, group: u64, bytes: usize },
    /// `subscribe PATH [PRIORITY [FIRST [LAST]]]`, from the latest group on unless told otherwise. Peers whose
    /// library has no ranges leave them out.
    Subscribe { path: String, priority: u8, first: Option<u64>, last: Option<u64> },
    /// `unsubscribe PATH`.
    Unsubscribe { path: String },
    /// `watch [PREFIX]`; peers with patterns take a pattern, too.
    Watch { prefix: String },
    /// `info PATH`.
    Info { path: String },
    /// `fetch PATH GROUP`.
    Fetch { path: String, group: u64 },
    /// `close [CODE]`: the session, with a code of the application.
    Close { code: Option<u32> },
}

impl Command {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let mut word = || words.next().map(str::to_owned);
        let wrong = || format!("not a command: {line}");
        let number = |word: Option<String>| word.and_then(|word| word.parse::<u64>().ok()).ok_or_else(wrong);
        let size = |word: Option<String>| word.and_then(|word| word.parse::<usize>().ok()).ok_or_else(wrong);
        let priority =
            |word: Option<String>| word.map_or(Ok(128), |word| word.parse::<u8>().map_err(|_| wrong()));
        Ok(match verb {
            "publish" => Self::Publish { path: word().ok_or_else(wrong)?, priority: priority(word())? },
            "unpublish" => Self::Unpublish { path: word().ok_or_else(wrong)? },
            "begin" => Self::Begin { path: word().ok_or_else(wrong)?, group: number(word())? },
            "frame" => Self::Frame { path: word().ok_or_else(wrong)?, bytes: size(word())? },
            "finish" => Self::Finish { path: word().ok_or_else(wrong)? },
            "group" => Self::Group {
                path: word().ok_or_else(wrong)?,
                group: number(word())?,
                frames: number(word())?,
                bytes: size(word())?,
            },
            "round" => Self::Round {
                prefix: word().ok_or_else(wrong)?,
                tracks: number(word())?,
                group: number(word())?,
                bytes: size(word())?,
            },
            "subscribe" => Self::Subscribe {
                path: word().ok_or_else(wrong)?,
                priority: priority(word())?,
                first: word().map(|word| number(Some(word))).transpose()?,
                last: word().map(|word| number(Some(word))).transpose()?,
            },
            "unsubscribe" => Self::Unsubscribe { path: word().ok_or_else(wrong)? },
            "watch" => Self::Watch { prefix: word().unwrap_or_default() },
            "info" => Self::Info { path: word().ok_or_else(wrong)? },
            "fetch" => Self::Fetch { path: word().ok_or_else(wrong)?, group: number(word())? },
            "close" => {
                let code = word().map(|word| word.parse::<u32>().map_err(|_| wrong())).transpose()?;
                Self::Close { code }
            }
            _ => return Err(wrong()),
        })
    }
}

/// The payload of a frame: bytes that nobody guesses, and that everybody can make again.
pub fn payload(path: &str, group: u64, index: u64, bytes: usize) -> Vec<u8> {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let words = [group, index, bytes as u64];
    for byte in path.bytes().chain(words.into_iter().flat_map(u64::to_le_bytes)) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut payload = Vec::with_capacity(bytes + 8);
    while payload.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload.extend_from_slice(&state.to_le_bytes());
    }
    payload.truncate(bytes);
    payload
}

/// A group as it is read: says its frames, and at its end whether they are what was published.
#[derive(Clone, Debug)]
pub struct Checked {
    path: String,
    group: u64,
    frames: u64,
    bytes: usize,
    right: bool,
}

impl Checked {
    pub fn new(path: &str, group: u64) -> Self {
        Self { path: path.to_owned(), group, frames: 0, bytes: 0, right: true }
    }

    /// One more frame; what to say of it.
    pub fn frame(&mut self, frame: &[u8]) -> String {
        self.right &= payload(&self.path, self.group, self.frames, frame.len()) == frame;
        let said = format!("frame {} {} {} {}", self.path, self.group, self.frames, frame.len());
        self.frames += 1;
        self.bytes += frame.len();
        said
    }

    /// Whether no frame came yet.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// The end of the group, well or not; what to say of it.
    pub fn end(self, well: bool) -> String {
        let state = if well && self.right { "whole" } else { "broken" };
        format!("group {} {} {} {} {state}", self.path, self.group, self.frames, self.bytes)
    }
}
