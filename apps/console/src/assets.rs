//! The page's files, in the binary: the page works from any folder, and building needs no node.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $kind:expr) => {
        Asset { path: $path, kind: $kind, bytes: include_bytes!(concat!("../../../web", $path)) }
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: &[Asset] = &[
    asset!("/index.html", "text/html; charset=utf-8"),
    asset!("/style.css", "text/css; charset=utf-8"),
    asset!("/icon.svg", "image/svg+xml"),
    asset!("/src/main.js", SCRIPT),
    asset!("/src/api.js", SCRIPT),
    asset!("/src/chart.js", SCRIPT),
    asset!("/src/dom.js", SCRIPT),
    asset!("/src/format.js", SCRIPT),
    asset!("/src/groups.js", SCRIPT),
    asset!("/src/pairs.js", SCRIPT),
    asset!("/vendor/lightweight-charts.mjs", SCRIPT),
    asset!("/vendor/lightweight-charts.LICENSE", "text/plain; charset=utf-8"),
    asset!("/vendor/inter.woff2", "font/woff2"),
    asset!("/vendor/inter.LICENSE", "text/plain; charset=utf-8"),
    asset!("/vendor/NOTICE.md", "text/plain; charset=utf-8"),
];

/// Nothing from elsewhere runs or loads on the page; the chart sets styles on its own elements.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

/// The file of this path, `/` being the page.
pub(crate) async fn serve(uri: Uri) -> Response {
    let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) else {
        return (StatusCode::NOT_FOUND, "no such page; the page is at /\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        // A new binary may carry a new page under the same names.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_binary() {
        let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
        let mut folders = vec![web.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = format!("/{}", path.strip_prefix(&web).unwrap().display());
                assert!(ASSETS.iter().any(|asset| asset.path == name), "`web{name}` is not embedded");
            }
        }
    }

    #[test]
    fn what_a_module_imports_is_embedded() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT && asset.path.starts_with("/src/")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let from = line.rsplit('\'').nth(1).unwrap();
                let path = from.strip_prefix("./").map_or(from.to_owned(), |name| format!("/src/{name}"));
                assert!(ASSETS.iter().any(|asset| asset.path == path), "{} imports `{from}`", asset.path);
            }
        }
    }
}
