//! How to turn a client down.

/// How to turn a client down, in HTTP's words: a status, and headers that say more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reject {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Reject {
    /// 400: the request makes no sense.
    pub const BAD_REQUEST: Self = Self::with(400);
    /// 401: it is not known who asks.
    pub const UNAUTHORIZED: Self = Self::with(401);
    /// 403: this client may not.
    pub const FORBIDDEN: Self = Self::with(403);
    /// 404: there is nothing at this path.
    pub const NOT_FOUND: Self = Self::with(404);
    /// 429: not now, as this client has asked too often.
    pub const TOO_MANY_REQUESTS: Self = Self::with(429);
    /// 503: not now, whoever asks.
    pub const UNAVAILABLE: Self = Self::with(503);

    const fn with(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// Any other status that turns down; `None` outside of 300 to 599.
    pub fn new(status: u16) -> Option<Self> {
        (300..600).contains(&status).then_some(Self::with(status))
    }

    /// Adds a header, which raw QUIC does not carry.
    ///
    /// # Errors
    ///
    /// When name or value cannot be sent.
    #[cfg(feature = "webtransport")]
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, crate::InvalidHeader> {
        crate::webtransport::check_header(name, value)?;
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// The number of the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers added, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(super) fn words(&self) -> &'static str {
        match self.status {
            400 => "bad request",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not found",
            429 => "too many requests",
            503 => "unavailable",
            _ => "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_that_turns_down_can_be_chosen() {
        assert_eq!(Reject::new(404), Some(Reject::NOT_FOUND));
        assert_eq!(Reject::new(418).map(|reject| reject.status()), Some(418));
        for status in [0, 100, 200, 299, 600, 999] {
            assert_eq!(Reject::new(status), None);
        }
    }

    #[cfg(feature = "webtransport")]
    #[test]
    fn a_header_that_cannot_be_sent_is_refused() {
        let reject = Reject::UNAVAILABLE.header("retry-after", "10").unwrap();
        assert_eq!(reject.headers(), [("retry-after".to_owned(), "10".to_owned())]);
        assert!(reject.clone().header(":status", "200").is_err());
        assert!(reject.header("a", "b\r\nc: d").is_err());
    }
}
