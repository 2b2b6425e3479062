use axum::body::Body;
use axum::http::Method;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;

fn hash(token: &str) -> String {
    let bytes = openssl::sha::sha256(token.as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn load(config: &AccessConfig) -> anyhow::Result<Access> {
    let listens = [("LISTEN", "127.0.0.1:0")];
    // Never read again.
    Access::load(config, &listens, CancellationToken::new(), drop).await
}

/// What a request of the audience is answered, and who the handler heard.
async fn ask(
    access: &Access,
    audience: Audience,
    method: Method,
    headers: &[&str],
) -> (u16, String, Response) {
    let who = async |request: Request| {
        let caller = request.extensions().get::<Caller>();
        caller.map_or_else(|| "nobody".to_owned(), |caller| caller.name.clone())
    };
    let routes = access.guard(audience, Router::new().route("/", get(who).post(who)));
    let mut request = Request::builder().method(method).uri("/");
    for value in headers {
        request = request.header("authorization", *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = routes.oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (
        parts.status.as_u16(),
        text,
        Response::from_parts(parts, Body::empty()),
    )
}

fn file_of(lines: &str) -> (tempfile::NamedTempFile, AccessConfig) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let config = AccessConfig {
        access_tokens_file: Some(file.path().to_owned()),
        ..AccessConfig::default()
    };
    (file, config)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_token_opens_what_its_scopes_name() {
    let lines = format!(
        "# who may call\n\nshop wallets:read,wallets:write sha256:{}\nasha operate sha256:{}\n",
        hash("of-the-shop"),
        hash("of-asha"),
    );
    let (_file, config) = file_of(&lines);
    let access = load(&config).await.unwrap();
    let (customers, operators) = (Audience::Customers, Audience::Operators);
    for (audience, method, headers, status, text) in [
        (
            customers,
            Method::GET,
            &["Bearer of-the-shop"][..],
            200,
            "shop",
        ),
        (
            customers,
            Method::POST,
            &["bearer of-the-shop"],
            200,
            "shop",
        ),
        (operators, Method::POST, &["Bearer of-asha"], 200, "asha"),
        (
            operators,
            Method::GET,
            &["Bearer of-the-shop"],
            403,
            "urn:problem:scope-missing",
        ),
        (
            customers,
            Method::GET,
            &["Bearer of-asha"],
            403,
            "wallets:read",
        ),
        (
            customers,
            Method::POST,
            &["Bearer of-asha"],
            403,
            "wallets:write",
        ),
        (customers, Method::GET, &[], 401, "urn:problem:no-token"),
        (
            customers,
            Method::GET,
            &["Basic of-the-shop"],
            401,
            "urn:problem:no-token",
        ),
        (
            customers,
            Method::GET,
            &["Bearer of-the-shop", "Bearer of-asha"],
            401,
            "no-token",
        ),
        (
            customers,
            Method::GET,
            &["Bearer of-the-shoe"],
            401,
            "urn:problem:bad-token",
        ),
        (
            customers,
            Method::GET,
            &["Bearer "],
            401,
            "urn:problem:bad-token",
        ),
    ] {
        let (was, body, answer) = ask(&access, audience, method, headers).await;
        assert_eq!(was, status, "{headers:?}: {body}");
        assert!(body.contains(text), "{headers:?}: {body}");
        let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(challenged, status != 200, "{headers:?}");
    }
}

#[test]
fn a_wrong_line_is_named_and_not_repeated() {
    let right = hash("planted");
    for line in [
        format!("planted operate {right}"),
        "planted operate sha256:planted".to_owned(),
        format!("planted operat sha256:{right}"),
        format!("planted operate sha256:{right} admin"),
        format!("planted operate sha256:{right} owner="),
        format!("planted operate sha256:{right}00"),
        "planted".to_owned(),
    ] {
        let error = Tokens::parse(&format!("\n{line}")).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(!error.contains("planted"), "{error}");
    }
}

#[tokio::test]
async fn the_file_of_tokens_is_read_again() {
    let line = |token| format!("asha operate sha256:{}", hash(token));
    let (file, config) = file_of(&line("first"));
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let access = Access::load(&config, &[], stop.clone(), |task| drop(tasks.spawn(task)));
    let access = access.await.unwrap();
    let status = async |token| {
        let header = format!("Bearer {token}");
        ask(&access, Audience::Operators, Method::GET, &[&header])
            .await
            .0
    };
    let becomes = async |token, expected| {
        let becomes = async {
            while status(token).await != expected {
                tokio::task::yield_now().await;
            }
        };
        let became = tokio::time::timeout(FILE_EVERY * 10, becomes).await;
        assert!(became.is_ok(), "{token}: not {expected}");
    };
    std::fs::write(file.path(), line("second")).unwrap();
    becomes("second", 200).await;
    assert_eq!(status("first").await, 401);
    std::fs::write(file.path(), "").unwrap();
    becomes("second", 401).await;
    stop.cancel();
}

#[tokio::test]
async fn what_can_t_be_read_changes_nothing() {
    let (sender, mut known) = watch::channel("first");
    let seen = known.clone();
    let reads = std::sync::atomic::AtomicU32::new(0);
    let read = move || {
        let nth = reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let seen = *seen.borrow();
        async move {
            match nth {
                0 => anyhow::bail!("damaged"),
                _ if seen == "first" => Ok("second"),
                _ => Ok("lost"),
            }
        }
    };
    let stop = CancellationToken::new();
    let rates = Arc::new(CallerRates::new(None));
    let keep = keep(sender, read, Duration::from_millis(1), rates, stop.clone());
    let ((), ended) = tokio::join!(
        async {
            known.changed().await.unwrap();
            assert_eq!(*known.borrow(), "second");
            stop.cancel();
        },
        keep
    );
    ended.unwrap();
}

#[tokio::test]
async fn a_service_that_strangers_can_reach_does_not_start_by_mistake() {
    let listens = |address| [("LISTEN", "127.0.0.1:1"), ("ADMIN_LISTEN", address)];
    let load = async |config: &AccessConfig, address| {
        Access::load(config, &listens(address), CancellationToken::new(), drop).await
    };
    let unsaid = AccessConfig::default();
    for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
        let error = load(&unsaid, address).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("ADMIN_LISTEN={address}")),
            "{error}"
        );
        assert!(error.contains("ACCESS_TOKENS_FILE"), "{error}");
    }
    for address in ["127.0.0.1:1", "[::1]:1"] {
        assert!(load(&unsaid, address).await.is_ok(), "{address}");
    }
    let anyone = AccessConfig {
        access: Some(config::Anyone::Anyone),
        ..AccessConfig::default()
    };
    assert!(load(&anyone, "0.0.0.0:1").await.is_ok());
    let (_file, mut both) = file_of("");
    assert!(load(&both, "0.0.0.0:1").await.is_ok());
    both.access = anyone.access;
    let error = load(&both, "127.0.0.1:1").await.unwrap_err().to_string();
    assert!(error.contains("contradict"), "{error}");
}

#[tokio::test]
async fn one_caller_s_rate_is_not_another_s() {
    let lines = ["a", "b"].map(|name| format!("{name} operate sha256:{}\n", hash(name)));
    let (_file, mut config) = file_of(&lines.concat());
    config.caller_requests_per_second_max = std::num::NonZeroU32::new(2);
    let access = load(&config).await.unwrap();
    let ask = async |header| ask(&access, Audience::Operators, Method::GET, &[header]).await;
    assert_eq!(ask("Bearer a").await.0, 200);
    assert_eq!(ask("Bearer a").await.0, 200);
    let (status, body, answer) = ask("Bearer a").await;
    assert_eq!(status, 429, "{body}");
    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    assert_eq!(ask("Bearer b").await.0, 200);
}

/// A pair of keys, the public one as in a set.
fn keys(id: &str) -> (EncodingKey, Value) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = BigNumContext::new().unwrap();
    key.public_key()
        .affine_coordinates(&group, &mut x, &mut y, &mut context)
        .unwrap();
    let text = |number: &BigNum| URL_SAFE_NO_PAD.encode(number.to_vec_padded(32).unwrap());
    let public = json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": text(&x), "y": text(&y) });
    let private = PKey::from_ec_key(key)
        .unwrap()
        .private_key_to_pkcs8()
        .unwrap();
    (EncodingKey::from_ec_der(&private), public)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_jwt_is_taken_from_its_issuer_for_this_audience_while_it_lasts() {
    let (key, public) = keys("one");
    let (other_key, other_public) = keys("two");
    let file = tempfile::NamedTempFile::new().unwrap();
    let set = json!({ "keys": [public, other_public] });
    std::fs::write(file.path(), set.to_string()).unwrap();
    let config = AccessConfig {
        access_jwks: Some(file.path().display().to_string()),
        access_jwt_audience: Some("wallet".to_owned()),
        access_jwt_issuer: Some("https://id.example".to_owned()),
        access_jwt_algorithms: vec![Algorithm::ES256],
        ..AccessConfig::default()
    };
    let access = load(&config).await.unwrap();
    let (now, _) = Uuid::now_v7().get_timestamp().unwrap().to_unix();
    let claims = |change: Value| {
        let mut claims = json!({ "sub": "asha", "scope": "openid operate", "aud": "wallet",
            "iss": "https://id.example", "exp": now + 600 });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let signed = |algorithm, id: Option<&str>, key: &EncodingKey, change| {
        let header = Header {
            kid: id.map(str::to_owned),
            ..Header::new(algorithm)
        };
        jsonwebtoken::encode(&header, &claims(change), key).unwrap()
    };
    let es256 = |id, change| signed(Algorithm::ES256, Some(id), &key, change);
    let secret = EncodingKey::from_secret(b"x");
    let unsigned = |token: String| {
        let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
        let (_, rest) = token.split_once('.').unwrap();
        format!("{none}.{}.", rest.split_once('.').unwrap().0)
    };
    for (why, token, status) in [
        ("as it should be", es256("one", json!({})), 200),
        (
            "the clocks are apart",
            es256("one", json!({ "exp": now - 20 })),
            200,
        ),
        ("over", es256("one", json!({ "exp": now - 60 })), 401),
        ("not yet", es256("one", json!({ "nbf": now + 60 })), 401),
        ("for ever", es256("one", json!({ "exp": null })), 401),
        ("for others", es256("one", json!({ "aud": "shop" })), 401),
        (
            "by others",
            es256("one", json!({ "iss": "https://evil.example" })),
            401,
        ),
        ("of nobody", es256("one", json!({ "sub": "" })), 401),
        (
            "the owner is empty",
            es256("one", json!({ "owner": "" })),
            401,
        ),
        ("no scope", es256("one", json!({ "scope": "openid" })), 403),
        ("another key's id", es256("two", json!({})), 401),
        ("an id that is not known", es256("three", json!({})), 401),
        (
            "which key?",
            signed(Algorithm::ES256, None, &key, json!({})),
            401,
        ),
        (
            "the other key",
            signed(Algorithm::ES256, Some("two"), &other_key, json!({})),
            200,
        ),
        (
            "a shared key",
            signed(Algorithm::HS256, Some("one"), &secret, json!({})),
            401,
        ),
        ("not signed", unsigned(es256("one", json!({}))), 401),
        ("no JWT", "x".to_owned(), 401),
    ] {
        let header = format!("Bearer {token}");
        let (was, body, _) = ask(&access, Audience::Operators, Method::GET, &[&header]).await;
        assert_eq!(was, status, "{why}: {body}");
    }
}

#[tokio::test]
async fn keys_are_fetched_from_where_nobody_can_change_them_on_their_way() {
    let (key, public) = keys("one");
    let set = json!({ "keys": [public] }).to_string();
    let routes = Router::new().route("/keys", get(async move || set));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(axum::serve(listener, routes).into_future());
    let fetched = jwt::KeySource::parse(&url).unwrap().read().await.unwrap();
    let jwts = Jwts::new("wallet", "me", &[Algorithm::ES256]);
    let header = Header {
        kid: Some("one".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    let claims = json!({ "sub": "asha", "aud": "wallet", "iss": "me", "exp": 9_999_999_999_u64, "owner": "asha" });
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let caller = jwts.caller(&token, &fetched).unwrap();
    assert_eq!(
        (caller.name, caller.owner),
        ("asha".to_owned(), Some("asha".to_owned()))
    );

    let missing = jwt::KeySource::parse(&format!("{url}/none")).unwrap();
    let error = format!("{:#}", missing.read().await.unwrap_err());
    assert!(
        error.contains("fetching ACCESS_JWKS") && error.contains("404"),
        "{error}"
    );
    for text in [
        "http://id.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "ftp://id.example/keys",
    ] {
        assert!(jwt::KeySource::parse(text).is_err(), "{text}");
    }
    assert!(jwt::KeySource::parse("https://id.example/keys").is_ok());
}
