//! Who may ask: keys, and the hosts and origins that a browser may come from.
//!
//! Every path needs a key but those of [`is_public`]. A server without keys is for this machine
//! alone; there a page of another site must not reach it either, by its own name (`Origin`) or by
//! a name that it points here (`Host`).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::Error;
use crate::state::Shared;

/// The keys that open the door, as hashes: how long one is tells nothing either.
#[derive(Clone, Default)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
}

impl Keys {
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Keys {
        Keys { hashes: keys.into_iter().map(|key| Sha256::digest(key).into()).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash of `key` if it's one of these. All are looked at, whichever it is.
    fn find(&self, key: &str) -> Option<[u8; 32]> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let found = self
            .hashes
            .iter()
            .fold(Choice::from(0), |found, known| found | known.as_slice().ct_eq(hash.as_slice()));
        bool::from(found).then_some(hash)
    }
}

/// Who asks, as far as fair shares and cached prefixes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Of the key, else of the address.
    pub(crate) client: u64,
    /// Of the key: prefixes are not shared between keys, whose timing would tell.
    pub(crate) salt: u64,
}

/// Where the connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Which hosts and origins may come.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Names in `Host` that are allowed; any if empty and the address is not of this machine alone.
    pub hosts: Vec<String>,
    /// Origins that are allowed beside the server's own, and that are told so (CORS).
    pub origins: Vec<String>,
    /// Whether the server listens on an address of this machine alone.
    pub is_loopback: bool,
}

impl Origins {
    /// # Errors
    /// [`Error::Forbidden`].
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let name = without_port(host);
        let is_local = matches!(name, "localhost" | "127.0.0.1" | "[::1]")
            || name.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback());
        let is_listed = self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        let any = self.hosts.is_empty() && !self.is_loopback;
        if !(any || is_listed || is_local && self.is_loopback) {
            return Err(Error::Forbidden("this host name is not served; see --allow-host"));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("null");
        let own = origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
        if own || self.allows(origin) {
            return Ok(());
        }
        Err(Error::Forbidden("this origin may not ask; see --allow-origin"))
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The paths that need no key: whether the server is alive, and the page, which asks for one.
pub(crate) fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/ready" | "/favicon.ico") || path.starts_with("/assets/")
}

/// Lets in who may ask, and notes who it is.
pub(crate) async fn guard(
    State(server): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(error) = server.origins.check(request.headers()) {
        return error.into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|o| o.to_str().is_ok_and(|o| server.origins.allows(o)));
    if request.method() == Method::OPTIONS && allowed.is_some() {
        return with_cors(StatusCode::NO_CONTENT.into_response(), allowed);
    }
    let response = match who(&server.keys, &request) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    with_cors(response, allowed)
}

fn who(keys: &Keys, request: &Request) -> Result<Who, Error> {
    let number = |hash: &[u8]| {
        let first: [u8; 8] = hash.first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(first)
    };
    if keys.is_empty() {
        let peer = request.extensions().get::<Peer>();
        let client = peer.map_or(0, |Peer(ip)| number(&Sha256::digest(ip.to_string())));
        return Ok(Who { client, salt: 0 });
    }
    let key = key_of(request.headers()).and_then(|key| keys.find(key));
    match key {
        Some(hash) => {
            let hash = number(&Sha256::digest(hash));
            Ok(Who { client: hash, salt: hash })
        }
        None if is_public(request.uri().path()) => Ok(Who::default()),
        None => Err(Error::Unauthorized),
    }
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Tells a browser that this origin may read the answer.
fn with_cors(mut response: Response, origin: Option<HeaderValue>) -> Response {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let fixed = [
            (header::VARY, "origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-api-key"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-request-id, retry-after"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_among_several_and_no_other() {
        let keys = Keys::new(["alpha", "beta"]);
        assert!(keys.find("alpha").is_some() && keys.find("beta").is_some());
        for wrong in ["", "alph", "alphaa", "ALPHA", "gamma"] {
            assert_eq!(keys.find(wrong), None, "{wrong}");
        }
        assert!(Keys::default().is_empty());
    }

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_server_of_this_machine_is_reached_by_this_machines_names_only() {
        let local = Origins { is_loopback: true, ..Origins::default() };
        for host in ["localhost:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "127.8.8.8"] {
            assert!(local.check(&headers(host, None)).is_ok(), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "", "10.0.0.1:8080"] {
            assert!(local.check(&headers(host, None)).is_err(), "{host}");
        }
        let named = Origins { hosts: vec!["box.lan".into()], ..local.clone() };
        assert!(named.check(&headers("Box.lan:80", None)).is_ok());
        let open = Origins::default();
        assert!(open.check(&headers("box.lan", None)).is_ok());
    }

    #[test]
    fn a_page_of_another_site_may_not_ask() {
        let local = Origins { is_loopback: true, ..Origins::default() };
        let own = Some("http://localhost:8080");
        assert!(local.check(&headers("localhost:8080", own)).is_ok());
        for origin in ["http://evil.example", "null", "http://localhost:9999"] {
            let asked = headers("localhost:8080", Some(origin));
            assert!(local.check(&asked).is_err(), "{origin}");
            let allowed = Origins { origins: vec![origin.into()], ..local.clone() };
            assert!(allowed.check(&asked).is_ok(), "{origin}");
        }
    }
}
