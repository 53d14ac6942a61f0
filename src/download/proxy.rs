//! Proxies of downloads.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

/// The proxies of the environment variables, as curl and Python's requests use them: that of the protocol (`http_proxy`,
/// `https_proxy`), else `all_proxy`; in lower case, else in upper case; HTTP, HTTPS and SOCKS. `no_proxy` lists hosts that are
/// reached directly: `host` with its subdomains, `host:port`, `10.0.0.0/8`, or `*`.
///
/// A variable that cannot be used is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    variables: Vec<(String, String)>,
}

impl Proxies {
    /// The proxies of this process's environment.
    pub fn from_environment() -> Self {
        Self::of(std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            // Values that are not UTF-8 are refused later as invalid addresses.
            name.to_ascii_lowercase().ends_with("_proxy").then(|| (name, value.to_string_lossy().into_owned()))
        }))
    }

    /// The proxies of the given variables and values.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// The proxy for an address with its description; `None` for a direct connection.
    pub(super) fn of_address(&self, address: &Uri) -> Result<Option<(Proxy, String)>, String> {
        let protocol = address.scheme_str().unwrap_or("http").to_ascii_lowercase();
        let Some((name, value)) = self.set(&format!("{protocol}_proxy")).or_else(|| self.set("all_proxy")) else {
            return Ok(None);
        };
        // An empty value means no proxy for this protocol.
        if value.is_empty() || self.is_direct(address, &protocol) {
            return Ok(None);
        }
        let proxy = Proxy::new(value).map_err(|_| {
            let shown = without_password(value);
            format!("{name} is set to {shown:?}, which is not the address of a proxy")
        })?;
        let shown = format!("{}://{}:{}", proxy.protocol().to_string().to_lowercase(), proxy.host(), proxy.port());
        Ok(Some((proxy, format!("the proxy {shown} of {name}"))))
    }

    /// The value of a variable, in lower case or else in upper case.
    fn set(&self, name: &str) -> Option<(&str, &str)> {
        let find = |name: &str| self.variables.iter().find(|(own, _)| own == name);
        let (name, value) = find(name).or_else(|| find(&name.to_ascii_uppercase()))?;
        Some((name, value.trim()))
    }

    fn is_direct(&self, address: &Uri, protocol: &str) -> bool {
        let Some((_, list)) = self.set("no_proxy") else { return false };
        let host = address.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = address.port_u16().unwrap_or(if protocol == "https" { 443 } else { 80 });
        let entries = list.split([',', ' ', '\t']).map(|entry| entry.trim().to_ascii_lowercase());
        entries.filter(|entry| !entry.is_empty()).any(|entry| is_listed(&entry, &host, port))
    }
}

/// Whether an entry of `no_proxy` matches a host.
fn is_listed(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(host) = host.parse::<IpAddr>() {
        if let Some((network, length)) = entry.split_once('/') {
            return network.trim_matches(['[', ']']).parse().is_ok_and(|network| is_within(host, network, length));
        }
        if entry.trim_matches(['[', ']']).parse() == Ok(host) {
            return true;
        }
    }
    let entry = match entry.rsplit_once(':') {
        Some((entry, own)) if own.parse() == Ok(port) => entry,
        // Another port, or an IPv6 address that was checked above.
        Some(_) => return false,
        None => entry,
    };
    let entry = entry.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    let host = host.trim_end_matches('.');
    !entry.is_empty() && (host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.')))
}

/// Whether an address is in a network such as `10.0.0.0/8`.
fn is_within(host: IpAddr, network: IpAddr, length: &str) -> bool {
    let (host, network, bits) = match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => (u128::from(u32::from(host)), u128::from(u32::from(network)), 32),
        (IpAddr::V6(host), IpAddr::V6(network)) => (u128::from(host), u128::from(network), 128),
        _ => return false,
    };
    match length.parse::<u32>() {
        Ok(length) if length <= bits => (host ^ network).checked_shr(bits - length).unwrap_or(0) == 0,
        _ => false,
    }
}

/// Replaces the credentials of an address by `…`.
fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, after)) => format!("{}…@{after}", before.split_once("://").map_or("", |(scheme, _)| scheme)),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], address: &str) -> Result<Option<String>, String> {
        let proxies = Proxies::of(variables.iter().copied());
        Ok(proxies.of_address(&address.parse().unwrap())?.map(|(_, said)| said))
    }

    #[test]
    fn the_proxy_of_the_protocol_comes_before_that_of_all() {
        let (web, socks) = ("http://127.0.0.1:7890", "socks5://127.0.0.1:7891");
        let http = |name: &str| Some(format!("the proxy http://127.0.0.1:7890 of {name}"));
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Variables, &str, Option<String>); 14] = [
            (&[], "https://host/file", None),
            (&[("https_proxy", web), ("all_proxy", socks)], "https://host/file", http("https_proxy")),
            (&[("ALL_PROXY", socks), ("HTTPS_PROXY", web)], "https://host/file", http("HTTPS_PROXY")),
            (&[("ALL_PROXY", socks), ("HTTP_PROXY", web)], "http://host/file", http("HTTP_PROXY")),
            (
                &[("ALL_PROXY", socks), ("HTTP_PROXY", web)],
                "https://host/file",
                Some("the proxy socks5://127.0.0.1:7891 of ALL_PROXY".into()),
            ),
            (&[("HTTP_PROXY", web)], "https://host/file", None),
            (&[("HTTPS_PROXY", "socks5://no"), ("https_proxy", web)], "https://host/file", http("https_proxy")),
            (&[("all_proxy", "127.0.0.1:7890")], "http://host/file", http("all_proxy")),
            (&[("all_proxy", " http://127.0.0.1:7890/ ")], "http://host/file", http("all_proxy")),
            (&[("all_proxy", "http://me:secret@127.0.0.1:7890")], "http://host/file", http("all_proxy")),
            (
                &[("all_proxy", "socks5h://127.0.0.1")],
                "http://host/file",
                Some("the proxy socks5h://127.0.0.1:1080 of all_proxy".into()),
            ),
            // Set to nothing: none.
            (&[("https_proxy", ""), ("all_proxy", web)], "https://host/file", None),
            (&[("all_proxy", "")], "https://host/file", None),
            (&[("ftp_proxy", web)], "https://host/file", None),
        ];
        for (variables, address, expected) in cases {
            assert_eq!(chosen(variables, address), Ok(expected), "{variables:?} {address}");
        }
    }

    #[test]
    fn hosts_that_are_listed_are_reached_without_a_proxy() {
        let cases = [
            ("*", "https://host/file", true),
            ("host", "https://host/file", true),
            ("HOST", "https://host/file", true),
            ("other, host", "https://host/file", true),
            ("other host", "https://host/file", true),
            ("example.com", "https://example.com/file", true),
            ("example.com", "https://files.example.com/file", true),
            (".example.com", "https://files.example.com/file", true),
            ("*.example.com", "https://files.example.com/file", true),
            ("example.com", "https://myexample.com/file", false),
            ("files.example.com", "https://example.com/file", false),
            ("host:443", "https://host/file", true),
            ("host:8080", "https://host/file", false),
            ("127.0.0.1", "http://127.0.0.1:5000/file", true),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/file", true),
            ("127.0.0.1:5001", "http://127.0.0.1:5000/file", false),
            ("10.0.0.0/8", "http://10.1.2.3/file", true),
            ("10.0.0.0/8", "http://11.1.2.3/file", false),
            ("0.0.0.0/0", "http://11.1.2.3/file", true),
            ("10.0.0.0/33", "http://10.0.0.0/file", false),
            ("::1", "http://[::1]:5000/file", true),
            ("fd00::/8", "http://[fd12::1]/file", true),
            ("", "https://host/file", false),
            (",", "https://host/file", false),
        ];
        for (list, address, is_direct) in cases {
            let found = chosen(&[("all_proxy", "http://proxy:1"), ("no_proxy", list)], address).unwrap();
            assert_eq!(found.is_none(), is_direct, "{list:?} {address}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_proxy_is_refused_by_its_variable() {
        for value in ["quic://127.0.0.1:1", "http://", "not an address", "pac+https://me:secret@host/x"] {
            let problem = chosen(&[("ALL_PROXY", value)], "https://host/file").unwrap_err();
            assert!(problem.contains("ALL_PROXY is set to") && !problem.contains("secret"), "{problem}");
        }
    }
}
