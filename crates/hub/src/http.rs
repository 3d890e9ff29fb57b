//! Requests to the hub: whom the token may reach, which redirects are followed, what is retried.

use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, Method, Request, Response, Uri, header};
use ureq::{Agent, Body};

use crate::{Error, Options, Progress, Token, Wait};

const HOPS_MAX: usize = 10;
/// How often a request that failed in a passing way is tried again.
pub(crate) const RETRIES_MAX: u32 = 5;
/// Doubled each time: 31 seconds in all.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// A server that asks for more patience than this gets none.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A body may take hours, but not a minute without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Http {
    agent: Agent,
    endpoint: String,
    home: Origin,
    token: Option<Token>,
}

/// A request, and the words for it in an error.
pub(crate) struct Ask<'a> {
    pub(crate) repo: &'a str,
    pub(crate) what: &'a str,
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    /// The endpoint itself answered, not a host that it sent us to.
    at_home: bool,
}

/// A failure that is for good, or one that may pass.
pub(crate) enum Failure {
    Final(Error),
    Passing { error: Error, after: Option<Duration> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// How many failures in a row are still borne.
pub(crate) struct Patience {
    failures: u32,
    max: u32,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let fault = || Error::Setting {
            key: "HF_ENDPOINT",
            reason: "is not an http or https address without user, query or fragment",
        };
        let endpoint = options.endpoint.trim().trim_end_matches('/').to_owned();
        let url: Uri = endpoint.parse().map_err(|_| fault())?;
        let home = Origin::of(&url).ok_or_else(fault)?;
        if endpoint.contains(['?', '#']) {
            return Err(fault());
        }
        let agent = Agent::config_builder()
            // Redirects are followed here, one by one, and a status is no error of transport.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .proxy(options.proxy.clone())
            .user_agent(concat!("ruminate/", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges are those of the file, not of a compressed form.
            .accept_encoding("identity")
            .build()
            .new_agent();
        Ok(Self { agent, endpoint, home, token: options.token.clone() })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// An address below the endpoint; `path` begins with a slash and is encoded.
    pub(crate) fn url(&self, path: &str) -> Uri {
        let url = format!("{}{path}", self.endpoint);
        url.parse().expect("an address and an encoded path make an address")
    }

    /// Sends a request and follows its redirects, until one of them is `enough`.
    pub(crate) fn follow(
        &self,
        ask: &Ask<'_>,
        mut enough: impl FnMut(&HeaderMap) -> bool,
    ) -> Result<Reply, Failure> {
        let nonsense = |reason: &str| Error::Answer {
            repo: ask.repo.to_owned(),
            what: ask.what.to_owned(),
            reason: reason.to_owned(),
        };
        let mut url = ask.url.clone();
        let mut token = self.token.as_ref();
        for _ in 0..HOPS_MAX {
            let at_home = Origin::of(&url).as_ref() == Some(&self.home);
            // Once away from home, the token stays away, even if the road leads back.
            token = token.filter(|_| at_home);
            let response = self.send(ask, &url, token)?;
            let redirects = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
            if enough(response.headers()) || !redirects {
                return Ok(Reply { response, at_home });
            }
            let location = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
            let location = location.ok_or_else(|| nonsense("a redirect to nowhere"))?;
            url = next_hop(&url, location).map_err(nonsense)?;
        }
        Err(nonsense("it redirects without end").into())
    }

    fn send(
        &self,
        ask: &Ask<'_>,
        url: &Uri,
        token: Option<&Token>,
    ) -> Result<Response<Body>, Failure> {
        let unreachable = |cause: String| Error::Unreachable {
            repo: ask.repo.to_owned(),
            what: ask.what.to_owned(),
            cause,
        };
        let mut request = Request::builder().method(ask.method.clone()).uri(url.clone());
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        let request = request.body(()).map_err(|e| unreachable(e.to_string()))?;
        self.agent.run(request).map_err(|cause| {
            use ureq::Error::{ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
            let host = url.host().unwrap_or_default();
            let error = unreachable(format!("{host}: {cause}"));
            match cause {
                HostNotFound | ConnectionFailed | Io(_) | Timeout(_) | Protocol(_) => {
                    Failure::Passing { error, after: None }
                }
                _ => Failure::Final(error),
            }
        })
    }

    /// Turns a status that isn't a success into a failure.
    pub(crate) fn judge(&self, reply: Reply, ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
        let (status, headers) = (reply.response.status().as_u16(), reply.response.headers());
        if (200..300).contains(&status) {
            return Ok(reply.response);
        }
        let repo = || ask.repo.to_owned();
        let refused = Error::Refused { repo: repo(), what: ask.what.to_owned(), status };
        let after = headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let after = after.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
        if [408, 429].contains(&status) || status >= 500 {
            return Err(Failure::Passing { error: refused, after });
        }
        if !reply.at_home {
            // The address elsewhere was signed for a while. Asked again, the hub signs anew.
            return Err(Failure::Passing { error: refused, after: None });
        }
        let endpoint = self.endpoint.clone();
        let code = headers.get("x-error-code").and_then(|v| v.to_str().ok()).unwrap_or_default();
        Err(Failure::Final(match (status, code) {
            (401 | 403, "GatedRepo") => Error::Gated { repo: repo(), endpoint },
            // Without a token the hub doesn't tell a missing model from a private one.
            (401 | 404, "RepoNotFound") => Error::NoSuchModel { repo: repo(), endpoint },
            (401, _) if self.token.is_none() => Error::NoSuchModel { repo: repo(), endpoint },
            (401 | 403, _) => Error::Unauthorized { repo: repo() },
            _ => refused,
        }))
    }
}

impl Patience {
    pub(crate) fn new(max: u32) -> Self {
        Self { failures: 0, max }
    }

    /// There was progress: failures are counted from here.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits after a failure that may pass, as long as the server says or twice as long as
    /// the last time. Gives the failure back if it's for good, or one too many.
    pub(crate) fn bear(
        &mut self,
        failure: Failure,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let (error, after) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { error, after } => (error, after),
        };
        if self.failures == self.max || after.is_some_and(|after| after > RETRY_AFTER_MAX) {
            return Err(error);
        }
        let delay = after.unwrap_or(BACKOFF_FIRST * 2u32.pow(self.failures));
        self.failures += 1;
        match progress.wait(&Wait::Retry(error.to_string()), delay).is_break() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

/// Repeats an attempt while its failures may pass.
pub(crate) fn retry<T>(
    retries_max: u32,
    progress: &mut dyn Progress,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut patience = Patience::new(retries_max);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => patience.bear(failure, progress)?,
        }
    }
}

/// Scheme, host and port: what the web calls the same place.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// None for what isn't http or https, or has a user in it.
    fn of(url: &Uri) -> Option<Self> {
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = url.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let port = authority.port_u16().unwrap_or(port);
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }
}

/// Where a redirect leads. From https it never leads to http.
fn next_hop(from: &Uri, location: &str) -> Result<Uri, &'static str> {
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let url: Uri = text.parse().map_err(|_| "a redirect to no address")?;
    let to = Origin::of(&url).ok_or("a redirect to no http or https address")?;
    if scheme == "https" && to.scheme == "http" {
        return Err("a redirect from https to http");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leads_from_https_to_http_or_out_of_the_web() {
        let from: Uri = "https://hub.test/a/b?x=1".parse().unwrap();
        let cases = [
            ("/c", Ok("https://hub.test/c")),
            ("//cdn.test/c?sig=2", Ok("https://cdn.test/c?sig=2")),
            ("https://cdn.test:8443/c", Ok("https://cdn.test:8443/c")),
            ("http://hub.test/c", Err("a redirect from https to http")),
            ("http://cdn.test/c", Err("a redirect from https to http")),
            ("ftp://cdn.test/c", Err("a redirect to no http or https address")),
            ("file:///etc/passwd", Err("")),
            ("https://user@cdn.test/c", Err("a redirect to no http or https address")),
            ("c", Err("a redirect to no http or https address")),
            ("", Err("a redirect to no address")),
        ];
        for (location, expected) in cases {
            match (next_hop(&from, location), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.to_string(), expected),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{location}"),
                (found, _) => panic!("{location}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap());
        let home = origin("https://hub.test/x");
        assert_eq!(home, origin("https://HUB.test:443/y"));
        for other in ["http://hub.test", "https://hub.test:444", "https://a.hub.test"] {
            assert_ne!(home, origin(other), "{other}");
        }
        assert_eq!(origin("https://hub.test@evil.test/"), None);
    }
}
