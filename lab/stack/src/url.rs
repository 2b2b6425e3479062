//! URLs of databases.

use anyhow::Context as _;
use lab_terminal::NOT_A_URL;
use reqwest::Url;
use uuid::Uuid;

/// The URL of a database on the server that `server` is a URL of.
pub fn database_url(server: &str, database: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(server).context(NOT_A_URL)?;
    url.set_path(database);
    Ok(url.into())
}

/// The same URL for the service with this role, whose password follows from the superuser's; without one there, it needs
/// none.
pub fn as_role(url: &str, role: &str) -> anyhow::Result<String> {
    let parsed = Url::parse(url).context(NOT_A_URL)?;
    let password = parsed.password();
    let password = password.map(|password| role_password(password, role));
    as_user(url, role, password.as_deref())
}

/// Nobody who knows it can tell the superuser's, or another role's.
fn role_password(superuser: &str, role: &str) -> String {
    let name = format!("{superuser} {role}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
        .simple()
        .to_string()
}

/// The same URL for `user`.
pub(crate) fn as_user(url: &str, user: &str, password: Option<&str>) -> anyhow::Result<String> {
    let mut url = Url::parse(url).context(NOT_A_URL)?;
    let named = url.set_username(user);
    let named = named.and_then(|()| url.set_password(password));
    named.map_err(|()| anyhow::anyhow!(NOT_A_URL))?;
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_keeps_user_password_and_parameters() {
        let url = database_url(
            "postgres://me:secret@db:5432/postgres?sslmode=disable",
            "wallet",
        );
        assert_eq!(
            url.unwrap(),
            "postgres://me:secret@db:5432/wallet?sslmode=disable"
        );
        let url = database_url("postgres://postgres@127.0.0.1:15432", "wallet");
        assert_eq!(url.unwrap(), "postgres://postgres@127.0.0.1:15432/wallet");
        assert!(database_url("host=db user=me", "wallet").is_err());
    }

    #[test]
    fn a_role_has_a_password_of_its_own_where_the_superuser_has_one() {
        let of = |url, role| as_role(url, role).unwrap();
        let url = "postgres://me:secret@db:5432/wallet";
        let (one, other) = (of(url, "wallet_api"), of(url, "wallet_relay"));
        let password = |url: &str| Url::parse(url).unwrap().password().unwrap().to_owned();
        assert!(one.starts_with("postgres://wallet_api:"), "{one}");
        assert!(one.ends_with("@db:5432/wallet"), "{one}");
        assert_ne!(password(&one), password(&other));
        assert!(!one.contains("secret"), "{one}");
        assert_eq!(
            of("postgres://me@db:5432/wallet", "wallet_api"),
            "postgres://wallet_api@db:5432/wallet"
        );
    }
}
