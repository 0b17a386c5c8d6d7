//! The page that plays what is on air, for a developer's browser: a few files that are part of the program.
//!
//! `page` beside `src` leads to `examples/browser`, where they live and can be used without a relay of ours.

use axum::{
    Router,
    extract::RawQuery,
    http::{HeaderName, header},
    response::{IntoResponse, Redirect},
    routing::get,
};

/// Where it is. `/` leads there.
const PLACE: &str = "/play/";

/// Scripts, styles and pictures are from here and from nowhere else. A session may be with any relay.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
                      worker-src 'self'; connect-src 'self' https:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A file: its path, its type, what is in it.
type File = (&'static str, &'static str, &'static str);

/// One of the folder.
macro_rules! file {
    ($path:literal, $kind:ident) => {
        (concat!("/", $path), $kind, include_str!(concat!("../page/", $path)))
    };
}

const FILES: &[File] = &[
    file!("transfork.js", SCRIPT),
    file!("play/camera-worker.js", SCRIPT),
    file!("play/camera.js", SCRIPT),
    file!("play/catalog.js", SCRIPT),
    file!("play/charts.js", SCRIPT),
    file!("play/clock.js", SCRIPT),
    file!("play/container.js", SCRIPT),
    file!("play/decoders.js", SCRIPT),
    file!("play/figures.js", SCRIPT),
    file!("play/groups.js", SCRIPT),
    file!("play/icon.svg", PICTURE),
    file!("play/main.js", SCRIPT),
    file!("play/play.css", STYLE),
    file!("play/player.js", SCRIPT),
    file!("play/quality.js", SCRIPT),
    file!("play/samples.js", SCRIPT),
    file!("play/sound.js", SCRIPT),
    file!("play/stats.js", SCRIPT),
    file!("play/track.js", SCRIPT),
    file!("play/worker.js", SCRIPT),
    file!("play/worklet.js", SCRIPT),
];

const INDEX: File = file!("play/index.html", HTML);

/// The routes of the page.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Router::new()
        .route("/", get(lead))
        .route("/play", get(lead))
        .route(PLACE, get(async || answer(&INDEX)));
    FILES.iter().fold(page, |page, file| page.route(file.0, get(async || answer(file))))
}

/// To the page, with what was asked of it.
async fn lead(RawQuery(query): RawQuery) -> Redirect {
    match query {
        Some(query) => Redirect::to(&format!("{PLACE}?{query}")),
        None => Redirect::to(PLACE),
    }
}

fn answer((_, kind, body): &File) -> impl IntoResponse + use<> {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, *kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another relay may be on the same port the next time.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, *body)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page/play");
        let there: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| format!("{PLACE}{}", entry.unwrap().file_name().into_string().unwrap()))
            .collect();
        let all = FILES.iter().chain([&INDEX]).map(|(path, ..)| (*path).to_owned());
        let served: BTreeSet<String> = all.filter(|path| path.starts_with(PLACE)).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn nothing_of_the_page_is_from_elsewhere() {
        for (path, kind, body) in FILES.iter().chain([&INDEX]) {
            // The names of vocabularies are no addresses.
            let body = body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains("http://") && !body.contains("https://"), "{path}");
            assert!(!path.ends_with(".js") || *kind == SCRIPT, "{path}");
        }
    }
}
