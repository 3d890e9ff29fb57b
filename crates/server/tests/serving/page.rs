//! The page, as the server hands it out. What it does in a browser is tested in `web/tests`.

use crate::server::{Reply, TestServer, agent, head};

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers[name].to_str().unwrap()
}

#[test]
fn the_page_comes_with_a_policy_that_keeps_it_at_home() {
    let server = TestServer::start();
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert!(page.text.starts_with("<!doctype html>"));
    let policy = header(&page, "content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self';", "connect-src 'self'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'));
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");

    let script = server.get("/assets/main.js");
    assert_eq!(header(&script, "content-type"), "text/javascript; charset=utf-8");
    let font = head("HEAD", "/assets/noto-sans-math.woff2", "connection: close\r\n", "");
    assert!(server.raw(&font).contains("content-type: font/woff2\r\n"));
    for missing in ["/assets/nothing.js", "/assets/..%2findex.html", "/assets/"] {
        assert_eq!(server.get(missing).status, 404, "{missing}");
    }
}

#[test]
fn what_a_browser_has_already_is_not_sent_again() {
    let server = TestServer::start();
    let first = server.get("/assets/main.js");
    let tag = header(&first, "etag").to_string();
    let again = |tags: &str| {
        let request = agent().get(server.url("/assets/main.js")).header("if-none-match", tags);
        let reply = Reply::of(request.call().unwrap());
        assert_eq!(header(&reply, "etag"), tag);
        (reply.status, reply.text.is_empty())
    };
    assert_eq!(again(&tag), (304, true));
    assert_eq!(again(&format!("\"other\", W/{tag}")), (304, true));
    assert_eq!(again("\"other\""), (200, false));
    let whole = server.raw(&head("HEAD", "/", "connection: close\r\n", ""));
    assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("\r\n\r\n"), "{whole}");
}
