//! Where to connect.

use std::{fmt, str::FromStr};

/// How a [`Url`] is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `https://`: WebTransport.
    WebTransport,
    /// `moqf://`, or `moqt://`: raw QUIC.
    Quic,
    /// `http://`: fetch the server's certificate fingerprint over HTTP, pin it, go on over WebTransport.
    Fingerprint,
}

/// The URL of a relay or another endpoint: `https://host:port/path`, `moqf://host:port/path` (or `moqt://`), or
/// `http://host:port/path` for development. The port is 443 unless given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// As written, with brackets around IPv6.
    host: String,
    port: u16,
    path: String,
}

/// Why a text is not a URL that can be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL at all.
    #[error("not a URL: {0}")]
    Syntax(String),
    /// A scheme for something else.
    #[error("unknown scheme {0:?}: use https:// (WebTransport), moqf:// (raw QUIC) or http:// (development)")]
    Scheme(String),
    /// Nowhere to go.
    #[error("the URL has no host")]
    NoHost,
    /// Credentials do not belong into a URL.
    #[error("the URL must not contain a user name or password")]
    Credentials,
}

impl Url {
    /// How to follow it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 unless given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path with its query, beginning with `/`.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path
    }

    /// The same server with another path and query, which begins with `/`.
    ///
    /// # Errors
    ///
    /// When this is no path as it is written in URLs, or one that leads to another place than it says, as `/a/../b`.
    pub fn with_path(&self, path_and_query: &str) -> Result<Self, UrlError> {
        let url: Self = format!("https://{}:{}{path_and_query}", self.host, self.port).parse()?;
        if url.path != path_and_query || url.host != self.host || url.port != self.port {
            return Err(UrlError::Syntax(format!("{path_and_query:?} is no path of a URL")));
        }
        Ok(Self { scheme: self.scheme, ..url })
    }

    /// What TLS checks the certificate against: the host without brackets.
    pub(crate) fn server_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The `https://` form, for the WebTransport request.
    pub(crate) fn webtransport(&self) -> String {
        format!("https://{}:{}{}", self.host, self.port, self.path)
    }

    /// The `http://` form of a path on the same host and port.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.host, self.port)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if !text.contains("://") {
            return Err(UrlError::Syntax(format!("{text:?} has no scheme, e.g. https://{text}")));
        }
        let url = url::Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => UrlError::NoHost,
            other => UrlError::Syntax(other.to_string()),
        })?;
        let scheme = match url.scheme() {
            "https" => Scheme::WebTransport,
            "moqf" | "moqt" => Scheme::Quic,
            "http" => Scheme::Fingerprint,
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlError::NoHost)?.to_owned();
        // The parser drops a port that is the scheme's default; that of http is not ours.
        let port = url.port().unwrap_or(match scheme {
            Scheme::Fingerprint if authority(text).ends_with(":80") => 80,
            _ => 443,
        });
        let mut path = if url.path().is_empty() { "/" } else { url.path() }.to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Self { scheme, host, port, path })
    }
}

/// What stands between `://` and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::WebTransport => "https",
            Scheme::Quic => "moqf",
            Scheme::Fingerprint => "http",
        };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_documented() {
        use Scheme::{Fingerprint, Quic, WebTransport};
        for (text, scheme, host, port, path) in [
            ("https://relay.example", WebTransport, "relay.example", 443, "/"),
            ("https://relay.example:4443/room/1?x=y", WebTransport, "relay.example", 4443, "/room/1?x=y"),
            ("moqf://127.0.0.1:4443", Quic, "127.0.0.1", 4443, "/"),
            ("moqt://relay.example/a", Quic, "relay.example", 443, "/a"),
            ("moqf://[::1]:9/?q", Quic, "[::1]", 9, "/?q"),
            ("http://localhost:4443/", Fingerprint, "localhost", 4443, "/"),
            ("http://localhost:80/", Fingerprint, "localhost", 80, "/"),
            ("http://localhost/a:80", Fingerprint, "localhost", 443, "/a:80"),
            ("HTTPS://Relay.Example/", WebTransport, "relay.example", 443, "/"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                (url.scheme(), url.host(), url.port(), url.path_and_query()),
                (scheme, host, port, path),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_the_reason() {
        assert!(matches!("relay.example".parse::<Url>(), Err(UrlError::Syntax(_))));
        assert!(matches!("ftp://relay.example".parse::<Url>(), Err(UrlError::Scheme(_))));
        assert_eq!("moqf:///path".parse::<Url>(), Err(UrlError::NoHost));
        assert_eq!("https://user@relay.example".parse::<Url>(), Err(UrlError::Credentials));
        assert!(matches!("https://relay.example:99999".parse::<Url>(), Err(UrlError::Syntax(_))));
    }

    #[test]
    fn the_text_form_reads_back_as_the_same_url() {
        for text in ["https://relay.example:4443/room/1?x=y", "moqf://[::1]:443/", "http://localhost:4443/"] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
        }
    }

    #[test]
    fn a_server_has_other_paths_and_none_that_leads_astray() {
        let url: Url = "http://relay.example:4443/a?b".parse().unwrap();
        for path in ["/", "/room/1", "/room%20x/?y=z", "//"] {
            let other = url.with_path(path).unwrap();
            assert_eq!((other.scheme(), other.host(), other.port()), (url.scheme(), "relay.example", 4443));
            assert_eq!(other.path_and_query(), path);
        }
        for wrong in ["", "room", "1/", "@else/", "/a/../b", "/./", "/a#b", "/a b", "/a\r\nb", "/%2e%2e/"] {
            assert!(url.with_path(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tls_checks_an_ipv6_host_without_brackets() {
        let url: Url = "https://[::1]:4443/".parse().unwrap();
        assert_eq!(url.server_name(), "::1");
    }
}
