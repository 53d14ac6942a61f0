//! A page below a cell of a notebook.

use super::server::{Server, new_token};
use crate::show::Figure;

/// Shows the page in a frame, with a link to it. `still` is what remains when the notebook is read later, without the program.
///
/// On this computer the frame leads straight to the server. A notebook that is served from elsewhere (JupyterHub, a remote machine, a
/// tunnel) reaches it through jupyter-server-proxy, under the address of the notebook itself, which only the browser knows.
pub(super) fn show(title: &str, server: &Server, still: Option<&Figure>) {
    evcxr_runtime::mime_type("text/plain").text(format!("{title}: {}", server.url()));
    evcxr_runtime::mime_type("text/html").text(html(title, server, still));
}

/// What a notebook shows, as HTML.
pub(super) fn html(title: &str, server: &Server, still: Option<&Figure>) -> String {
    html_of(title, &server.url(), server.port(), server.token(), still)
}

fn html_of(title: &str, url: &str, port: u16, token: &str, still: Option<&Figure>) -> String {
    // Of its own, as the same page may be shown twice.
    let id = format!("captionlab-{port}-{}", new_token().unwrap_or_default());
    let still = still.map_or(String::new(), |figure| {
        let alternative = figure.alternative.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        format!("<img alt=\"{alternative}\" src=\"data:image/png;base64,{}\">", base64::encode(&figure.png))
    });
    // Evcxr ends an output at a line of its own mark, never inside one line.
    format!(
        "<div id=\"{id}\"><p>{title}: <a href=\"{url}\" target=\"_blank\" rel=\"noopener\">open it in a tab of its own</a>.</p>\
         <div>{still}</div><script>(function() {{\
         const here = document.getElementById('{id}'), direct = '{url}';\
         let base = '/'; try {{ base = JSON.parse(document.getElementById('jupyter-config-data').textContent).baseUrl || '/'; }} catch (e) {{}}\
         const proxied = location.origin + base + 'proxy/{port}/{token}/';\
         const show = (address) => {{ here.querySelector('a').href = address;\
         const frame = document.createElement('iframe'); frame.src = address; frame.title = '{title}';\
         frame.allow = 'camera; fullscreen'; frame.style.cssText = 'width:100%;height:640px;border:1px solid #999;border-radius:6px';\
         here.children[1].replaceChildren(frame); }};\
         let problem = 'The page is not there: the program has ended, or this notebook runs elsewhere and has no jupyter-server-proxy.';\
         const there = (address, mode) => fetch(address, {{ mode, cache: 'no-store' }}).then(async (r) => {{\
         if (r.status === 403) problem = await r.text(); return mode === 'no-cors' || r.ok; }}, () => false);\
         (async () => {{\
         if (['localhost', '127.0.0.1'].includes(location.hostname) && await there(direct, 'no-cors')) return show(direct);\
         if (await there(proxied, 'same-origin')) return show(proxied);\
         if (!here.querySelector('img')) here.children[1].textContent = problem;\
         }})(); }})();</script></div>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_with_a_link_and_what_remains() {
        let picture = image::RgbImage::new(2, 2);
        let still = Figure::from_image(&picture, "A \"chart\" <1>").unwrap();
        let html = html_of("The training", "http://127.0.0.1:1/t/", 1, "0123456789abcdef", Some(&still));
        assert_eq!(html.lines().count(), 1);
        assert!(html.contains("<a href=\"http://127.0.0.1:1/t/\""), "{html}");
        assert!(html.contains("alt=\"A &quot;chart&quot; &lt;1>\" src=\"data:image/png;base64,iVBOR"), "{html}");
    }
}
