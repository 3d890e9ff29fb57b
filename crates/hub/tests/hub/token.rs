//! Whom the token reaches.

use ruminate_hub::Name;

use crate::stand_in::{Answer, COMMIT, Ear, Host, REPO, Site, StandIn, etag_of};

const FILE: &str = "thinker-Q4_K_M.gguf";

#[test]
fn the_token_goes_to_the_endpoint_and_not_to_the_host_that_it_redirects_to() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let hub = stand_in.hub_with_token(cache.path());
    hub.pull(&Name::parse(REPO).unwrap(), &mut Ear::default()).unwrap();
    let mut hosts = [0, 0];
    for seen in stand_in.seen() {
        let token = seen.header("authorization");
        match seen.host {
            Host::Hub => assert_eq!(token, Some("Bearer hf_secret"), "{}", seen.path),
            Host::Content => assert_eq!(token, None, "{}", seen.path),
        }
        hosts[usize::from(seen.host == Host::Content)] += 1;
    }
    assert!(hosts[0] > 2 && hosts[1] == 2, "both hosts were asked: {hosts:?}");
}

#[test]
fn the_token_stays_away_when_the_road_leads_back_to_the_endpoint() {
    let site = Site::gguf();
    let content = site.files[FILE].clone();
    let endpoint = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = endpoint.clone();
    let stand_in = StandIn::scripted(site, move |seen, _| match seen.host {
        Host::Content => Some(Answer::redirect(format!("{}/back", known.get().unwrap()))),
        Host::Hub if seen.path == "/back" => Some(Answer::new(200, &content)),
        Host::Hub => None,
    });
    endpoint.set(stand_in.endpoint()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = stand_in.hub_with_token(cache.path());
    hub.pull(&Name::parse(REPO).unwrap(), &mut Ear::default()).unwrap();
    let seen = stand_in.seen();
    let back = seen.iter().find(|seen| seen.path == "/back").unwrap();
    assert_eq!(back.header("authorization"), None);
}

#[test]
fn the_token_does_not_follow_a_redirect_of_the_listing_or_of_a_description() {
    let site = Site::gguf();
    let etag = etag_of(FILE, &site.files[FILE]);
    let content = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = content.clone();
    let stand_in = StandIn::scripted(site.clone(), move |seen, _| match seen.host {
        Host::Hub if seen.method == "HEAD" || seen.path.starts_with("/api/") => {
            Some(Answer::redirect(format!("{}{}", known.get().unwrap(), seen.path)))
        }
        Host::Content if seen.path.starts_with("/api/") => {
            let listing = crate::stand_in::listing(COMMIT, site.files.keys());
            Some(Answer::new(200, listing.as_bytes()))
        }
        Host::Content if seen.method == "HEAD" => Some(
            Answer::new(200, &site.files[FILE])
                .with("ETag", format!("\"{etag}\""))
                .with("X-Repo-Commit", COMMIT),
        ),
        _ => None,
    });
    content.set(stand_in.content_host()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = stand_in.hub_with_token(cache.path());
    hub.pull(&Name::parse(REPO).unwrap(), &mut Ear::default()).unwrap();
    let seen = stand_in.seen();
    let away: Vec<_> = seen.iter().filter(|seen| seen.host == Host::Content).collect();
    assert_eq!(away.len(), 3, "listing, description and content");
    assert!(away.iter().all(|seen| seen.header("authorization").is_none()));
}
