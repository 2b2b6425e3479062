//! The names that a server is reached under, and where a request comes from.
//!
//! A web page of somebody else can send requests to a server that only its reader can reach. It gives itself away: by
//! its `Origin`, or, when it makes its own name mean the server's address to read the answers too (DNS rebinding), by
//! the `Host`. Programs send no `Origin` and pass.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::Problem;

const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which a service is reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Hosts {
    /// Names under which clients reach this service, without ports, separated by commas, besides
    /// 127.0.0.1, localhost, `[::1]` and the host that the service listens on; `*` allows any. Other names are refused: a web
    /// page can make its own name mean this machine. /livez, /readyz and /metrics are answered under any
    #[arg(long, env, value_delimiter = ',', value_parser = parse_name)]
    pub http_hosts: Vec<String>,
}

/// A name in lower case; empty where a list is empty or ends with a comma.
fn parse_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_lowercase();
    if name.is_empty() || name == "*" {
        return Ok(name);
    }
    match split(&name) {
        Some((host, "")) => Ok(host.to_owned()),
        _ => Err("a host is a name or an address without a port; IPv6 in brackets".to_owned()),
    }
}

/// A name or an address, and what is after it: nothing, or `:` and a port.
fn split(host: &str) -> Option<(&str, &str)> {
    let authority: Authority = host.parse().ok()?;
    // Not `Authority::port`: it takes what is no number for no port.
    let name = host.get(..authority.host().len())?;
    let rest = host.strip_prefix(authority.host())?;
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let fits = !name.is_empty() && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    fits.then_some((name, rest))
}

impl Hosts {
    /// These names, and the one in the address `listen`, unless that means all addresses.
    #[must_use]
    pub fn with_own(mut self, listen: &str) -> Self {
        let own = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
        let address = own.trim_matches(['[', ']']).parse::<IpAddr>();
        if !address.is_ok_and(|address| address.is_unspecified()) {
            self.http_hosts.push(own.to_ascii_lowercase());
        }
        self
    }

    /// Whether a request may be answered: it came under one of the names, and changes nothing for another site's page.
    ///
    /// # Errors
    /// What [`host`] refuses; 421 for another name, 403 for another site.
    pub fn check(
        &self,
        method: &Method,
        target: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let host = host(target, headers)?;
        let name = split(host).map_or(host, |(name, _)| name);
        let is_name = |own: &str| own == "*" || own.eq_ignore_ascii_case(name);
        let mut own = self.http_hosts.iter().map(String::as_str);
        if !LOOPBACK.into_iter().any(is_name) && !own.any(is_name) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "wrong-host",
                "Wrong host",
                "the Host header has a name that this service does not go by; the setting HTTP_HOSTS adds names",
            ));
        }
        if !method.is_safe() && !is_own_site(host, headers) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "cross-origin",
                "Refused",
                "the page of another site can change nothing here",
            ));
        }
        Ok(())
    }
}

/// What a browser says about the page that sends a request; programs say nothing.
fn is_own_site(host: &str, headers: &HeaderMap) -> bool {
    let says = |name, is_own: &dyn Fn(&str) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| value.to_str().is_ok_and(is_own))
    };
    says(ORIGIN, &|origin| {
        let origin = origin.split_once("://");
        origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    }) && says(SEC_FETCH_SITE, &|site| {
        ["same-origin", "none"].contains(&site)
    })
}

/// The host of a request and its port, from the `Host` header; `target` is the authority in the request's target, if
/// it has one.
///
/// # Errors
/// 400: there is no such header or more than one, it is malformed, or it differs from the target.
pub fn host<'a>(target: Option<&str>, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
    let malformed = |detail| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-host",
            "The Host header is malformed",
            detail,
        )
    };
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(malformed("a request has exactly one Host header"));
    };
    let host = host.to_str().ok().filter(|host| split(host).is_some());
    let host = host.ok_or_else(|| malformed("a host is a name or an address, and a port"))?;
    if target.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
        return Err(malformed("the request's target names another host"));
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &Hosts, method: &Method, headers: &[(&'static str, &'static str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let checked = hosts.check(method, None, &headers);
        checked.map_or_else(|problem| problem.status(), |()| 200)
    }

    fn names(names: &[&str]) -> Hosts {
        let http_hosts = names.iter().map(|name| parse_name(name).unwrap()).collect();
        Hosts { http_hosts }
    }

    #[test]
    fn a_service_answers_under_the_names_of_loopback_and_its_own() {
        let hosts = names(&["Wallet.Example"]).with_own("192.0.2.1:8080");
        for (host, expected) in [
            ("127.0.0.1:8080", 200),
            ("localhost:1", 200),
            ("LOCALHOST", 200),
            ("[::1]:8080", 200),
            ("192.0.2.1:8080", 200),
            ("wallet.example", 200),
            ("WALLET.example:443", 200),
            ("evil.example:8080", 421),
            ("localhost.evil.example", 421),
            ("0.0.0.0:8080", 421),
            ("192.0.2.2", 421),
            ("", 400),
            (":8080", 400),
            ("localhost:x", 400),
            ("localhost:99999", 400),
            ("localhost:80:80", 400),
            ("user@localhost", 400),
            ("localhost, evil.example", 400),
            ("localhost/evil.example", 400),
        ] {
            assert_eq!(
                status(&hosts, &Method::GET, &[("host", host)]),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(&hosts, &Method::GET, &[]), 400);
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(status(&hosts, &Method::GET, &twice), 400);
    }

    #[test]
    fn an_address_that_means_all_addresses_is_no_name() {
        for listen in ["0.0.0.0:8080", "[::]:8080"] {
            assert_eq!(
                Hosts::default().with_own(listen).http_hosts,
                [""; 0],
                "{listen}"
            );
        }
        let hosts = names(&["*"]);
        assert_eq!(
            status(&hosts, &Method::GET, &[("host", "any.example")]),
            200
        );
        assert_eq!(status(&hosts, &Method::GET, &[("host", "a b")]), 400);
    }

    #[test]
    fn a_name_in_the_setting_has_no_port() {
        for name in ["wallet.example:8080", "a b", "user@a", "::1"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
        assert_eq!(names(&["", " a "]).http_hosts, ["", "a"]);
        assert_eq!(status(&names(&[""]), &Method::GET, &[("host", "b")]), 421);
    }

    #[test]
    fn the_host_and_the_target_are_the_same() {
        let headers = HeaderMap::from_iter([(HOST, "localhost:80".parse().unwrap())]);
        assert!(host(Some("LOCALHOST:80"), &headers).is_ok());
        for other in [
            "localhost",
            "localhost:81",
            "evil.example",
            "a@localhost:80",
        ] {
            assert!(host(Some(other), &headers).is_err(), "{other}");
        }
    }

    #[test]
    fn another_site_s_page_changes_nothing() {
        let hosts = Hosts::default();
        let host = ("host", "localhost:8080");
        for (header, expected) in [
            (("origin", "http://localhost:8080"), 200),
            (("origin", "https://LOCALHOST:8080"), 200),
            (("origin", "http://localhost:3000"), 403),
            (("origin", "http://127.0.0.1:8080"), 403),
            (("origin", "http://evil.example"), 403),
            (("origin", "null"), 403),
            (("origin", ""), 403),
            (("sec-fetch-site", "same-origin"), 200),
            (("sec-fetch-site", "none"), 200),
            (("sec-fetch-site", "same-site"), 403),
            (("sec-fetch-site", "cross-site"), 403),
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert_eq!(
                    status(&hosts, &method, &[host, header]),
                    expected,
                    "{header:?}"
                );
            }
            assert_eq!(
                status(&hosts, &Method::GET, &[host, header]),
                200,
                "{header:?}"
            );
        }
        assert_eq!(status(&hosts, &Method::POST, &[host]), 200);
    }
}
