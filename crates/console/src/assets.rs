//! What the pages load, and what they may load.

/// A file of the console.
pub struct Asset {
    pub content_type: &'static str,
    pub body: &'static [u8],
}

/// Styles, scripts, images and requests of this server alone, nothing inline, no frames around it.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The asset of that name.
#[must_use]
pub fn find(name: &str) -> Option<Asset> {
    let (content_type, body): (_, &[u8]) = match name {
        "style.css" => ("text/css; charset=utf-8", include_bytes!("../assets/style.css")),
        "live.js" => ("text/javascript; charset=utf-8", include_bytes!("../assets/live.js")),
        "icon.svg" => ("image/svg+xml", include_bytes!("../assets/icon.svg")),
        _ => return None,
    };
    Some(Asset { content_type, body })
}
