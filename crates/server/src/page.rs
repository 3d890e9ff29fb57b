//! The page for people: what is in `web/`, put into the binary and handed out as it is.
//!
//! It needs no key; what it asks for does. Its policy lets it ask this server alone, run only
//! what is here, and make no HTML of text. Start at `web/main.js`. The page of a training run
//! ([`crate::training`]) is handed out in the same way.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::state::Shared;

/// What the browser may do with the page: nothing but what it's for.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'none'; \
    base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Asked for anew each time, and answered with 304: a new server has a new page.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A file of the page.
struct Asset {
    name: &'static str,
    bytes: &'static [u8],
    kind: &'static str,
    etag: HeaderValue,
}

/// The files of a page, by where they are in `web/`.
macro_rules! assets {
    ($($file:literal)*) => {
        [$((
            $file,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/", $file)).as_slice(),
        )),*]
    };
}
pub(crate) use assets;

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::new(&assets! {
        "index.html" "icon.svg" "base.css" "chat.css" "panel.css" "early.js" "main.js" "api.js"
        "charts.js" "composer.js" "dialogs.js" "dom.js" "generation.js" "highlight.js" "inline.js"
        "library.js" "markdown.js" "math.js" "numbers.js" "panel.js" "render.js" "request.js"
        "settings_store.js" "sidebar.js" "sse.js" "store.js" "theme.js" "thread.js"
        "vendor/temml.min.js" "vendor/temml.css" "vendor/noto-sans-math.woff2"
    })
});

/// The files of a page.
pub(crate) struct Assets(Vec<Asset>);

impl Assets {
    pub(crate) fn new(files: &[(&'static str, &'static [u8])]) -> Assets {
        Assets(files.iter().map(|&(file, bytes)| Asset::new(file, bytes)).collect())
    }

    /// The file of this name, without folders.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn response(&self, name: &str, headers: &HeaderMap) -> Result<Response, Error> {
        let found = self.0.iter().find(|asset| asset.name == name);
        found.map(|asset| asset.response(headers)).ok_or(Error::NotFound)
    }
}

impl Asset {
    fn new(file: &'static str, bytes: &'static [u8]) -> Asset {
        let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
        let kind = match name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, "woff2")) => "font/woff2",
            _ => "application/octet-stream",
        };
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(bytes)[..16] {
            // A string takes whatever is written.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let etag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""));
        Asset { name, bytes, kind, etag }
    }

    /// The file, or word that the one the browser has is still good.
    fn response(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter();
        let mut known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|t| t.split(','));
        let own = self.etag.to_str().unwrap_or_default();
        let is_known = known.any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own
        });
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(header::CONTENT_TYPE, self.kind)], self.bytes).into_response(),
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/", get(page)).route("/assets/{name}", get(asset))
}

/// A page to talk to the model and to see what the server does.
#[utoipa::path(
    get, path = "/", tag = "Server", security(()),
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")),
)]
pub(crate) async fn page(headers: HeaderMap) -> Result<Response, Error> {
    ASSETS.response("index.html", &headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    ASSETS.response(&name, &headers)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    fn names_in(folder: &str) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        files.map(|file| file.file_name().into_string().unwrap()).collect()
    }

    /// That these are the files of some folders, with some of `web/` besides, of so many bytes at
    /// most; that they name no other host; and that what the page names is there.
    pub(crate) fn check(assets: &Assets, (folders, shared): (&[&str], &[&str]), bytes_max: usize) {
        let Assets(assets) = assets;
        let mut files: Vec<String> = folders.iter().flat_map(|folder| names_in(folder)).collect();
        files.retain(|name| !name.ends_with(".md") && !name.ends_with(".LICENSE"));
        files.extend(shared.iter().map(|name| name.to_string()));
        files.sort();
        let mut known: Vec<_> = assets.iter().map(|asset| asset.name.to_string()).collect();
        known.sort();
        assert_eq!(known, files);
        assert!(assets.iter().all(|asset| asset.kind != "application/octet-stream"));
        let size: usize = assets.iter().map(|asset| asset.bytes.len()).sum();
        assert!(size < bytes_max, "{size} bytes");
        assets.iter().for_each(names_no_host);
        let html = assets.iter().find(|asset| asset.name == "index.html").unwrap();
        let html = std::str::from_utf8(html.bytes).unwrap();
        let named: Vec<_> = html.split("/assets/").skip(1).collect();
        assert!(named.len() >= 4);
        for rest in named {
            let name = rest.split('"').next().unwrap();
            assert!(assets.iter().any(|asset| asset.name == name), "{name}");
        }
    }

    fn names_no_host(asset: &Asset) {
        // Under it XML's languages have their names, which nobody fetches.
        const W3: &str = "http://www.w3.org/";
        let Ok(text) = std::str::from_utf8(asset.bytes) else { return };
        let addresses = text.match_indices("http").map(|(at, _)| &text[at..]);
        let mut hosts = addresses.filter(|rest| {
            let after = rest.strip_prefix("https").or(rest.strip_prefix("http"));
            let named = after.and_then(|rest| rest.strip_prefix("://"));
            named.is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
        });
        let other = hosts.find(|rest| !rest.starts_with(W3));
        let start = other.map(|rest| rest.chars().take(60).collect::<String>());
        assert_eq!(start, None, "{}", asset.name);
    }

    #[test]
    fn the_page_is_whole_small_and_names_no_other_host() {
        check(&ASSETS, (&["web", "web/vendor"], &[]), 700 << 10);
    }
}
