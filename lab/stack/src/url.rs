//! URLs of databases.

use anyhow::Context as _;
use lab_terminal::NOT_A_URL;
use reqwest::Url;

/// The URL of a database on the server that `server` is a URL of.
pub fn database_url(server: &str, database: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(server).context(NOT_A_URL)?;
    url.set_path(database);
    Ok(url.into())
}

/// The same URL for `user`, who needs no password there.
pub fn as_user(url: &str, user: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(url).context(NOT_A_URL)?;
    let named = url.set_username(user).and_then(|()| url.set_password(None));
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
    fn another_user_s_url_has_no_password() {
        let url = as_user("postgres://me:secret@db:5432/wallet", "wallet_api");
        assert_eq!(url.unwrap(), "postgres://wallet_api@db:5432/wallet");
    }
}
